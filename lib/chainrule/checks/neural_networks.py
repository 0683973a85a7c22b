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

# standardize_parts: implement


def _standardize_with(train: Tensor, test: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    std = torch.where(std == 0, 1.0, std)
    return (train - mean) / std, (test - mean) / std


def _standardize_parts(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    return _standardize_with(train, test, train.mean(dim=0), train.std(dim=0, correction=0))


def _standardize_together(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    both = torch.cat([train, test])
    return _standardize_with(train, test, both.mean(dim=0), both.std(dim=0, correction=0))


def _standardize_unguarded(train: Tensor, test: Tensor, tiny: float = 0.0) -> tuple[Tensor, Tensor]:
    mean, std = train.mean(dim=0), train.std(dim=0, correction=0) + tiny
    return (train - mean) / std, (test - mean) / std


def _draw_parts(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    d = _whole(2, 5, generator)
    centre, width = 5 * _normal(d, generator=generator), 0.5 + 3 * _normal(d, generator=generator).abs()
    train, test = (centre + width * _normal(_whole(3, 9, generator), d, generator=generator) for _ in range(2))
    train[:, 0] = 2.0  # constant, and in the test part it is not
    return train, test


standardize_parts = Exercise(
    name="standardize_parts",
    chapter=CHAPTER,
    title="Standardize, without a look at the test set",
    points=3,
    page="neural-networks/data",
    start="the mean and the deviation of each column of the training part, train.mean(dim=0) and "
    "train.std(dim=0, correction=0); both parts are changed by these",
    reference=_standardize_parts,
    output=(Output("tensor", "the training part"), Output("tensor", "the test part")),
    public=(
        (_vector(1.0, 3.0).unsqueeze(1), _vector(2.0, 4.0, 5.0).unsqueeze(1)),
        (
            torch.tensor([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]], dtype=torch.float64),
            torch.tensor([[1.0, 5.5]], dtype=torch.float64),
        ),
    ),
    draw=_draw_parts,
    mistakes=(
        Mistake(
            lambda train, test: (_standardize_parts(train, test)[0], _standardize_parts(test, test)[0]),
            "The test part was changed by its own mean and deviation. Then the same sample comes out differently in "
            "other company; both parts need the two numbers of the training part.",
        ),
        Mistake(
            _standardize_together,
            "Mean and deviation were computed from both parts together, so they have looked at the test set.",
        ),
        Mistake(
            _standardize_unguarded,
            "A column that is constant in the training part has the deviation 0. Divide it by 1.",
        ),
        *(
            Mistake(
                lambda train, test, tiny=tiny: _standardize_unguarded(train, test, tiny),
                "A small number added to the deviation changes every result a little, and makes the constant columns "
                "of the test part huge. Divide by 1 where the deviation is 0, and only there.",
            )
            for tiny in (1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12)
        ),
        Mistake(
            lambda train, test: _standardize_with(train, test, train.mean(dim=0), train.std(dim=0)),
            "This deviation divides by m - 1. Here it is the one that divides by m, correction=0, so that the training "
            "part has variance 1 exactly.",
        ),
        Mistake(
            lambda train, test: _standardize_with(train, test, train.mean(dim=0), train.var(dim=0, correction=0)),
            "This divides by the variance. Its root, the deviation, has the unit of the data.",
        ),
        Mistake(
            lambda train, test: _standardize_with(train, test, train.mean(), train.std(correction=0)),
            "This is one mean for all columns together. Each feature has its own: dim=0.",
        ),
    ),
    forbidden=("sklearn",),
)

# train_in_batches: implement


def _train_in_batches(
    x: Tensor,
    y: Tensor,
    x_new: Tensor,
    num_classes: int,
    batch_size: int,
    learning_rate: float,
    epochs: int,
    mean: bool = True,
    forget: bool = True,
    drop_last: bool = False,
) -> Tensor:
    """Softmax regression by mini-batches in the given order; the last three arguments make mistakes on purpose."""
    target = torch.eye(num_classes, dtype=x.dtype)[y]
    ones = torch.ones(len(x), 1, dtype=x.dtype)
    inputs = torch.cat([x, ones], dim=1)  # (m, d + 1)
    weight = torch.zeros(inputs.shape[1], num_classes, dtype=x.dtype)
    gradient = torch.zeros_like(weight)
    for _ in range(epochs):
        for rows in torch.arange(len(x)).split(batch_size):
            if drop_last and len(rows) < batch_size:
                continue
            error = (inputs[rows] @ weight).softmax(dim=1) - target[rows]  # (b, k)
            gradient = inputs[rows].T @ error / (len(rows) if mean else 1) + (0 if forget else gradient)
            weight = weight - learning_rate * gradient
    return x_new @ weight[:-1] + weight[-1]


def _draw_classes(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, int, int, float, int]:
    d, k, batch_size = _whole(1, 4, generator), _whole(2, 4, generator), _whole(2, 5, generator)
    m = 3 * batch_size + _whole(1, batch_size - 1, generator)  # a small batch is left
    centres = 2 * _normal(k, d, generator=generator)
    y = torch.randint(k, (m,), generator=generator)
    x = centres[y] + _normal(m, d, generator=generator)
    return x, y, _normal(5, d, generator=generator), k, batch_size, 0.25, _whole(2, 4, generator)


train_in_batches = Exercise(
    name="train_in_batches",
    chapter=CHAPTER,
    title="A training loop",
    points=4,
    page="neural-networks/training",
    start="weights and bias of zeros that require a gradient, and two loops: over epochs, and over the rows in batches",
    reference=lambda x, y, x_new, num_classes, batch_size, learning_rate, epochs: _train_in_batches(
        x, y, x_new, num_classes, batch_size, learning_rate, epochs
    ),
    output=Output("tensor", "the scores"),
    public=(
        (_vector(1.0, -1.0).unsqueeze(1), torch.tensor([1, 0]), _vector(0.5).unsqueeze(1), 2, 2, 0.5, 1),
        (
            _vector(1.0, 2.0, -1.0, -2.0, 0.0).unsqueeze(1),
            torch.tensor([1, 1, 0, 0, 2]),
            _vector(1.0, 0.0).unsqueeze(1),
            3,
            2,
            0.1,
            3,
        ),
    ),
    draw=_draw_classes,
    mistakes=(
        Mistake(
            lambda *inputs: _train_in_batches(*inputs, forget=False),
            "The gradients pile up from step to step: backward adds to what is there. Empty them before each step.",
        ),
        Mistake(
            lambda *inputs: _train_in_batches(*inputs, mean=False),
            "This is the sum of the losses of a batch. The loss is their mean, so that the step does not depend on the "
            "size of the batch.",
        ),
        Mistake(
            lambda *inputs: _train_in_batches(*inputs, drop_last=True),
            "The last, smaller batch of each epoch was left out. Its samples count too.",
        ),
        Mistake(
            lambda x, y, x_new, k, b, rate, epochs: _train_in_batches(x, y, x_new, k, len(x), rate, epochs),
            "This makes one step an epoch, on all samples. Each batch makes a step of its own.",
        ),
        Mistake(
            lambda x, y, x_new, k, b, rate, epochs: _train_in_batches(x, y, x_new, k, b, rate, 1),
            "This is the result after the first epoch. Is the return inside of the loop?",
        ),
        Mistake(
            lambda x, y, x_new, k, b, rate, epochs: _train_in_batches(x, y, x_new, k, b, -rate, epochs),
            "The sign of the step: the loss falls against the gradient.",
        ),
        Mistake(
            lambda *inputs: _train_in_batches(*inputs).softmax(dim=1),
            "These are probabilities. We ask for the scores, before the softmax.",
        ),
    ),
    forbidden=("chainrule.training", "chainrule.generalized_linear_models"),
)

# hinge_gradient: implement


def _hinge_gradient(scores: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    rows = torch.arange(len(scores))
    excess = (scores - scores[rows, labels].unsqueeze(1) + 1).clamp(min=0)
    excess[rows, labels] = 0
    gradient = (excess > 0).to(scores.dtype)
    gradient[rows, labels] = -gradient.sum(dim=1)
    return float(excess.sum() / len(scores)), gradient / len(scores)


def _scores_and_labels(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    m, k = _whole(1, 6, generator), _whole(3, 6, generator)
    return 2 * _normal(m, k, generator=generator), torch.randint(0, k, (m,), generator=generator)


hinge_gradient = Exercise(
    name="hinge_gradient",
    chapter=CHAPTER,
    title="The hinge loss and its gradient",
    points=4,
    page="neural-networks/losses",
    start="one sample: which rivals come within 1 of the true class, and which entries of the scores do they involve?",
    reference=_hinge_gradient,
    output=(Output("number", "the loss"), Output("tensor", "the gradient")),
    public=(
        (torch.tensor([[2.0, 3.0, -1.0, 2.5]], dtype=torch.float64), torch.tensor([0])),
        (torch.tensor([[5.0, 1.0, 1.5], [0.0, 0.0, 0.0]], dtype=torch.float64), torch.tensor([0, 2])),
    ),
    draw=_scores_and_labels,
    mistakes=(
        Mistake(
            lambda scores, labels: (_hinge_gradient(scores, labels)[0] + 1, _hinge_gradient(scores, labels)[1]),
            "The true class is compared with itself, which always gives 1. Leave it out of the sum.",
        ),
        Mistake(
            lambda scores, labels: tuple(part * len(scores) for part in _hinge_gradient(scores, labels)),
            "The loss is a mean over the samples: divide it, and the gradient with it, by m.",
        ),
        Mistake(
            lambda scores, labels: (
                _hinge_gradient(scores, labels)[0],
                _hinge_gradient(scores, labels)[1] * len(scores),
            ),
            "The loss is right. The gradient is that of the sum over the samples; the mean divides it by m too.",
        ),
        Mistake(
            lambda scores, labels: (
                _hinge_gradient(scores, labels)[0],
                _hinge_gradient(scores, labels)[1].clamp(min=0),
            ),
            "The rivals are pushed down and nothing pulls the true class up: each violated margin contains its score "
            "too, with a minus sign.",
        ),
        Mistake(
            lambda scores, labels: (_hinge_gradient(scores, labels)[0], -_hinge_gradient(scores, labels)[1]),
            "The sign: the gradient points uphill. The loss grows when a rival's score grows.",
        ),
        Mistake(
            lambda scores, labels: (
                _hinge_gradient(scores, labels)[0] / scores.shape[1],
                _hinge_gradient(scores, labels)[1] / scores.shape[1],
            ),
            "This is divided by the number of classes too, as torch's multi_margin_loss does; ours is not.",
        ),
    ),
    forbidden=(
        "chainrule.losses",
        "torch.nn.functional.multi_margin_loss",
        "torch.nn.MultiMarginLoss",
        "torch.autograd.grad",
        "torch.autograd.functional",
        "torch.autograd.backward",
        "torch.Tensor.backward",
        "torch.func",
    ),
)

# better_loss_more_mistakes: break


def _better_loss_more_mistakes(labels: Tensor) -> tuple[Tensor, Tensor]:
    true = torch.nn.functional.one_hot(labels, 3).double()
    other = torch.nn.functional.one_hot((labels + 1) % 3, 3).double()
    proud = 10 * true
    proud[0] = 50 * other[0]  # one sample wrong, with all its heart
    return 0.1 * other, proud  # the first is wrong everywhere, by a hair


def _accept_scores(inputs: tuple, output: tuple) -> str | None:
    (labels,) = inputs
    mistakes, losses = [], []
    for name, scores in zip(("first", "second"), output, strict=True):
        if not scores.isfinite().all():
            return f"The {name} scores are not all finite"
        ordered = scores.sort(dim=1).values
        if (ordered[:, -1] - ordered[:, -2] < 1e-9).any():
            return f"The {name} scores have two equal highest ones in a row, so it is not clear what they predict"
        mistakes.append(int((scores.argmax(dim=1) != labels).sum()))
        true = scores.gather(1, labels.unsqueeze(1)).squeeze(1)
        losses.append(float((torch.logsumexp(scores, dim=1) - true).mean()))
    said = f"The cross entropies are {losses[0]:.4g} and {losses[1]:.4g} nats, the mistakes {mistakes[0]} and "
    said += f"{mistakes[1]}"
    if losses[0] >= losses[1]:
        return f"{said}. The first should have the lower cross entropy"
    if mistakes[0] <= mistakes[1]:
        return f"{said}. The first should make more mistakes"
    return None


better_loss_more_mistakes = Exercise(
    name="better_loss_more_mistakes",
    chapter=CHAPTER,
    title="Lower loss, more mistakes",
    points=3,
    page="neural-networks/losses",
    start="one sample that is wrong by a hair, and one that is wrong beyond doubt: what does each cost?",
    reference=_better_loss_more_mistakes,
    output=(Output("tensor", "the first scores"), Output("tensor", "the second scores")),
    public=((torch.tensor([0, 1, 2, 1]),), (torch.tensor([2, 2]),)),
    draw=lambda generator: (torch.randint(0, 3, (_whole(2, 8, generator),), generator=generator),),
    num_random=4,
    accept=_accept_scores,
)

EXERCISES = (
    perceptron_on_and,
    slow_perceptron,
    geometric_family,
    fit_counts,
    hinge_gradient,
    better_loss_more_mistakes,
    standardize_parts,
    train_in_batches,
)
