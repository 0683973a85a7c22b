"""The exercises of the chapter on information theory, in the order of its exercise page."""

import heapq
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from chainrule.checks._record import Exercise, Mistake, Output
from chainrule.information import conditional_entropy, empirical_distribution, entropy, kl_divergence
from chainrule.likelihood import gumbel_negative_log_likelihood, gumbel_score, log_sum_exp

__all__ = ["EXERCISES"]

CHAPTER = "information-theory"
NATS = "This is the value in nats. In bits the logarithm has base 2: torch.log2, or division by log 2."


def _vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _whole(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def _between(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _distribution(k: int, generator: torch.Generator, zeros: bool = False) -> Tensor:
    """An uneven distribution over k outcomes; with zeros, about a third of the later outcomes never happen."""
    weights = torch.rand(k, generator=generator, dtype=torch.float64) ** 3 + 1e-3
    if zeros:
        weights[1:] *= torch.rand(k - 1, generator=generator) > 0.3
    return weights / weights.sum()


# box_entropies: predict

BOXES = ((8,), (4, 4), (4, 2, 1, 1), (2, 2, 2, 2))


def _box_entropies() -> list[float]:
    return [float(entropy(_vector(*box) / 8, base=2)) for box in BOXES]


box_entropies = Exercise(
    name="box_entropies",
    chapter=CHAPTER,
    title="Predict the entropies of four boxes",
    points=2,
    page="information-theory/entropy",
    start="the second box: how many yes/no questions name the colour of the ball?",
    reference=_box_entropies,
    output=Output("numbers", "the list of entropies"),
    public=((),),
    absolute=0.01,
    mistakes=(
        Mistake(lambda: [math.log(2) * value for value in _box_entropies()], NATS),
        Mistake(
            lambda: [-value for value in _box_entropies()],
            "Entropy is never negative: log p is below 0, and the minus sign in front makes up for it.",
        ),
        Mistake(
            lambda: [0, 1, 2, 2],
            "Box C has four colours, and log2 of their number is its entropy only if all are equally likely. "
            "Half of its balls are red, and one question settles those.",
        ),
        Mistake(
            lambda: [2, 1.75, 1, 0],
            "The order is upside down: a box with balls of one colour holds no surprise, so its entropy is 0.",
        ),
        Mistake(
            lambda: [1, 0.5, 0.34375, 0.25],
            "This is the chance that two draws (with the ball put back) agree, not the average surprise of one draw.",
        ),
    ),
    forbidden=("chainrule.information", "scipy.stats.entropy", "torch.distributions"),
)

# entropy: implement


def _entropy(p: Tensor) -> Tensor:
    return entropy(p, base=2)


entropy_in_bits = Exercise(
    name="entropy",
    chapter=CHAPTER,
    title="Entropy, zeros included",
    points=3,
    page="information-theory/entropy",
    start="a fair coin, -(p * p.log2()).sum(), and then ask what becomes of an outcome with probability 0",
    reference=_entropy,
    output=Output("number"),
    public=(
        (_vector(0.5, 0.5),),
        (_vector(0.5, 0.25, 0.125, 0.125),),
        (_vector(0.5, 0.5, 0.0),),
        (_vector(0.0, 1.0, 0.0),),
    ),
    draw=lambda generator: (_distribution(_whole(2, 12, generator), generator, zeros=True),),
    mistakes=(
        Mistake(lambda p: -(p * p.log()).nansum(), NATS),
        Mistake(lambda p: -(p * p.log()).sum(), NATS),
        Mistake(
            lambda p: -(p * p.log2()).sum(),
            "log 0 is -inf, and 0 * -inf is nan on a computer. An outcome that never happens contributes nothing: "
            "sum over p > 0 only, or use torch.xlogy, which takes 0 * log 0 to be 0.",
        ),
        Mistake(lambda p: (p * p.log2()).nansum(), "The sign: log p is below 0, so the sum needs a minus in front."),
        Mistake(
            lambda p: -p[p > 0].log2().mean(),
            "This is the plain mean of the surprises. Each one counts with the probability that it happens.",
        ),
        Mistake(lambda p: -p.max().log2(), "This is the surprise of the likeliest outcome, not the average over all."),
        Mistake(
            lambda p: math.log2(len(p)),
            "This is the entropy of the uniform distribution, the largest that so many outcomes can have.",
        ),
        *(
            Mistake(
                partial(lambda p, tiny: -(p * (p + tiny).log2()).sum(), tiny=tiny),
                "A small number added inside the logarithm avoids nan and changes every other value. "
                "Leave the outcomes with probability 0 out instead.",
            )
            for tiny in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
        ),
    ),
    forbidden=(
        "chainrule.information",
        "scipy.stats.entropy",
        "scipy.special.entr",
        "torch.special.entr",
        "torch.distributions",
    ),
)

# equal_entropy_pair: derive


def _equal_entropy_pair(num_outcomes: int, bits: float) -> tuple[Tensor, Tensor]:
    rare = 2 ** -(bits + 2) / num_outcomes
    p = torch.full((num_outcomes,), rare, dtype=torch.float64)
    p[0] = 1 - (num_outcomes - 1) * rare
    return p, p.flip(0)


def _accept_pair(inputs: tuple, output: tuple) -> str | None:
    bits = inputs[1]
    for name, r in zip("pq", output, strict=True):
        if not ((r >= 0) & (r <= 1)).all() or abs(float(r.sum()) - 1) > 1e-5:
            return f"This is no distribution: the entries of {name} must lie in [0, 1] and sum to 1"
    p, q = (r / r.sum() for r in output)
    h_p, h_q = float(entropy(p, base=2)), float(entropy(q, base=2))
    if abs(h_p - h_q) > 1e-5:
        return f"The entropies differ: H(p) = {h_p:.4f} and H(q) = {h_q:.4f} bits. It ignores the order of outcomes"
    divergence = float(kl_divergence(p, q, base=2))
    if math.isinf(divergence):
        return "The divergence D(p || q) is infinite: q is 0 for an outcome that p produces. Keep every entry above 0"
    if torch.allclose(p, q, atol=1e-6):
        return (
            "The distributions p and q are the same, so D(p || q) is 0. Give the same probabilities to other outcomes"
        )
    if divergence < bits:
        return f"The divergence is {divergence:.4f} bits, and at least {bits:.4f} were asked for. Make p more uneven"
    return None


equal_entropy_pair = Exercise(
    name="equal_entropy_pair",
    chapter=CHAPTER,
    title="Equal entropies, far apart",
    points=3,
    page="information-theory/divergences",
    start="two outcomes: which q has the entropy of p = [0.9, 0.1] and is not p?",
    reference=_equal_entropy_pair,
    output=(Output("tensor", "the distribution p"), Output("tensor", "the distribution q")),
    public=((2, 0.5), (3, 1.0), (5, 4.0)),
    draw=lambda generator: (_whole(2, 10, generator), _between(0.1, 6.0, generator)),
    accept=_accept_pair,
)

# ternary_code: implement


def _merge(p: list[float], pad: bool) -> list[str]:
    """Huffman's merging with three branches; without the padding the last merge may have only two."""
    heap = [(probability, i, [i]) for i, probability in enumerate(p)]
    if pad and len(heap) % 2 == 0:
        heap.append((0.0, len(p), [len(p)]))
    code = [""] * (len(p) + 1)
    heapq.heapify(heap)
    while len(heap) > 1:
        merged = [heapq.heappop(heap) for _ in range(min(3, len(heap)))]
        for digit, (_, _, symbols) in zip("012", merged, strict=False):
            for symbol in symbols:
                code[symbol] = digit + code[symbol]
        heapq.heappush(heap, (sum(m[0] for m in merged), merged[0][1], [s for m in merged for s in m[2]]))
    return [word or "0" for word in code[: len(p)]]


def _ternary_code(p: Tensor) -> list[str]:
    return _merge(p.tolist(), pad=True)


def _mean_length(p: Tensor, lengths: list[int]) -> float:
    return float((p * torch.tensor(lengths)).sum())


def _accept_code(inputs: tuple, output: list) -> str | None:
    (p,) = inputs
    for word in output:
        if not word or set(word) - set("012"):
            return f"The codeword {word!r} is not made of the digits 0, 1 and 2, at least one of them"
    for first, second in pairwise(sorted(output)):  # a prefix sorts right before some word that it begins
        if second.startswith(first):
            return f"The codeword {first!r} begins the codeword {second!r}, so a reader cannot tell where a word ends"
    length = _mean_length(p, [len(word) for word in output])
    best = _mean_length(p, [len(word) for word in _ternary_code(p)])
    if length <= best + 1e-9:
        return None
    reason = f"The code works, but takes {length:.4f} digits a symbol on average where {best:.4f} are enough. "
    rounded_up = [math.ceil(-math.log(x, 3) - 1e-12) for x in p.tolist()]
    if abs(length - _mean_length(p, [len(word) for word in _merge(p.tolist(), pad=False)])) < 1e-9:
        return reason + (
            "With an even number of symbols the last merge has two branches only, which wastes a short codeword at the "
            "root. Add one symbol of probability 0 before merging"
        )
    if len(p) > 2 and not any("2" in word for word in output):
        return reason + "The digit 2 is never used: merge three nodes at a time"
    if len({len(word) for word in output}) == 1:
        return reason + "All codewords are equally long, likely symbols and rare ones alike"
    if abs(length - _mean_length(p, rounded_up)) < 1e-9:
        return reason + "These lengths are log3(1/p) rounded up, which wastes up to a digit a symbol"
    return reason + "Merge the three least likely nodes each time, and only those"


ternary_code = Exercise(
    name="ternary_code",
    chapter=CHAPTER,
    title="Huffman's code with three digits",
    points=4,
    page="information-theory/coding",
    start="three symbols, which get 0, 1 and 2; then merge the three least likely of five",
    reference=_ternary_code,
    output=Output("strings", "the code"),
    public=(
        (_vector(0.4, 0.4, 0.2),),
        (_vector(0.4, 0.3, 0.2, 0.1),),
        (_vector(*[1 / 9] * 9),),
        (_vector(1.0),),
    ),
    draw=lambda generator: (_distribution(_whole(2, 14, generator), generator),),
    accept=_accept_code,
    forbidden=("chainrule.coding.huffman_code",),
)

# wasted_bits: derive


def _wasted_bits(message: Tensor, q: Tensor) -> Tensor:
    return len(message) * kl_divergence(empirical_distribution(message, len(q)), q, base=2)


def _frequencies(message: Tensor, q: Tensor) -> Tensor:
    return torch.bincount(message, minlength=len(q)).double() / len(message)


def _draw_message(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    k = _whole(2, 6, generator)
    p = _distribution(k, generator, zeros=True)
    message = torch.multinomial(p, _whole(5, 40, generator), replacement=True, generator=generator)
    return message, _distribution(k, generator)


wasted_bits = Exercise(
    name="wasted_bits",
    chapter=CHAPTER,
    title="What a wrong model costs",
    points=3,
    page="information-theory/cross-entropy",
    start="the bits that the model spends on the message, the sum of -log2 q over its symbols",
    reference=_wasted_bits,
    output=Output("number", "the waste"),
    public=(
        (torch.tensor([0, 1, 0, 1]), _vector(0.5, 0.5)),
        (torch.tensor([0, 0, 0, 1]), _vector(0.5, 0.5)),
        (torch.tensor([0, 1, 1, 1, 0, 1]), _vector(0.25, 0.25, 0.5)),
        (torch.tensor([0, 0, 2]), _vector(0.5, 0.0, 0.5)),
        (torch.tensor([0, 1, 2]), _vector(0.5, 0.0, 0.5)),
    ),
    draw=_draw_message,
    mistakes=(
        Mistake(lambda message, q: math.log(2) * _wasted_bits(message, q), NATS),
        Mistake(
            lambda message, q: _wasted_bits(message, q) / len(message),
            "This is the waste for one symbol. The question is about the message: multiply by its length.",
        ),
        Mistake(
            lambda message, q: -q[message].log2().sum(),
            "This is all that the model spends. The waste is what it spends beyond the best code for this message, "
            "which takes m * H(p) bits, p being the frequencies in the message.",
        ),
        Mistake(
            lambda message, q: len(message) * kl_divergence(q, _frequencies(message, q), base=2),
            "The arguments are swapped: the message draws the symbols, so its frequencies p weigh the logarithms.",
        ),
        Mistake(
            lambda message, q: (lambda p: len(message) * (p * (p / q).log2()).sum())(_frequencies(message, q)),
            "A symbol that does not occur in the message gave 0 * log 0 = nan. It costs nothing: leave it out.",
        ),
        Mistake(
            lambda message, q: -q[message].log2().sum() - len(message) * entropy(q, base=2),
            "The best code is made for the message, so the entropy to subtract is that of its frequencies, not of q.",
        ),
        Mistake(
            lambda message, q: (lambda p: len(message) * (p * (p / (q + 1e-12)).log2()).nansum())(
                _frequencies(message, q)
            ),
            "A symbol that the model holds impossible cannot be sent at all. The waste is infinite, and a small number "
            "added to q hides it.",
        ),
    ),
    forbidden=(
        "chainrule.information",
        "scipy.stats.entropy",
        "scipy.special",
        "torch.nn.functional.kl_div",
        "torch.kl_div",
    ),
)

# window_divergence: derive


def _window_divergence(width: int, shift: int) -> float:
    return min(abs(shift), width) / width


window_divergence = Exercise(
    name="window_divergence",
    chapter=CHAPTER,
    title="How far apart are two windows?",
    points=3,
    page="information-theory/divergences",
    start="windows that do not meet: what is the mixture m on each of them, and what is log2(p / m) there?",
    reference=_window_divergence,
    output=Output("number", "the divergence"),
    public=((4, 0), (4, 1), (4, 4), (4, 9), (4, -2)),
    draw=lambda generator: (_whole(1, 20, generator), _whole(-30, 30, generator)),
    mistakes=(
        Mistake(lambda width, shift: math.log(2) * _window_divergence(width, shift), NATS),
        Mistake(
            lambda width, shift: abs(shift) / width,
            "Once the windows have parted, moving them further changes nothing: the divergence stays at 1 bit.",
        ),
        Mistake(
            lambda width, shift: min(shift, width) / width,
            "A shift to the left counts as much as one to the right: only its size matters.",
        ),
        Mistake(
            lambda width, shift: 1 - _window_divergence(width, shift),
            "This is the share that the windows have in common. There p = q = m, and log(p / m) is 0.",
        ),
        Mistake(
            lambda width, shift: math.inf if shift else 0.0,
            "This is D(p || q). Jensen and Shannon compare with the mixture m = (p + q) / 2, which is nowhere 0 "
            "where p or q is positive.",
        ),
        Mistake(
            lambda width, shift: math.sqrt(_window_divergence(width, shift)),
            "This is the square root, a distance. The divergence itself was asked for.",
        ),
        Mistake(
            lambda width, shift: 2 * _window_divergence(width, shift),
            "Each of the two terms, D(p || m) and D(q || m), counts with weight 1/2.",
        ),
    ),
    forbidden=("chainrule.information", "scipy.spatial.distance", "scipy.stats.entropy", "scipy.special"),
)

# break_softmax: break


def _break_softmax(num_classes: int, loss: float) -> Tensor:
    scores = torch.full((num_classes,), 1000 + math.log(math.expm1(loss) / (num_classes - 1)), dtype=torch.float64)
    scores[0] = 1000
    return scores


def _accept_scores(inputs: tuple, output: Tensor) -> str | None:
    loss = inputs[1]
    if not output.isfinite().all():
        return "The scores must be finite numbers: infinite ones break every formula"
    exact = float(log_sum_exp(output) - output[0])
    if abs(exact - loss) > 1e-3:
        return (
            f"The true loss of these scores is {exact:.4f} nats, and {loss:.4f} were asked for. "
            "It depends on differences of scores only"
        )
    naive = float(-torch.log(torch.exp(output[0]) / torch.exp(output).sum()))
    if math.isfinite(naive):
        return (
            f"The true loss is right, and the naive formula survives: it gives {naive:.4f}. In float64 exp overflows "
            "above 709 and becomes 0 below -745"
        )
    return None


break_softmax = Exercise(
    name="break_softmax",
    chapter=CHAPTER,
    title="Break the naive softmax loss",
    points=3,
    page="information-theory/maximum-likelihood",
    start="scores with the right loss and any size; then add the same number to all of them",
    reference=_break_softmax,
    output=Output("tensor", "the scores"),
    public=((2, 1.0), (3, 2.0), (10, 0.1)),
    draw=lambda generator: (_whole(2, 20, generator), _between(0.1, 8.0, generator)),
    accept=_accept_scores,
)

# log_sum_exp: implement


def _log_sum_exp(scores: Tensor) -> Tensor:
    return log_sum_exp(scores, dim=1)


def _draw_scores(generator: torch.Generator) -> tuple[Tensor]:
    rows, columns = _whole(1, 5, generator), _whole(2, 6, generator)
    size = 10 ** _between(0.0, 4.0, generator)
    scores = size * torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return (scores + size * torch.randn(rows, 1, generator=generator, dtype=torch.float64),)


log_sum_exp_of_rows = Exercise(
    name="log_sum_exp",
    chapter=CHAPTER,
    title="The cure: log-sum-exp",
    points=3,
    page="information-theory/maximum-likelihood",
    start="one row: take its maximum c out of the sum, log(sum(exp(s))) = c + log(sum(exp(s - c)))",
    reference=_log_sum_exp,
    output=Output("tensor"),
    public=(
        (torch.zeros(1, 4, dtype=torch.float64),),
        (_vector(1, 2, 3, 4, 5, 6).reshape(3, 2),),
        (_vector(1000, 1001, 1002, -1000, -1001, -1002).reshape(2, 3),),
        (_vector(0, -math.inf).reshape(1, 2),),
        (_vector(-math.inf, -math.inf, 1, 2).reshape(2, 2),),
    ),
    draw=_draw_scores,
    mistakes=(
        Mistake(
            lambda scores: scores.exp().sum(1).log(),
            "exp overflows above 709 and gives 0 below -745 (float64). Subtract each row's maximum before exp.",
        ),
        Mistake(
            lambda scores: scores.exp().sum(0).log(),
            "The sum runs down the columns. We want one number for each row: dim=1.",
        ),
        Mistake(
            lambda scores: torch.logsumexp(scores, 0),
            "The sum runs down the columns. We want one number for each row: dim=1.",
        ),
        Mistake(
            lambda scores: torch.logsumexp(scores, 1, keepdim=True),
            "The right numbers, in a column of shape (m, 1): drop the axis that was summed over.",
        ),
        Mistake(
            lambda scores: (scores - scores.max()).exp().sum(1).log() + scores.max(),
            "One maximum for all rows is not enough: a row far below it still gives exp = 0. Each row needs its own.",
        ),
        Mistake(
            lambda scores: (scores - scores.amax(1, keepdim=True)).exp().sum(1).log(),
            "The maximum was subtracted inside, and has to be added back outside the logarithm.",
        ),
        Mistake(
            lambda scores: (scores - (c := scores.amax(1, keepdim=True))).exp().sum(1).log() + c[:, 0],
            "A row of -inf alone: -inf - (-inf) is nan. Its sum of exponentials is 0, so the answer is -inf; "
            "subtract the maximum only where it is finite.",
        ),
        Mistake(
            lambda scores: scores.amax(1),
            "The maximum is the largest term only. Two equal scores already give log 2 more.",
        ),
    ),
    forbidden=(
        "chainrule.likelihood",
        "torch.logsumexp",
        "torch.Tensor.logsumexp",
        "torch.special.logsumexp",
        "torch.special.log_softmax",
        "torch.logaddexp",
        "torch.Tensor.logaddexp",
        "torch.logcumsumexp",
        "torch.Tensor.logcumsumexp",
        "torch.log_softmax",
        "torch.Tensor.log_softmax",
        "torch.nn.functional.log_softmax",
        "torch.nn.functional.cross_entropy",
        "torch.nn.LogSoftmax",
        "torch.nn.CrossEntropyLoss",
        "scipy.special",
    ),
)

# weakest_link_loss: derive


def _weakest_link_loss(x: Tensor, loc: float, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    # The smallest of many values is minus the largest of their negatives, and that follows the Gumbel distribution.
    slope_loc, slope_scale = gumbel_score(-x, -loc, scale)
    return gumbel_negative_log_likelihood(-x, -loc, scale), -slope_loc, slope_scale


def _draw_strengths(generator: torch.Generator) -> tuple[Tensor, float, float]:
    loc, scale = _between(-3, 3, generator), _between(0.5, 3, generator)
    u = torch.rand(_whole(2, 12, generator), generator=generator, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    return loc + scale * (-u.log()).log(), loc + _between(-0.5, 0.5, generator), scale * _between(0.8, 1.5, generator)


def _instead(change: Callable[..., tuple]) -> Callable[..., tuple]:
    """An answer that changes the right loss and slopes (a in loc, b in scale), given m and scale."""
    return lambda x, loc, scale: change(*_weakest_link_loss(x, loc, scale), len(x), scale)


weakest_link_loss = Exercise(
    name="weakest_link_loss",
    chapter=CHAPTER,
    title="The weakest link: a likelihood and its slopes",
    points=4,
    page="information-theory/maximum-likelihood",
    start="the density of one point: differentiate F, then take the logarithm",
    reference=_weakest_link_loss,
    output=(Output("number", "the loss"), Output("number", "the slope in loc"), Output("number", "the slope in scale")),
    public=(
        (_vector(0.0), 0.0, 1.0),
        (_vector(1.0, 2.0, 4.0), 3.0, 1.0),
        (_vector(1.0, 2.0, 4.0), 3.0, 2.0),
    ),
    draw=_draw_strengths,
    mistakes=(
        Mistake(
            _instead(lambda loss, a, b, m, scale: (-loss, -a, -b)),
            "These are the log-likelihood and its slopes, which we would climb. A loss is its negative.",
        ),
        Mistake(
            _instead(lambda loss, a, b, m, scale: (loss, -a, -b)),
            "The loss is right, and both slopes have the wrong sign: they belong to the log-likelihood.",
        ),
        Mistake(
            _instead(lambda loss, a, b, m, scale: (loss / m, a / m, b / m)),
            "These are means over the data. The question asks for sums.",
        ),
        Mistake(
            _instead(lambda loss, a, b, m, scale: (loss - m * math.log(scale), a, b)),
            "The term m log(scale) is missing from the loss: the density has a factor 1/scale for each point.",
        ),
        Mistake(
            _instead(lambda loss, a, b, m, scale: (loss - (m - 1) * math.log(scale), a, b)),
            "Each of the m points brings its own factor 1/scale, so log(scale) counts m times.",
        ),
        Mistake(
            _instead(lambda loss, a, b, m, scale: (loss, a, b - m / scale)),
            "The slope in scale lacks m/scale, which comes from the term m log(scale).",
        ),
        Mistake(
            _instead(lambda loss, a, b, m, scale: (loss, scale * a, b)),
            "The slope in loc lacks the factor 1/scale from the inside of the exponential (the chain rule).",
        ),
        Mistake(
            _instead(lambda loss, a, b, m, scale: (loss, a, scale * b - (scale - 1) * m / scale)),
            "The derivative of (x - loc)/scale in scale is -(x - loc)/scale**2: the square is missing.",
        ),
        Mistake(
            lambda x, loc, scale: (gumbel_negative_log_likelihood(x, loc, scale), *gumbel_score(x, loc, scale)),
            "This is the Gumbel distribution of largest values. For smallest ones the long tail is on the left, "
            "and the exponential holds +(x - loc)/scale.",
        ),
    ),
    forbidden=(
        "chainrule.likelihood",
        "torch.autograd.grad",
        "torch.autograd.functional",
        "torch.autograd.forward_ad.make_dual",  # not the module: printing a tensor needs its unpack_dual
        "torch.autograd.backward",
        "torch.Tensor.backward",
        "torch.func",
        "torch.distributions",
        "scipy.stats",
    ),
)

# pixel_entropies: measure


def _pair_table(first: Tensor, second: Tensor) -> Tensor:
    """How often each pair of grey values occurs, as a joint distribution (first, second)."""
    levels = int(max(first.max(), second.max())) + 1
    pairs = empirical_distribution((levels * first + second).flatten(), levels**2)
    return pairs.reshape(levels, levels)


def _pixel_entropies(image: Tensor) -> tuple[Tensor, Tensor]:
    table = _pair_table(image[:, :-1], image[:, 1:])
    return entropy(table.sum(0), base=2), conditional_entropy(table, base=2)


def _draw_image(generator: torch.Generator) -> tuple[Tensor]:
    height, width, levels = _whole(2, 8, generator), _whole(3, 12, generator), _whole(2, 5, generator)
    steps = torch.randint(-1, 2, (height, width), generator=generator)
    steps[:, 0] = torch.randint(0, levels, (height,), generator=generator)
    return (steps.cumsum(1) % levels,)


pixel_entropies = Exercise(
    name="pixel_entropies",
    chapter=CHAPTER,
    title="Measure what the left neighbour tells",
    points=4,
    page="information-theory/mutual-information",
    start="two tensors of one shape, image[:, :-1] and image[:, 1:]: every pixel that has a left neighbour, beside it",
    reference=_pixel_entropies,
    output=(Output("number", "the entropy alone"), Output("number", "the entropy given the left neighbour")),
    public=(
        (torch.full((2, 4), 3),),
        (torch.tensor([[0, 1, 0, 1, 0], [0, 1, 0, 1, 0]]),),
        (torch.tensor([[0, 0, 1, 1], [1, 1, 0, 0], [2, 2, 2, 0]]),),
        (torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1]]),),
    ),
    draw=_draw_image,
    mistakes=(
        Mistake(lambda image: tuple(math.log(2) * value for value in _pixel_entropies(image)), NATS),
        Mistake(
            lambda image: (_pixel_entropies(image)[0], _joint(image)),
            "The second value is the entropy of the pair. Once the left neighbour is known, its own entropy is paid: "
            "H(right | left) = H(left, right) - H(left).",
        ),
        Mistake(
            lambda image: (_pixel_entropies(image)[0], _joint(image) - _pixel_entropies(image)[0]),
            "The entropy of the right pixel was subtracted, which leaves H(left | right). Subtract the left one's.",
        ),
        Mistake(
            lambda image: _pixel_entropies(image.T),
            "These are pairs of a pixel and the one above it. The left neighbour is along axis 1.",
        ),
        Mistake(
            lambda image: (
                entropy(empirical_distribution(image.flatten(), int(image.max()) + 1), base=2),
                _pixel_entropies(image)[1],
            ),
            "The first value counts all pixels. Both are asked of the pixels that have a left neighbour, image[:, 1:], "
            "so that their difference is the mutual information.",
        ),
        Mistake(
            lambda image: (lambda alone, given: (alone, alone - given))(*_pixel_entropies(image)),
            "The second value is the mutual information. What is left of the entropy after it was asked for.",
        ),
    ),
    forbidden=("chainrule.information", "chainrule.mutual_information", "scipy.stats", "torch.special.entr"),
)


def _joint(image: Tensor) -> Tensor:
    return entropy(_pair_table(image[:, :-1], image[:, 1:]).flatten(), base=2)


EXERCISES = (
    box_entropies,
    entropy_in_bits,
    equal_entropy_pair,
    ternary_code,
    wasted_bits,
    window_divergence,
    break_softmax,
    log_sum_exp_of_rows,
    weakest_link_loss,
    pixel_entropies,
)
