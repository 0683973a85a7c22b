"""The exercises on information theory: wrong answers get the sentence that teaches, right ones pass in any form."""

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from chainrule.checks import check, exercises, find_exercise
from chainrule.information import jensen_shannon_divergence

F64 = torch.float64


def vector(*values):
    return torch.tensor(values, dtype=F64)


# entropy


def entropy(p):
    return -sum(x * math.log2(x) for x in p.tolist() if x > 0)


def entropy_renormalizing(p):
    p /= p.sum()
    return entropy(p)


# ternary_code


def huffman(p, branches, digits="012"):
    nodes = sorted((x, [i]) for i, x in enumerate(p.tolist()))
    code = [""] * len(nodes)
    while len(nodes) > 1:
        for digit, (_, symbols) in zip(digits, nodes[:branches], strict=False):
            for i in symbols:
                code[i] = digit + code[i]
        merged = (sum(x for x, _ in nodes[:branches]), [i for _, s in nodes[:branches] for i in s])
        nodes = sorted([merged, *nodes[branches:]])
    return [word or digits[0] for word in code]


def ternary_code(p):
    """The padding, done by another way: the first merge alone takes two nodes if the number of symbols is even."""
    k = len(p)
    if k % 2 or k == 2:
        return huffman(p, 3)
    a, b = p.argsort()[:2].tolist()
    rest = [i for i in range(k) if i not in (a, b)]
    words = ternary_code(torch.cat([p[rest], p[[a, b]].sum()[None]]))
    code = dict(zip(rest, words, strict=False)) | {a: words[-1] + "0", b: words[-1] + "1"}
    return [code[i] for i in range(k)]


def fixed_length(p):
    length = max(1, math.ceil(math.log(len(p), 3) - 1e-12))
    return ["".join(word) for word in itertools.product("012", repeat=length)][: len(p)]


def rounded_up(p):
    lengths = [max(1, math.ceil(-math.log(x, 3) - 1e-12)) for x in p.tolist()]
    code, start = [""] * len(p), 0.0
    for i in sorted(range(len(p)), key=lambda i: lengths[i]):
        number = round(start * 3 ** lengths[i])
        code[i] = "".join(str(number // 3**d % 3) for d in reversed(range(lengths[i])))
        start += 3.0 ** -lengths[i]
    return code


# wasted_bits


def wasted_bits(message, q):
    spent = sum(-math.log2(q[x]) if q[x] > 0 else math.inf for x in message.tolist())
    frequency = {x: message.tolist().count(x) / len(message) for x in message.tolist()}
    return spent - sum(-math.log2(frequency[x]) for x in message.tolist())


def wasted_kl_div(message, q, swap=False):
    p = torch.bincount(message, minlength=len(q)) / len(message)
    p, q = (q, p) if swap else (p, q)
    return len(message) * (p * torch.log2(p / q)).sum()


# break_softmax


def break_softmax(num_classes, loss):
    scores = torch.full((num_classes,), math.log(math.expm1(loss) / (num_classes - 1)), dtype=F64)
    scores[0] = 0
    return scores - 2000


# weakest_link_loss


def density(x, loc, scale):
    z = (x - loc) / scale
    return (z - z.exp()).exp() / scale


def weakest_link_loss(x, loc, scale):
    loc, scale = (torch.tensor(v, dtype=F64, requires_grad=True) for v in (loc, scale))
    loss = -density(x, loc, scale).log().sum()
    return loss, *torch.autograd.grad(loss, (loc, scale))


def largest_instead_of_smallest(x, loc, scale):
    z = (x - loc) / scale
    e = torch.exp(-z)
    return len(x) * math.log(scale) + (z + e).sum(), (e - 1).sum() / scale, (1 - z + z * e).sum() / scale


def weakest(change):
    return lambda x, loc, scale: change(*weakest_link_loss(x, loc, scale), len(x), scale)


# pixel_entropies


def plug_in(values):
    values = list(values)
    return -sum((n := values.count(v)) / len(values) * math.log2(n / len(values)) for v in set(values))


def pairs_of(image):
    return [(a, b) for row in image.tolist() for a, b in itertools.pairwise(row)]


def pixel_entropies(image):
    pairs = pairs_of(image)
    return plug_in(b for _, b in pairs), plug_in(pairs) - plug_in(a for a, _ in pairs)


RIGHT = {
    "box_entropies": [lambda: [0, 1, 1.75, 2], lambda: torch.tensor([0, 1.0, 1.75, 2.0]), lambda: (0.004, 1, 1.749, 2)],
    "entropy": [entropy, lambda p: torch.special.entr(p).sum() / math.log(2)],
    "equal_entropy_pair": [
        lambda k, b: tuple(torch.tensor([1 - (k - 1) * 1e-12] + [1e-12] * (k - 1), dtype=F64).roll(i) for i in (0, 1))
    ],
    "ternary_code": [ternary_code, lambda p: [word[::1].translate({48: 50, 50: 48}) for word in ternary_code(p)]],
    "wasted_bits": [wasted_bits],
    "window_divergence": [
        lambda width, shift: len(set(range(width)) - set(range(shift, shift + width))) / width,
        lambda width, shift: torch.tensor(min(abs(shift) / width, 1), dtype=F64),
    ],
    "break_softmax": [break_softmax, lambda k, b: -1e-3 + break_softmax(k, b) + 4000],
    "log_sum_exp": [lambda scores: torch.logsumexp(scores, dim=1)],
    "weakest_link_loss": [weakest_link_loss],
    "pixel_entropies": [pixel_entropies],
}

# Of each wrong answer: the function, and words that the message must hold.
WRONG = {
    "box_entropies": [
        (lambda: [0, 0.69, 1.21, 1.39], "in nats"),
        (lambda: [0, 1, 2, 2], "Half of its balls are red"),
        (lambda: [0, -1, -1.75, -2], "never negative"),
        (lambda: (2, 1.75, 1, 0), "upside down"),
        (lambda: [1, 0.5, 0.34, 0.25], "two draws"),
        (lambda: [0, 1, 1.75], "has 3 entries, and it should have 4"),
        (lambda: [0, 1, 1.7, 2], "at index 2 is 1.7, and it should be 1.75"),
        (lambda: 1.75, "should be a list of numbers"),
        (lambda: ["0", "1", "1.75", "2"], "should be a list of numbers"),
    ],
    "entropy": [
        (lambda p: -(p[p > 0] * p[p > 0].log()).sum(), "in nats"),
        (lambda p: -(p * p.log2()).sum(), "0 * -inf is nan"),
        (lambda p: (p[p > 0] * p[p > 0].log2()).sum(), "needs a minus in front"),
        (lambda p: -(p * (p + 1e-8).log2()).sum(), "A small number added inside the logarithm"),
        (lambda p: -p[p > 0].log2().mean(), "plain mean"),
        (lambda p: torch.tensor(len(p)).double().log2(), "uniform distribution"),
        (lambda p: -p[p > 0] * p[p > 0].log2(), "should be a number, and it has shape (2,)"),
    ],
    "equal_entropy_pair": [
        (lambda k, b: (torch.full((k,), 1 / k),) * 2, "The distributions p and q are the same"),
        (lambda k, b: tuple(torch.eye(k)[:2]), "The divergence D(p || q) is infinite"),
        (
            lambda k, b: (torch.full((k,), 1 / k), torch.tensor([0.9] + [0.1 / (k - 1)] * (k - 1))),
            "The entropies differ",
        ),
        (
            lambda k, b: tuple(torch.tensor([1.01] + [1.0] * (k - 1)).roll(i) / (k + 0.01) for i in (0, 1)),
            "more uneven",
        ),
        (lambda k, b: (torch.ones(k), torch.ones(k)), "the entries of p must lie in [0, 1]"),
        (lambda k, b: torch.eye(k), "as a tuple, and we got one Tensor"),
        (lambda k, b: (torch.ones(k + 1) / (k + 1),) * 2, "has shape (3,), and it should have shape (2,)"),
    ],
    "ternary_code": [
        (lambda p: huffman(p, 3), "Add one symbol of probability 0"),
        (fixed_length, "equally long"),
        (rounded_up, "rounded up"),
        (lambda p: huffman(p, 2, "01"), "The digit 2 is never used"),
        (lambda p: huffman(p.flip(0), 3), "Merge the three least likely nodes"),
        (lambda p: [str(i % 3) for i in range(len(p))], "begins the codeword"),
        (lambda p: ["0" * i + "1" for i in range(len(p) - 1)] + ["0"], "begins the codeword"),
        (lambda p: [chr(97 + i) for i in range(len(p))], "is not made of the digits"),
        (lambda p: "".join(ternary_code(p)), "should be a list of strings"),
        (lambda p: [""] * len(p), "is not made of the digits"),
    ],
    "wasted_bits": [
        (lambda message, q: wasted_bits(message, q) * math.log(2), "in nats"),
        (lambda message, q: wasted_bits(message, q) / len(message), "multiply by its length"),
        (
            lambda message, q: sum(-math.log2(q[x]) if q[x] > 0 else math.inf for x in message.tolist()),
            "beyond the best",
        ),
        (wasted_kl_div, "0 * log 0 = nan"),
        (
            lambda message, q: (
                torch.where(q > 0, q, 1).log2().mul(q).sum() * len(message)
                + torch.where(q > 0, -q.log2(), 0)[message].sum()
            ),
            "not of q",
        ),
        (
            lambda message, q: (
                -(q + 1e-12)[message].log2().sum() - len(message) * entropy(torch.bincount(message) / len(message))
            ),
            "a small number added to q hides it",
        ),
    ],
    "window_divergence": [
        (lambda width, shift: min(abs(shift) / width, 1) * math.log(2), "in nats"),
        (lambda width, shift: abs(shift) / width, "stays at 1 bit"),
        (lambda width, shift: min(shift / width, 1), "only its size matters"),
        (lambda width, shift: max(0, 1 - abs(shift) / width), "have in common"),
        (lambda width, shift: math.inf if shift else 0, "compare with the mixture"),
        (lambda width, shift: min(abs(shift) / width, 1) ** 0.5, "square root"),
        (lambda width, shift: 2 * min(abs(shift) / width, 1), "weight 1/2"),
    ],
    "break_softmax": [
        (lambda k, b: break_softmax(k, b) + 2000, "the naive formula survives"),
        (lambda k, b: torch.tensor([1000.0] + [0.0] * (k - 1)), "The true loss of these scores is 0.0000"),
        (lambda k, b: torch.tensor([0.0] + [1000.0] * (k - 1)), "The true loss of these scores is 1000"),
        (lambda k, b: torch.tensor([0.0] + [math.inf] * (k - 1)), "must be finite"),
        (lambda k, b: torch.tensor([math.nan] * k), "nan (not a number)"),
        (lambda k, b: break_softmax(k, b).tolist(), "torch.tensor(...) makes one"),
    ],
    "log_sum_exp": [
        (lambda scores: scores.exp().sum(1).log(), "Subtract each row's maximum"),
        (lambda scores: torch.logsumexp(scores, 0), "down the columns"),
        (lambda scores: scores.exp().sum(0).log(), "down the columns"),
        (lambda scores: torch.logsumexp(scores, 1, keepdim=True), "drop the axis"),
        (lambda scores: (scores - scores.max()).exp().sum(1).log() + scores.max(), "Each row needs its own"),
        (lambda scores: torch.logsumexp(scores - scores.amax(1, keepdim=True), 1), "added back"),
        (
            lambda scores: (scores - scores.amax(1)[:, None]).exp().sum(1).log() + scores.amax(1),
            "subtract the maximum only where it is finite",
        ),
        (lambda scores: scores.amax(1), "log 2 more"),
        (lambda scores: torch.logsumexp(scores.flatten(), 0), "has shape (), and it should have shape (1,)"),
    ],
    "weakest_link_loss": [
        (largest_instead_of_smallest, "largest values"),
        (weakest(lambda loss, a, b, m, scale: (-loss, -a, -b)), "A loss is its negative"),
        (weakest(lambda loss, a, b, m, scale: (loss, -a, -b)), "both slopes have the wrong sign"),
        (weakest(lambda loss, a, b, m, scale: (loss / m, a / m, b / m)), "The question asks for sums"),
        (weakest(lambda loss, a, b, m, scale: (loss - m * math.log(scale), a, b)), "The term m log(scale) is missing"),
        (weakest(lambda loss, a, b, m, scale: (loss + (1 - m) * math.log(scale), a, b)), "counts m times"),
        (weakest(lambda loss, a, b, m, scale: (loss, a, b - m / scale)), "lacks m/scale"),
        (weakest(lambda loss, a, b, m, scale: (loss, a * scale, b)), "lacks the factor 1/scale"),
        (weakest(lambda loss, a, b, m, scale: (loss, a, m / scale + (b - m / scale) * scale)), "the square is missing"),
        (weakest(lambda loss, a, b, m, scale: (loss, a)), "as a tuple, and we got 2 values"),
        (weakest(lambda loss, a, b, m, scale: loss), "as a tuple, and we got one Tensor"),
        (weakest(lambda loss, a, b, m, scale: (loss, a, 7 * b + 1)), "The slope in scale is"),
    ],
    "pixel_entropies": [
        (lambda image: tuple(h * math.log(2) for h in pixel_entropies(image)), "in nats"),
        (lambda image: (pixel_entropies(image)[0], plug_in(pairs_of(image))), "entropy of the pair"),
        (
            lambda image: (pixel_entropies(image)[0], plug_in(pairs_of(image)) - pixel_entropies(image)[0]),
            "leaves H(left | right)",
        ),
        (lambda image: pixel_entropies(image.T), "the one above it"),
        (lambda image: (plug_in(image.flatten().tolist()), pixel_entropies(image)[1]), "counts all pixels"),
        (
            lambda image: (pixel_entropies(image)[0], -torch.tensor(pixel_entropies(image)).diff()[0]),
            "mutual information",
        ),
    ],
}


def table(answers):
    return [pytest.param(name, *entry, id=f"{name}-{i}") for name, rows in answers.items() for i, entry in rows]


def test_every_exercise_has_right_answers_and_at_least_three_wrong_ones():
    names = [exercise.name for exercise in exercises("information-theory")]
    assert list(RIGHT) == list(WRONG) == names
    assert all(len(RIGHT[name]) >= 1 and len(WRONG[name]) >= 3 for name in names)


@pytest.mark.parametrize(("name", "answer"), table({n: enumerate((f,) for f in fs) for n, fs in RIGHT.items()}))
def test_right_answers_pass_whatever_is_drawn(name, answer):
    for seed in range(10):
        result = check(answer, name, seed=seed)
        assert result, result


@pytest.mark.parametrize(("name", "answer", "words"), table({n: enumerate(rows) for n, rows in WRONG.items()}))
def test_wrong_answers_fail_with_the_sentence_that_teaches(name, answer, words):
    for seed in range(2):
        result = check(answer, name, seed=seed)
        assert not result
        assert words in repr(result), f"{words!r} is not in\n{result}"


def test_every_hint_of_every_mistake_is_reached():
    """A mistake that is hidden behind another one, or that is right by accident, teaches nobody."""
    for exercise in exercises("information-theory"):
        for mistake in exercise.mistakes:
            result = check(lambda *inputs, m=mistake: m.answer(*inputs), exercise.name, seed=1)
            assert not result and result.hint == mistake.hint, (exercise.name, mistake.hint, result)


def test_references_agree_with_independent_formulas():
    for width, shift in itertools.product((1, 4, 7), range(-9, 10)):
        p, q = torch.zeros(2, 40, dtype=F64)
        p[10 : 10 + width] = q[10 + shift : 10 + shift + width] = 1 / width
        divergence = find_exercise("window_divergence").expected((width, shift))
        assert_close(torch.tensor(divergence, dtype=F64), jensen_shannon_divergence(p, q, base=2))


def test_no_ternary_code_is_shorter_than_the_reference():
    exercise = find_exercise("ternary_code")
    for (p,) in exercise.cases(0) + exercise.cases(1):
        k = len(p)
        if k > 6:
            continue
        lengths = itertools.product(range(1, k + 1), repeat=k)
        best = min(
            sum(x * n for x, n in zip(p.tolist(), ns, strict=True)) for ns in lengths if sum(3.0**-n for n in ns) <= 1
        )
        code = exercise.expected((p,))
        assert sum(x * len(word) for x, word in zip(p.tolist(), code, strict=True)) == pytest.approx(best)


def test_the_density_behind_the_weakest_link_integrates_to_one():
    x = torch.linspace(-60, 20, 200_001, dtype=F64)
    assert_close(torch.trapezoid(density(x, 1.0, 2.0), x), torch.tensor(1.0, dtype=F64))
    below = x <= 3
    part = torch.trapezoid(density(x, 1.0, 2.0)[below], x[below])
    assert_close(part, 1 - torch.exp(-torch.exp(torch.tensor((3 - 1.0) / 2, dtype=F64))), atol=1e-4, rtol=0)
