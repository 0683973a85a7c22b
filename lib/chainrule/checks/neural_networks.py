"""The exercises of the chapter on neural networks, in the order of its exercise page."""

import math
from collections.abc import Callable

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
    num_random=5,
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
    num_random=5,
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
    num_random=5,
    accept=_accept_scores,
)

# count_parameters: predict


def _count_parameters() -> list[float]:
    return [330, 2410, 67_210, 10_100]


count_parameters = Exercise(
    name="count_parameters",
    chapter=CHAPTER,
    title="Predict the number of parameters",
    points=2,
    page="neural-networks/multilayer-perceptron",
    start="the single layer: each of its 10 neurons has 32 weights, and what else?",
    reference=_count_parameters,
    output=Output("numbers", "the list of counts"),
    public=((),),
    absolute=0.5,
    mistakes=(
        Mistake(
            lambda: [320, 2368, 66_816, 10_000],
            "The weights are right. Each neuron has a bias as well.",
        ),
        Mistake(
            lambda: [362, 2474, 67_338, 10_200],
            "The inputs got a bias too. Nothing is computed there, so there is nothing to shift.",
        ),
        Mistake(
            lambda: [330, 2410, 67_210, 5050],
            "A Maxout unit with two pieces has two affine functions, each with weights and a bias of its own.",
        ),
        Mistake(
            lambda: [330, 2410, 67_210, 10_050],
            "In the Maxout layer the biases double too: each piece has its own.",
        ),
        Mistake(
            lambda: [320, 20_480, 41_943_040, 10_000],
            "Matrices that follow each other are different parameters. Their sizes are added, not multiplied.",
        ),
        Mistake(
            lambda: [330, 2410, 34_314, 10_100],
            "In the third network the layer from 256 to 128 was forgotten, which has 128 * 257 parameters.",
        ),
    ),
    forbidden=("chainrule.multilayer_perceptron", "chainrule.activations"),
)

# switch_network: derive


def _switch_network(off: float, on: float) -> tuple[Tensor, Tensor, Tensor]:
    W = torch.full((2, 2), 1 / (on - off), dtype=torch.float64)
    b = -torch.tensor([2 * off, off + on], dtype=torch.float64) / (on - off)
    return W, b, torch.tensor([1.0, -2.0, 0.0], dtype=torch.float64)


def _run_switch_network(off: float, on: float, W: Tensor, b: Tensor, v: Tensor) -> list[float]:
    corners = torch.tensor([[off, off], [off, on], [on, off], [on, on]], dtype=torch.float64)
    return (torch.relu(corners @ W.T + b) @ v[:2] + v[2]).tolist()


def _accept_switches(inputs: tuple, output: tuple) -> str | None:
    off, on = inputs
    W, b, v = output
    if not all(torch.isfinite(part).all() for part in output):
        return "All weights must be finite"
    got = _run_switch_network(off, on, W, b, v)
    if all(abs(value - want) < 1e-6 for value, want in zip(got, (0, 1, 1, 0), strict=True)):
        return None
    shown = ", ".join(f"{value:.4g}" for value in got)
    reason = f"The network gives {shown} for the switches off/off, off/on, on/off, on/on instead of 0, 1, 1, 0. "
    corners = torch.tensor([[off, off], [off, on], [on, off], [on, on]], dtype=torch.float64)
    z = corners @ W.T + b
    if (z <= 1e-12).all(dim=0).any():
        return reason + "A hidden unit is dead: its pre-activation is not positive for any of the four"
    if (z >= -1e-12).all():
        return reason + "Both hidden units are open for all four inputs, so the network is affine, and no plane fits"
    plain = _run_switch_network(0, 1, W, b, v)
    if all(abs(value - want) < 1e-6 for value, want in zip(plain, (0, 1, 1, 0), strict=True)):
        return reason + "For switches with the values 0 and 1 it would be right: shift and scale the inputs first"
    if all(abs(value - want) < 1e-6 for value, want in zip(got, (1, 0, 0, 1), strict=True)):
        return reason + "This is the opposite: it says when the switches agree"
    return reason + "Let one unit carry the number of switches that are on, and the other what exceeds one of them"


switch_network = Exercise(
    name="switch_network",
    chapter=CHAPTER,
    title="The staircase light, for any switches",
    points=3,
    page="neural-networks/multilayer-perceptron",
    start="switches with the values 0 and 1, and the two hidden units of the page",
    reference=_switch_network,
    output=(
        Output("tensor", "the hidden weights W"),
        Output("tensor", "the hidden biases b"),
        Output("tensor", "the output weights v"),
    ),
    public=((0.0, 1.0), (-1.0, 1.0), (2.0, 5.0), (-3.0, -2.5)),
    draw=lambda generator: (
        (low := float(4 * _normal(1, generator=generator))),
        low + 0.1 + float(_normal(1, generator=generator).abs()),
    ),
    accept=_accept_switches,
)

# mlp_gradients: implement


def _mlp_gradients(W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return _variant_gradients(W1, b1, W2, b2, x, y)


def _variant_gradients(
    W1: Tensor,
    b1: Tensor,
    W2: Tensor,
    b2: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    mean: bool = True,
    mask: str = "open",
    sign: float = 1.0,
    factor: float = 2.0,
) -> tuple[Tensor, ...]:
    """The gradients of the mean squared error of a network with tanh, and the usual slips."""
    a = torch.tanh(x @ W1.T + b1)
    delta2 = sign * factor * (a @ W2.T + b2 - y) / (y.numel() if mean else 1)
    back = delta2 @ W2
    slope = {"open": 1 - a**2, "none": 1.0, "pre": 1 - torch.tanh(a) ** 2, "relu": (a > 0).double()}[mask]
    delta1 = back * slope
    return delta1.T @ x, delta1.sum(0), delta2.T @ a, delta2.sum(0)


def _draw_network(generator: torch.Generator) -> tuple[Tensor, ...]:
    m, d, n, k = (_whole(2, 6, generator) for _ in range(4))
    shapes = ((n, d), (n,), (k, n), (k,), (m, d), (m, k))
    return tuple(_normal(*shape, generator=generator) for shape in shapes)


def _slip(**how) -> Callable[..., tuple[Tensor, ...]]:
    return lambda W1, b1, W2, b2, x, y: _variant_gradients(W1, b1, W2, b2, x, y, **how)


mlp_gradients = Exercise(
    name="mlp_gradients",
    chapter=CHAPTER,
    title="The backward pass of a tanh network",
    points=4,
    page="neural-networks/digits-from-scratch",
    start="the last layer: the loss is a mean over all m * k squares, so what is its derivative in one prediction?",
    reference=_mlp_gradients,
    output=(
        Output("tensor", "the gradient of W1"),
        Output("tensor", "the gradient of b1"),
        Output("tensor", "the gradient of W2"),
        Output("tensor", "the gradient of b2"),
    ),
    public=(
        (
            torch.tensor([[1.0, 2.0]], dtype=torch.float64),
            _vector(0.0),
            torch.tensor([[2.0]], dtype=torch.float64),
            _vector(0.0),
            torch.tensor([[1.0, -0.5], [0.5, 0.25]], dtype=torch.float64),
            torch.tensor([[0.0], [1.0]], dtype=torch.float64),
        ),
        _draw_network(torch.Generator().manual_seed(3)),
    ),
    draw=_draw_network,
    mistakes=(
        Mistake(
            _slip(mean=False),
            "This is the gradient of the sum of the squares. The loss is their mean: divide by m * k.",
        ),
        Mistake(_slip(sign=-1.0), "All signs are reversed: (prediction - y)^2 has the derivative 2 (prediction - y)."),
        Mistake(_slip(factor=1.0), "A factor 2 is missing: the derivative of a square is 2 times its base."),
        Mistake(
            _slip(mask="none"),
            "The second layer is right. On its way to the first one the gradient passes through tanh and is "
            "multiplied by its slope.",
        ),
        Mistake(
            _slip(mask="pre"),
            "The slope of tanh was taken at the activation a. It is 1 - tanh(z)^2, and a = tanh(z) already.",
        ),
        Mistake(
            _slip(mask="relu"),
            "The gradient was stopped where the activation is negative. That is the slope of ReLU; here it is 1 - a^2.",
        ),
    ),
    forbidden=("torch.autograd", "torch.func", "torch.Tensor.backward", "chainrule.multilayer_perceptron"),
)

# killing_rate: break


def _killing_rate(x: Tensor, y: Tensor, w: Tensor, b: float) -> float:
    return _variant_rate(x, y, w, b)


def _variant_rate(
    x: Tensor,
    y: Tensor,
    w: Tensor,
    b: float,
    *,
    mean: bool = True,
    bias: bool = True,
    slope: bool = True,
    last: bool = True,
    possible: bool = True,
) -> float:
    """The least learning rate that shuts a unit for every input, and the usual slips on the way to it."""
    z = x @ w + b
    delta = (torch.relu(z) - y) * ((z > 0) if slope else 1.0) / (len(y) if mean else 1)
    fall = x @ (x.T @ delta) + (delta.sum() if bias else 0.0)  # z - rate * fall is what the step leaves
    falling = (fall > 0) & (z > 0)
    if possible and ((z > 0) & ~falling).any():
        return math.inf
    rates = z[falling] / fall[falling]
    if not len(rates):
        return 0.0
    rate = float(rates.max() if last else rates.min())
    return math.inf if possible and last and (z - rate * fall > 1e-9).any() else rate


def _draw_unit(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, float]:
    m, d = _whole(3, 6, generator), _whole(1, 3, generator)
    x, w = _normal(m, d, generator=generator).abs() + 0.1, _normal(d, generator=generator).abs() + 0.1
    y = 0.2 * _normal(m, generator=generator).abs()
    return x, y, w, -0.2 * float(_normal(1, generator=generator).abs())


def _rate_slip(**how) -> Callable[..., float]:
    return lambda x, y, w, b: _variant_rate(x, y, w, b, **how)


killing_rate = Exercise(
    name="killing_rate",
    chapter=CHAPTER,
    title="The learning rate that kills",
    points=4,
    page="neural-networks/activations",
    start="the gradient of the loss in w and b; then write the pre-activation after the step as z - rate * something",
    reference=_killing_rate,
    output=Output("number", "the learning rate"),
    public=(
        (torch.tensor([[1.0], [2.0]], dtype=torch.float64), _vector(0.0, 0.0), _vector(1.0), 0.0),
        (torch.tensor([[1.0], [3.0]], dtype=torch.float64), _vector(0.0, 0.0), _vector(1.0), -2.0),
        (torch.tensor([[1.0], [2.0]], dtype=torch.float64), _vector(5.0, 5.0), _vector(1.0), 0.0),
        (torch.tensor([[1.0], [-1.0]], dtype=torch.float64), _vector(0.0, 0.0), _vector(2.0), 1.0),
        _draw_unit(torch.Generator().manual_seed(0)),
    ),
    draw=_draw_unit,
    mistakes=(
        Mistake(
            _rate_slip(last=False),
            "At this learning rate the first of the inputs falls silent. The unit is dead only when the last one does.",
        ),
        Mistake(
            _rate_slip(bias=False),
            "Only the weights were moved. The step changes the bias too, by the rate times the sum of the errors.",
        ),
        Mistake(_rate_slip(mean=False), "This is for the sum of the errors. The loss is a mean: the gradient has 1/m."),
        Mistake(
            _rate_slip(slope=False),
            "Inputs for which the unit is already shut were counted in the gradient. ReLU has slope 0 there.",
        ),
        Mistake(
            _rate_slip(possible=False),
            "For some inputs no learning rate kills: the step must lower the pre-activation of every input that is "
            "open, and open none that was shut. Otherwise the answer is math.inf.",
        ),
    ),
    forbidden=("torch.autograd", "torch.func", "torch.Tensor.backward"),
)


EXERCISES = (
    perceptron_on_and,
    slow_perceptron,
    geometric_family,
    fit_counts,
    count_parameters,
    switch_network,
    mlp_gradients,
    killing_rate,
    hinge_gradient,
    better_loss_more_mistakes,
    standardize_parts,
    train_in_batches,
)
