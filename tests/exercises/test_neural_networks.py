"""The exercises on neural networks: wrong answers get the sentence that teaches, right ones pass in any form."""

import math

import pytest
import torch
from torch.testing import assert_close

from chainrule.checks import check, exercises, find_exercise

F64 = torch.float64


# perceptron_on_and


def perceptron_on_and():
    w, seen = [0, 0, 0], []
    for _ in range(2):
        for a, b, y in ((0, 0, -1), (0, 1, -1), (1, 0, -1), (1, 1, 1)):
            if y * (w[0] * a + w[1] * b + w[2]) <= 0:
                w = [w[0] + y * a, w[1] + y * b, w[2] + y]
        seen += w
    return seen


# slow_perceptron


def slow_perceptron(num_updates):
    """The other way round: the short point first, and the long one along a slanted axis."""
    angle = torch.tensor(0.7, dtype=F64)
    turn = torch.stack([torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])])
    return torch.tensor([[-0.5 / num_updates, 2e-3 / num_updates], [0.9, 0.0]], dtype=F64) @ turn


# geometric_family


def geometric_family(eta):
    eta = eta.clone().requires_grad_()
    A = -torch.log(-torch.expm1(eta))
    (mean,) = torch.autograd.grad(A.sum(), eta, create_graph=True)
    (variance,) = torch.autograd.grad(mean.sum(), eta)
    return A.detach(), mean.detach(), variance


def geometric(change):
    return lambda eta: change(*geometric_family(eta))


# fit_counts


def fit_counts(x, y):
    w = torch.zeros(x.shape[1], dtype=F64, requires_grad=True)
    optimizer = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        value = torch.nn.functional.poisson_nll_loss(x @ w, y)
        (w.grad,) = torch.autograd.grad(value, w)
        return value

    optimizer.step(loss)
    return w.detach()


def line(x, y):
    return torch.linalg.lstsq(x, y.unsqueeze(1)).solution.squeeze(1)


# standardize_parts


def standardize_parts(train, test):
    columns = []
    for a, b in zip(train.T, test.T, strict=True):
        mean = a.sum() / len(a)
        std = ((a - mean) ** 2).mean().sqrt()
        columns.append([(part - mean) / (std if std > 0 else 1) for part in (a, b)])
    return tuple(torch.stack(parts, dim=1) for parts in zip(*columns, strict=True))


def standardized(mean, std):
    """Both parts by a mean and a deviation computed from them in some way."""
    return lambda train, test: tuple((part - mean(train, test)) / std(train, test) for part in (train, test))


def column_std(train, test):
    std = train.std(0, correction=0)
    return std + (std == 0)


# train_in_batches


def train_in_batches(x, y, x_new, num_classes, batch_size, learning_rate, epochs, reduction="mean", zero_grad=True):
    model = torch.nn.Linear(x.shape[1], num_classes, dtype=x.dtype)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    for _ in range(epochs):
        for start in range(0, len(x), batch_size):
            loss = torch.nn.functional.cross_entropy(
                model(x[start : start + batch_size]), y[start : start + batch_size], reduction=reduction
            )
            if zero_grad:
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model(x_new).detach()


def whole_batches(x, y, x_new, num_classes, batch_size, *others):
    m = len(x) // batch_size * batch_size
    return train_in_batches(x[:m], y[:m], x_new, num_classes, batch_size, *others)


# hinge_gradient


def hinge_gradient(scores, labels):
    scores = scores.clone().requires_grad_()
    loss = torch.nn.functional.multi_margin_loss(scores, labels) * scores.shape[1]
    (gradient,) = torch.autograd.grad(loss, scores)
    return loss.detach(), gradient


def hinge(change):
    return lambda scores, labels: change(*hinge_gradient(scores, labels))


# better_loss_more_mistakes


def better_loss_more_mistakes(labels):
    wrong = torch.nn.functional.one_hot((labels + 2) % 3, 3).double()
    right = torch.nn.functional.one_hot(labels, 3).double()
    proud = torch.where(torch.arange(len(labels))[:, None] == 1, 80 * wrong, right)
    return 1e-3 * wrong, proud


# switch_network


def switch_network(off, on):
    """Another way: one unit for each order of the two switches, open when the first is on and the second is not."""
    W = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=F64) / (on - off)
    return W, torch.zeros(2, dtype=F64), torch.tensor([1.0, 1.0, 0.0], dtype=F64)


# mlp_gradients


def mlp_gradients(W1, b1, W2, b2, x, y):
    parameters = [p.clone().requires_grad_() for p in (W1, b1, W2, b2)]
    V1, c1, V2, c2 = parameters
    loss = torch.nn.functional.mse_loss(torch.tanh(x @ V1.T + c1) @ V2.T + c2, y)
    return torch.autograd.grad(loss, parameters)


def gradients(change):
    return lambda W1, b1, W2, b2, x, y: change(*mlp_gradients(W1, b1, W2, b2, x, y), x=x, y=y)


def slope_of_tanh(W1, b1, W2, b2, x, y, slope):
    a = torch.tanh(x @ W1.T + b1)
    error = 2 * (a @ W2.T + b2 - y) / y.numel()
    back = (error @ W2) * slope(a)
    return back.T @ x, back.sum(0), error.T @ a, error.sum(0)


# killing_rate


def lines(x, y, w, b, bias=1.0):
    """Pre-activations at the learning rates 0 and 1, by autograd: straight lines in between and beyond."""
    w, b = w.clone().requires_grad_(), torch.tensor(b, dtype=F64, requires_grad=True)
    loss = (torch.relu(x @ w + b) - y).square().mean() / 2
    by_w, by_b = torch.autograd.grad(loss, (w, b))
    return (x @ w + b).detach(), (x @ (w - by_w) + b - bias * by_b).detach()


def quotients(x, y, w, b):
    z, after = lines(x, y, w, b)
    falling = (z > 0) & (after < z)
    return (z / (z - after))[falling] if falling.any() else torch.zeros(1)


def killing_rate(x, y, w, b, bias=1.0):
    z, after = lines(x, y, w, b, bias)
    candidates = [0.0, *(z / (z - after))[(z > 0) & (after < z)].tolist()]
    return min((r for r in candidates if (z + r * (after - z) <= 1e-9).all()), default=math.inf)


RIGHT = {
    "perceptron_on_and": [perceptron_on_and, lambda: torch.tensor([1.0, 1, 0, 2, 1, -1])],
    "slow_perceptron": [slow_perceptron],
    "geometric_family": [
        geometric_family,
        lambda eta: (-torch.log(-torch.expm1(eta)), 1 / torch.expm1(-eta), 0.25 / torch.sinh(eta / 2) ** 2),
    ],
    "fit_counts": [fit_counts],
    "count_parameters": [lambda: [330, 2410, 67210, 10100], lambda: torch.tensor([330.0, 2410, 67210, 10100])],
    "switch_network": [switch_network],
    "mlp_gradients": [mlp_gradients],
    "killing_rate": [killing_rate],
    "hinge_gradient": [hinge_gradient],
    "better_loss_more_mistakes": [better_loss_more_mistakes],
    "standardize_parts": [standardize_parts],
    "train_in_batches": [train_in_batches],
}

# Of each wrong answer: the function, and words that the message must hold.
WRONG = {
    "perceptron_on_and": [
        (lambda: [0] * 6, "a score of exactly 0 is a mistake"),
        (lambda: [0, 0, -2, 0, 0, -4], "used with the weights of the start"),
        (lambda: [1, 1, 0, 1, 1, 0], "finds mistakes again"),
        (lambda: [-1, -1, 0, -2, -1, 1], "subtract it if its label is -1"),
        (lambda: [1, 1, 1, 1, 1, 1], "labels -1 and +1"),
        (lambda: [1, 1, 0], "has 3 entries, and it should have 6"),
    ],
    "slow_perceptron": [
        (lambda n: torch.tensor([[1, 1e-6], [-1, 1e-6]], dtype=F64), "cancels all but the part"),
        (lambda n: torch.eye(2), "do not work against each other"),
        (lambda n: torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), "strictly on one side, so it never stops"),
        (lambda n: torch.tensor([[1.0, 0.0], [-0.75, 0.1]]) / n**0.1, "short steps undo one long step"),
        (lambda n: torch.tensor([[1.0, 0.0], [-0.5, 1e-7]]), "let the two directions differ more"),
        (lambda n: n * slow_perceptron(n), "in the disc of radius 1"),
        (lambda n: torch.eye(3), "has shape (3, 3), and it should have shape (2, 2)"),
    ],
    "geometric_family": [
        (geometric(lambda A, mean, variance: (-A, mean, variance)), "The sign of A"),
        (geometric(lambda A, mean, variance: (-A, -mean, -variance)), "change sign too"),
        (lambda eta: ((q := 1 - eta.exp()).log().neg(), eta.exp() / q, eta.exp() / q**2), "torch.expm1"),
        (geometric(lambda A, mean, variance: (A, 1 + mean, variance)), "starts at 0"),
        (geometric(lambda A, mean, variance: (A, mean, mean)), "Poisson family"),
        (geometric(lambda A, mean, variance: (A, mean, variance**0.5)), "not the standard deviation"),
        (geometric(lambda A, mean, variance: (A, mean)), "as a tuple, and we got 2 values"),
    ],
    "fit_counts": [
        (line, "the mean must be exp(x @ w)"),
        (lambda x, y: line(x, torch.log1p(y)), "least squares on log(y + 1)"),
        (lambda x, y: line(x, y.clamp(min=0.5).log()), "logarithms of the counts"),
        (lambda x, y: -fit_counts(x, y), "the mean of y grows"),
        (lambda x, y: line(x, y - 1), "one Newton step"),
        (lambda x, y: fit_counts(x, y)[:, None], "has shape (1, 1), and it should have shape (1,)"),
    ],
    "count_parameters": [
        (lambda: [320, 2368, 66816, 10000], "Each neuron has a bias"),
        (lambda: [362, 2474, 67338, 10200], "The inputs got a bias too"),
        (lambda: [330, 2410, 67210, 5050], "two affine functions"),
        (lambda: [330, 2410, 67210, 10050], "the biases double too"),
        (lambda: [330, 2410, 34314, 10100], "from 256 to 128 was forgotten"),
        (lambda: [330, 2410, 67210], "has 3 entries, and it should have 4"),
    ],
    "switch_network": [
        (lambda off, on: switch_network(0.0, 1.0), "shift and scale the inputs first"),
        (
            lambda off, on: (torch.ones(2, 2), torch.full((2,), 100.0), torch.tensor([1.0, -2.0, 0.0])),
            "the network is affine",
        ),
        (lambda off, on: (torch.zeros(2, 2), -torch.ones(2), torch.ones(3)), "A hidden unit is dead"),
        (
            lambda off, on: (*switch_network(off, on)[:2], torch.tensor([-1.0, -1.0, 1.0])),
            "says when the switches agree",
        ),
        (
            lambda off, on: (*switch_network(off, on)[:2], torch.tensor([1.0, -1.0, 0.0])),
            "the other what exceeds one of them",
        ),
        (lambda off, on: (torch.full((2, 2), math.inf), torch.zeros(2), torch.zeros(3)), "must be finite"),
        (lambda off, on: switch_network(off, on)[:2], "as a tuple, and we got 2 values"),
    ],
    "mlp_gradients": [
        (gradients(lambda *g, x, y: tuple(v * y.numel() for v in g)), "divide by m * k"),
        (gradients(lambda *g, x, y: tuple(-v for v in g)), "All signs are reversed"),
        (gradients(lambda *g, x, y: tuple(v / 2 for v in g)), "A factor 2 is missing"),
        (
            lambda W1, b1, W2, b2, x, y: slope_of_tanh(W1, b1, W2, b2, x, y, lambda a: 1 + 0 * a),
            "multiplied by its slope",
        ),
        (
            lambda W1, b1, W2, b2, x, y: slope_of_tanh(W1, b1, W2, b2, x, y, lambda a: 1 - a.tanh() ** 2),
            "a = tanh(z) already",
        ),
        (
            lambda W1, b1, W2, b2, x, y: slope_of_tanh(W1, b1, W2, b2, x, y, lambda a: (a > 0).double()),
            "the slope of ReLU",
        ),
        (gradients(lambda a, b, c, d, x, y: (a.T, b, c, d)), "has shape (2, 1), and it should have shape (1, 2)"),
    ],
    "killing_rate": [
        (lambda x, y, w, b: quotients(x, y, w, b).min(), "The unit is dead only when the last one does"),
        (lambda x, y, w, b: killing_rate(x, y, w, b) / len(y), "the gradient has 1/m"),
        (
            lambda x, y, w, b: killing_rate(torch.cat([x, 0 * x[:, :1]], 1), y, torch.cat([w, w[:1]]), b, 0.0),
            "the bias too",
        ),
        (lambda x, y, w, b: quotients(x, y, w, b).max(), "Otherwise the answer is math.inf"),
        (lambda x, y, w, b: -killing_rate(x, y, w, b), "it should be 0.307692"),
        (lambda x, y, w, b: None, "is there a `return` at the end"),
    ],
    "hinge_gradient": [
        (hinge(lambda loss, gradient: (loss + 1, gradient)), "compared with itself"),
        (hinge(lambda loss, gradient: (loss, -gradient)), "points uphill"),
        (hinge(lambda loss, gradient: (loss, gradient.clamp(min=0))), "nothing pulls the true class up"),
        (
            lambda scores, labels: tuple(part * len(scores) for part in hinge_gradient(scores, labels)),
            "divide it, and the gradient with it, by m",
        ),
        (
            lambda scores, labels: (hinge_gradient(scores, labels)[0], len(scores) * hinge_gradient(scores, labels)[1]),
            "the mean divides it by m too",
        ),
        (
            lambda scores, labels: tuple(part / scores.shape[1] for part in hinge_gradient(scores, labels)),
            "multi_margin_loss does",
        ),
        (hinge(lambda loss, gradient: loss), "as a tuple"),
    ],
    "better_loss_more_mistakes": [
        (lambda labels: (torch.zeros(len(labels), 3), torch.zeros(len(labels), 3)), "two equal highest ones"),
        (lambda labels: better_loss_more_mistakes(labels)[::-1], "should have the lower cross entropy"),
        (
            lambda labels: (5 * torch.nn.functional.one_hot(labels, 3).double(), better_loss_more_mistakes(labels)[1]),
            "should make more mistakes",
        ),
        (
            lambda labels: (torch.full((len(labels), 3), torch.inf), better_loss_more_mistakes(labels)[1]),
            "are not all finite",
        ),
    ],
    "standardize_parts": [
        (lambda a, b: (standardize_parts(a, a)[0], standardize_parts(b, b)[0]), "by its own mean and deviation"),
        (
            standardized(lambda a, b: torch.cat([a, b]).mean(0), lambda a, b: column_std(torch.cat([a, b]), b)),
            "they have looked at the test set",
        ),
        (
            standardized(lambda a, b: a.mean(0), lambda a, b: a.std(0, correction=0)),
            "has the deviation 0. Divide it by 1",
        ),
        (
            standardized(lambda a, b: a.mean(0), lambda a, b: a.std(0, correction=0) + 1e-8),
            "constant columns of the test",
        ),
        (standardized(lambda a, b: a.mean(0), lambda a, b: a.std(0) + (a.std(0) == 0)), "divides by m - 1"),
        (lambda a, b: standardize_parts(a, b)[0], "as a tuple"),
    ],
    "train_in_batches": [
        (lambda *inputs: train_in_batches(*inputs, zero_grad=False), "pile up from step to step"),
        (lambda *inputs: train_in_batches(*inputs, reduction="sum"), "the sum of the losses of a batch"),
        (lambda x, y, *others: train_in_batches(x, y, others[0], others[1], len(x), *others[3:]), "one step an epoch"),
        (lambda *inputs: train_in_batches(*inputs[:-1], 1), "after the first epoch"),
        (lambda *inputs: train_in_batches(*inputs).softmax(1), "before the softmax"),
        (lambda *inputs: train_in_batches(*inputs).argmax(1), "it should have shape"),
        (whole_batches, "smaller batch of each epoch was left out"),
    ],
}


def table(answers):
    return [pytest.param(name, *entry, id=f"{name}-{i}") for name, rows in answers.items() for i, entry in rows]


def test_every_exercise_has_right_answers_and_at_least_three_wrong_ones():
    names = [exercise.name for exercise in exercises("neural-networks")]
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
    for exercise in exercises("neural-networks"):
        for mistake in exercise.mistakes:
            result = check(lambda *inputs, m=mistake: m.answer(*inputs), exercise.name, seed=1)
            assert not result and result.hint == mistake.hint, (exercise.name, mistake.hint, result)


def test_the_geometric_reference_agrees_with_sums_over_the_outcomes():
    eta = torch.tensor([-0.3, -1.0, -4.0], dtype=F64)
    A, mean, variance = find_exercise("geometric_family").expected((eta,))
    y = torch.arange(500, dtype=F64).unsqueeze(1)
    p = (y * eta - A).exp()
    assert_close(p.sum(0), torch.ones(3, dtype=F64))
    assert_close((p * y).sum(0), mean)
    assert_close((p * (y - mean) ** 2).sum(0), variance)
    assert_close(p[3, 1].item(), (1 - math.exp(-1)) * math.exp(-3))
