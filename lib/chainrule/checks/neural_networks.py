"""The exercises of the chapter on neural networks, in the order of its exercise page."""

import math

import torch
from torch import Tensor

from chainrule.checks._record import Exercise, Mistake, Output

__all__ = ["EXERCISES"]

CHAPTER = "neural-networks"


def _vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _whole(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# perceptron_on_and: predict


def _perceptron_on_and() -> list[float]:
    return [1, 1, 0, 2, 1, -1]


perceptron_on_and = Exercise(
    name="perceptron_on_and",
    chapter=CHAPTER,
    title="Two passes of the perceptron by hand",
    points=2,
    page="neural-networks/perceptron",
    start="the first row: the weights are 0, so the score is 0, and a score of 0 counts as a mistake",
    reference=_perceptron_on_and,
    output=Output("numbers", "the list of weights"),
    public=((),),
    mistakes=(
        Mistake(
            lambda: [0, 0, 0, 0, 0, 0],
            "With all weights 0 every score is 0. If that counted as right, nothing would ever be learned: a score of "
            "exactly 0 is a mistake.",
        ),
        Mistake(
            lambda: [1, 1, 1, 1, 1, 1],
            "Rows with the label 0 seem to have changed nothing. The rule uses the labels -1 and +1: a row of label -1 "
            "on the wrong side is subtracted.",
        ),
        Mistake(
            lambda: [0, 0, -2, 0, 0, -4],
            "All four rows were used with the weights of the start. The perceptron goes on from the new weights at "
            "once.",
        ),
        Mistake(
            lambda: [-1, -1, 0, -2, -1, 1],
            "The sign: add the row if its label is +1, and subtract it if its label is -1.",
        ),
        Mistake(
            lambda: [1, 1, 0, 1, 1, 0],
            "The second pass starts from the weights of the first one, and finds mistakes again: the row (0, 0) has "
            "the score 0.",
        ),
    ),
    forbidden=("chainrule.perceptron",),
)

# slow_perceptron: break


def _slow_perceptron(num_updates: int) -> Tensor:
    return torch.tensor([[1, 0], [-math.cos(0.001) / num_updates, math.sin(0.001) / num_updates]], dtype=torch.float64)


def _count_updates(x: list[list[float]], most: int) -> int:
    """How many updates the perceptron makes on points that all have the label +1; most + 1 if it goes on."""
    a, b, count, wrong = 0.0, 0.0, 0, True
    while wrong and count <= most:
        wrong = False
        for first, second in x:
            if a * first + b * second <= 0:
                a, b, count, wrong = a + first, b + second, count + 1, True
    return count


def _accept_points(inputs: tuple, output: Tensor) -> str | None:
    (num_updates,) = inputs
    if not output.isfinite().all() or output.norm(dim=1).max() > 1 + 1e-9:
        return "Each point must lie in the disc of radius 1"
    count = _count_updates(output.tolist(), 1000 * num_updates)
    long, short = float(output.norm(dim=1).max()), float(output.norm(dim=1).min())
    across = float(output[0, 0] * output[1, 1] - output[0, 1] * output[1, 0])
    along = float(output[0] @ output[1])
    if count > 1000 * num_updates:
        reason = f"The perceptron had not stopped after {1000 * num_updates} updates. "
        if along <= 0 and across == 0:
            return reason + "No line through the origin has both points strictly on one side, so it never stops"
        return (
            reason + "It would stop some day, but that is more than was asked for: let the two directions differ more"
        )
    if count >= num_updates:
        return None
    reason = f"The perceptron stops after {count} updates, and at least {num_updates} were asked for. "
    if along > -0.9 * long * short:
        return reason + "The points do not work against each other: an update for one should spoil the other"
    if short > 0.9 * long:
        return reason + (
            "The points are nearly opposite, which is right, but one update for each of them cancels all but the part "
            "that helps both. Count how many updates a short point needs to undo a long one"
        )
    return reason + "Count how many short steps undo one long step"


slow_perceptron = Exercise(
    name="slow_perceptron",
    chapter=CHAPTER,
    title="Two points that keep the perceptron busy",
    points=3,
    page="neural-networks/perceptron",
    start="two points that point nearly in opposite directions, and count the updates by hand",
    reference=_slow_perceptron,
    output=Output("tensor", "the two points"),
    public=((5,), (20,), (200,)),
    draw=lambda generator: (_whole(3, 300, generator),),
    num_random=4,
    accept=_accept_points,
)

# geometric_family: derive


def _geometric_family(eta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q = -torch.expm1(eta)  # 1 - e^eta, the chance to stop
    return -q.log(), eta.exp() / q, eta.exp() / q**2


geometric_family = Exercise(
    name="geometric_family",
    chapter=CHAPTER,
    title="The geometric family",
    points=3,
    page="neural-networks/generalized-linear-models",
    start="the logarithm of the probability, log(1 - q) + y log q: what multiplies y, and what is left?",
    reference=_geometric_family,
    output=(Output("tensor", "the log-partition A"), Output("tensor", "the mean"), Output("tensor", "the variance")),
    public=(
        (_vector(-math.log(2)),),
        (_vector(-1.0, -0.1, -3.0),),
        (_vector(-30.0, -1e-13),),
    ),
    draw=lambda generator: (-5 * torch.rand(_whole(1, 6, generator), generator=generator, dtype=torch.float64),),
    mistakes=(
        Mistake(
            lambda eta: (lambda a, mean, var: (-a, mean, var))(*_geometric_family(eta)),
            "The sign of A: the logarithm of the probability is y eta minus A.",
        ),
        Mistake(
            lambda eta: (lambda a, mean, var: (-a, -mean, -var))(*_geometric_family(eta)),
            "The sign of A: the logarithm of the probability is y eta minus A. The derivatives then change sign too.",
        ),
        Mistake(
            lambda eta: (lambda q: (-q.log(), eta.exp() / q, eta.exp() / q**2))(1 - eta.exp()),
            "The formulas are right, but near eta = 0 the difference 1 - exp(eta) has lost its digits. "
            "torch.expm1(eta) is exp(eta) - 1 without that loss.",
        ),
        Mistake(
            lambda eta: (lambda a, mean, var: (a, mean + 1, var))(*_geometric_family(eta)),
            "This is the mean of the number of throws with the last one counted. Here y counts the failures before it, "
            "and starts at 0.",
        ),
        Mistake(
            lambda eta: (lambda a, mean, var: (a, mean, mean))(*_geometric_family(eta)),
            "The variance equals the mean for the Poisson family. Here it is the second derivative of another A.",
        ),
        Mistake(
            lambda eta: (lambda a, mean, var: (a, mean, var.sqrt()))(*_geometric_family(eta)),
            "The second derivative of A is the variance, not the standard deviation.",
        ),
    ),
)

# fit_counts: implement


def _poisson_weights(x: Tensor, y: Tensor) -> Tensor:
    """Newton's method from the least-squares fit of the logarithms, each step halved until it lowers the loss."""

    def loss(w: Tensor) -> Tensor:
        return ((x @ w).exp() - y * (x @ w)).sum()

    w = torch.linalg.lstsq(x, (y + 0.5).log().unsqueeze(1)).solution[:, 0]
    for _ in range(50):
        mean = (x @ w).exp()
        step = torch.linalg.solve(x.T @ (x * mean.unsqueeze(1)), x.T @ (y - mean))
        while not loss(w + step) <= loss(w) + 1e-12 * loss(w).abs():
            step = step / 2
        w = w + step
    return w


def _draw_counts(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    d = _whole(2, 4, generator)
    x = torch.cat([torch.ones(60, 1, dtype=torch.float64), _normal(60, d - 1, generator=generator)], dim=1)
    w = torch.cat([_vector(1.0), 0.5 * _normal(d - 1, generator=generator)])
    return x, torch.poisson((x @ w).exp(), generator=generator)


def _least_squares(x: Tensor, y: Tensor) -> Tensor:
    return torch.linalg.lstsq(x, y.unsqueeze(1)).solution[:, 0]


fit_counts = Exercise(
    name="fit_counts",
    chapter=CHAPTER,
    title="Fit counts",
    points=4,
    page="neural-networks/generalized-linear-models",
    start="the loss, the sum of exp(x @ w) - y * (x @ w), and its gradient: residual times feature",
    reference=_poisson_weights,
    output=Output("tensor", "the weights"),
    public=(
        (torch.ones(4, 1, dtype=torch.float64), _vector(1, 2, 3, 6)),
        (torch.tensor([[1.0, 0], [1, 1], [1, 2], [1, 3]], dtype=torch.float64), _vector(1, 1, 4, 9)),
    ),
    draw=_draw_counts,
    num_random=4,
    tolerance=1e-3,
    absolute=1e-4,
    mistakes=(
        Mistake(_least_squares, "This is the straight line of least squares: the mean must be exp(x @ w), not x @ w."),
        Mistake(
            lambda x, y: _least_squares(x, (y + 1).log()),
            "This is least squares on log(y + 1). The mean of a logarithm is not the logarithm of the mean, and large "
            "counts deserve more weight: minimize the Poisson loss itself.",
        ),
        Mistake(
            lambda x, y: _least_squares(x, y.clamp(min=0.5).log()),
            "This is least squares on the logarithms of the counts. The mean of a logarithm is not the logarithm of "
            "the mean: minimize the Poisson loss itself.",
        ),
        Mistake(
            lambda x, y: _least_squares(x, y - 1),
            "This is one Newton step from 0. Repeat it until the weights stay.",
        ),
        Mistake(lambda x, y: -_poisson_weights(x, y), "The sign: the mean of y grows with x @ w, as exp(x @ w)."),
    ),
    forbidden=("chainrule.generalized_linear_models", "torch.nn.functional.poisson_nll_loss"),
)

EXERCISES = (
    perceptron_on_and,
    slow_perceptron,
    geometric_family,
    fit_counts,
)
