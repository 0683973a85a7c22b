"""The exercises on learning from data, in the order of its exercise page."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from chainrule.checks._record import Exercise, Mistake, Output
from chainrule.clustering import cluster_means, lloyd, nearest_center, squared_distances
from chainrule.linear_regression import append_ones, least_squares, ridge_regression
from chainrule.nearest_neighbours import knn_predict, l1_distance, l2_distance
from chainrule.random_features import width_curve

__all__ = ["EXERCISES"]

CHAPTER = "learning-from-data"


def _whole(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


# leave_one_out_errors: predict

POSITIONS, CLASSES = (0.0, 1.0, 2.1, 3.4, 10.0, 11.0), (0, 0, 1, 0, 1, 1)


def _leave_one_out_errors(leave: bool = True) -> list[float]:
    x, y = torch.tensor(POSITIONS, dtype=torch.float64).unsqueeze(1), torch.tensor(CLASSES)
    errors = []
    for k in (1, 3, 5):
        wrong = 0
        for i in range(len(x)):
            others = torch.arange(len(x)) != i if leave else torch.ones(len(x), dtype=torch.bool)
            wrong += int(knn_predict(x[others], y[others], x[i : i + 1], k)[0] != y[i])
        errors.append(float(wrong))
    return errors


leave_one_out_errors = Exercise(
    name="leave_one_out_errors",
    chapter=CHAPTER,
    title="Leave one out, six times",
    points=2,
    page="learning-from-data/validation",
    start="k = 1: beside each point, write the nearest of the other five",
    reference=lambda: _leave_one_out_errors(),
    output=Output("numbers", "the list of errors"),
    public=((),),
    mistakes=(
        Mistake(
            lambda: _leave_one_out_errors(leave=False),
            "These counts let each point vote for itself. It is left out: only the other five are neighbours.",
        ),
        Mistake(
            lambda: [value / 6 for value in _leave_one_out_errors()],
            "These are rates, and the question asks how many of the six points come out wrong.",
        ),
        Mistake(
            lambda: [6 - value for value in _leave_one_out_errors()],
            "These are the numbers of right answers. Count the wrong ones.",
        ),
        Mistake(
            lambda: [2, 1, 3],
            "With k = 5 half of the points cannot be right: count the classes of the five voters, for a left-out A "
            "and for a left-out B.",
        ),
        Mistake(
            lambda: [2, 1, 1],
            "The last count is that of k = 3 again. With k = 5 all five others vote: of the point's own class, how "
            "many are left?",
        ),
    ),
    forbidden=("chainrule.nearest_neighbours", "chainrule.model_selection"),
)

# knn_classify: implement


def _knn_classify(train_x: Tensor, train_y: Tensor, queries: Tensor, k: int) -> Tensor:
    return knn_predict(train_x, train_y, queries, k, distance=l1_distance)


def _order(train_x: Tensor, queries: Tensor) -> Tensor:
    return l1_distance(queries, train_x).argsort(dim=1, stable=True)


def _mode(votes: Tensor) -> Tensor:
    return torch.mode(votes, dim=1).values


def _draw_points(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, int]:
    """Three classes around centres that overlap; every other k is even, so that ties occur."""
    m, d = _whole(6, 12, generator), _whole(2, 4, generator)
    y = torch.cat([torch.arange(3), torch.randint(3, (m - 3,), generator=generator)])
    x = torch.randn(m, d, generator=generator, dtype=torch.float64) + y.unsqueeze(1)
    queries = 1 + 1.5 * torch.randn(8, d, generator=generator, dtype=torch.float64)
    return x, y, queries, _whole(1, 5, generator)


_CROSS = torch.tensor([[3.0, 0.0], [2.0, 2.0], [-4.0, -4.0], [6.0, 6.0]], dtype=torch.float64)
_LINE = torch.tensor([[0.0], [1.0], [3.0], [7.0], [8.0]], dtype=torch.float64)
_LINE_CLASSES = torch.tensor([2, 0, 0, 1, 1])

knn_classify = Exercise(
    name="knn_classify",
    chapter=CHAPTER,
    title="A vote of the nearest",
    points=3,
    page="learning-from-data/nearest-neighbours",
    start="k = 1, for which train_y[distances.argmin(dim=1)] is the answer",
    reference=_knn_classify,
    output=Output("numbers", "the list of classes"),
    public=(
        (_CROSS, torch.tensor([1, 0, 2, 2]), torch.tensor([[0.0, 0.1], [5.0, 4.0]], dtype=torch.float64), 1),
        (_LINE, _LINE_CLASSES, torch.tensor([[0.2], [7.4]], dtype=torch.float64), 3),
        (_LINE, _LINE_CLASSES, torch.tensor([[0.2], [5.1]], dtype=torch.float64), 2),
        (_LINE, _LINE_CLASSES, torch.tensor([[4.9], [5.3]], dtype=torch.float64), 5),
    ),
    draw=_draw_points,
    mistakes=(
        Mistake(
            lambda train_x, train_y, queries, k: knn_predict(train_x, train_y, queries, k),
            "These neighbours are nearest in the L2 distance. L1 adds up absolute differences, without squares.",
        ),
        Mistake(
            lambda train_x, train_y, queries, k: _mode(train_y[_order(train_x, queries)[:, :k]]),
            "Ties were settled for the smallest class number. Of the classes with the most votes, the one whose "
            "neighbour is nearest wins.",
        ),
        Mistake(
            lambda train_x, train_y, queries, k: train_y[_order(train_x, queries)[:, 0]],
            "The nearest neighbour alone decided. All k of them vote.",
        ),
        Mistake(
            lambda train_x, train_y, queries, k: _mode(train_y[_order(train_x, queries).flip(1)[:, :k]]),
            "These are the farthest examples: argsort puts the smallest distance first, topk the largest.",
        ),
        Mistake(
            lambda train_x, train_y, queries, k: _mode(train_y[_order(train_x, queries)[:, 1 : k + 1]]),
            "The nearest example was left out. That is right only when the query itself is one of the examples.",
        ),
        Mistake(
            lambda train_x, train_y, queries, k: _order(train_x, queries)[:, 0],
            "These are the numbers of examples. Look their classes up in train_y.",
        ),
        Mistake(
            lambda train_x, train_y, queries, k: train_y[_order(train_x, queries)[:, :k]].double().mean(dim=1),
            "This is the mean of the neighbours' class numbers. Classes are names: between 0 and 2 there is no 1.",
        ),
    ),
    forbidden=("chainrule.nearest_neighbours", "sklearn.neighbors"),
)

# fool_neighbour: break it


def _walk(train_x: Tensor, train_y: Tensor, query: Tensor) -> tuple[Tensor, float]:
    """The nearest example of another class, and the share of the way to it that is needed."""
    old = knn_predict(train_x, train_y, query[None])[0]
    same, other = train_x[train_y == old], train_x[train_y != old]
    goal = other[l2_distance(query[None], other)[0].argmin()]
    way = goal - query
    begin = (query - same).square().sum(dim=1) - way.square().sum()
    return goal, float((-begin / (2 * (goal - same) @ way))[begin < 0].max())


def _fool_neighbour(train_x: Tensor, train_y: Tensor, query: Tensor) -> Tensor:
    goal, share = _walk(train_x, train_y, query)
    return query + 1.001 * share * (goal - query)


def _accept_fool(inputs: tuple[Tensor, Tensor, Tensor], moved: Tensor) -> str | None:
    train_x, train_y, query = inputs
    if not moved.isfinite().all():
        return "the moved query must be finite"
    goal, share = _walk(train_x, train_y, query)
    old, new = knn_predict(train_x, train_y, torch.stack([query, moved])).tolist()
    went, needed = float((moved - query).norm()), share * float((goal - query).norm())
    if new == old:
        return f"the nearest neighbour of the moved query is still of class {old}"
    if went > 1.01 * needed:
        return f"the query was moved by {went:.4g}, and a step of {needed:.4g} towards the other example is enough"
    return None


def _draw_query(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    x, y, queries, _ = _draw_points(generator)
    return x, y, queries[0]


def _step(share: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Go that share of the way to the nearest example of another class."""
    return lambda train_x, train_y, query: query + share * (_walk(train_x, train_y, query)[0] - query)


def _needed_exactly(train_x: Tensor, train_y: Tensor, query: Tensor) -> Tensor:
    goal, share = _walk(train_x, train_y, query)
    return query + 0.999 * share * (goal - query)


_PATH = torch.tensor([[0.0, 1.0], [4.0, 0.0], [2.0, 1.0], [9.0, 9.0]], dtype=torch.float64)

fool_neighbour = Exercise(
    name="fool_neighbour",
    chapter=CHAPTER,
    title="Fool the nearest neighbour",
    points=4,
    page="learning-from-data/nearest-neighbours",
    start="two examples only, of different classes: from where on is the second one nearer?",
    reference=_fool_neighbour,
    output=Output("tensor", "the moved query"),
    public=(
        (_PATH[:2], torch.tensor([0, 1]), torch.zeros(2, dtype=torch.float64)),
        (_PATH, torch.tensor([0, 1, 0, 1]), torch.zeros(2, dtype=torch.float64)),
        (_PATH, torch.tensor([2, 5, 2, 7]), torch.tensor([0.5, 0.0], dtype=torch.float64)),
    ),
    draw=_draw_query,
    accept=_accept_fool,
    mistakes=(
        Mistake(
            lambda train_x, train_y, query: query,
            "The query was not moved, so the answer is the old one.",
        ),
        Mistake(_step(1.0), "This is the other example itself. The answer changes before we reach it."),
        Mistake(
            _step(0.5),
            "This is the middle of the way. What counts is not the distance to the query but to the examples of its "
            "class, and one of them may be nearer to the middle, or all of them farther.",
        ),
        Mistake(
            _needed_exactly,
            "The step ends just before the place where the answer changes. Go a little beyond it.",
        ),
    ),
    forbidden=("chainrule.nearest_neighbours", "sklearn.neighbors"),
)

# score_of_the_best: derive


def _score(num_guessers: int, num_examples: int, shift: int = 1) -> float:
    """The mean accuracy of the best guesser; with ``shift=0``, off by one."""
    counts = [math.comb(num_examples, i) for i in range(num_examples + 1)]
    at_most = [sum(counts[: j + 1]) / 2**num_examples for j in range(num_examples + 1)]
    return sum(1 - at_most[j - shift] ** num_guessers for j in range(1, num_examples + 1)) / num_examples


def _score_of_the_best(num_guessers: int, num_examples: int) -> float:
    return _score(num_guessers, num_examples)


score_of_the_best = Exercise(
    name="score_of_the_best",
    chapter=CHAPTER,
    title="The best of many guessers",
    points=4,
    page="learning-from-data/validation",
    start="one example and n guessers: with which probability is at least one of them right?",
    reference=_score_of_the_best,
    output=Output("number"),
    public=((1, 10), (2, 1), (3, 2), (1000, 100), (5, 300)),
    draw=lambda generator: (_whole(2, 500, generator), _whole(2, 200, generator)),
    num_random=5,
    mistakes=(
        Mistake(
            lambda num_guessers, num_examples: 0.5,
            "This is what each guesser expects. The best of several is chosen because it was lucky.",
        ),
        Mistake(
            lambda num_guessers, num_examples: _score(num_guessers, num_examples, shift=0),
            "At least j is the complement of at most j - 1. A single guesser must come out at exactly 1/2.",
        ),
        Mistake(
            lambda num_guessers, num_examples: num_examples * _score(num_guessers, num_examples),
            "This is the number of right answers. An accuracy is their share: divide by the number of examples.",
        ),
        Mistake(
            lambda num_guessers, num_examples: 1 - _score(num_guessers, num_examples),
            "This is the expected accuracy of the worst guesser, below 1/2. All n are below j with probability F^n.",
        ),
        Mistake(
            lambda num_guessers, num_examples: 0.5 + math.sqrt(math.log(num_guessers) / (2 * num_examples)),
            "This is an upper bound on the answer, not its value: it exceeds 1 when the examples are few.",
        ),
    ),
    forbidden=("scipy.stats", "torch.distributions"),
)

# ridge_with_bias: implement


def _ridge_with_bias(x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, float]:
    weights = ridge_regression(x - x.mean(dim=0), y - y.mean(), penalty)
    return weights, float(y.mean() - x.mean(dim=0) @ weights)


def _penalized_bias(x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, float]:
    weights = ridge_regression(append_ones(x), y, penalty)
    return weights[:-1], float(weights[-1])


def _ridge_by(gram: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor, Tensor, float], tuple[Tensor, float]]:
    """Ridge regression with a free bias, where the matrix that is inverted is made in another way."""

    def answer(x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, float]:
        centered = x - x.mean(dim=0)
        weights = torch.linalg.pinv(gram(centered, penalty)) @ (centered.T @ (y - y.mean()))
        return weights, float(y.mean() - x.mean(dim=0) @ weights)

    return answer


def _draw_regression(generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    m, d = _whole(3, 12, generator), _whole(1, 5, generator)
    x = torch.randn(m, d, generator=generator, dtype=torch.float64) + 1
    y = 3 * torch.randn(m, generator=generator, dtype=torch.float64) + 5
    return x, y, 0.5 + 5 * float(torch.rand((), generator=generator, dtype=torch.float64))


ridge_with_bias = Exercise(
    name="ridge_with_bias",
    chapter=CHAPTER,
    title="Ridge regression with a free bias",
    points=3,
    page="learning-from-data/capacity",
    start="the bias: set the derivative with respect to b to zero. What does it say about the mean miss?",
    reference=_ridge_with_bias,
    output=(Output("tensor", "the weights"), Output("number", "the bias")),
    public=(
        (torch.tensor([[0.0], [2.0]], dtype=torch.float64), torch.tensor([5.0, 9.0], dtype=torch.float64), 2.0),
        (torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64), 100 + torch.arange(4.0).double(), 1.0),
        (torch.eye(3, dtype=torch.float64), torch.tensor([3.0, 6.0, 9.0], dtype=torch.float64), 0.5),
        (torch.eye(2, 4, dtype=torch.float64), torch.tensor([1.0, -2.0], dtype=torch.float64), 1.5),
    ),
    draw=_draw_regression,
    mistakes=(
        Mistake(
            _penalized_bias,
            "The bias is penalized too. Labels that are all raised by 100 should raise the bias by 100 and leave the "
            "weights alone; a penalty on b pulls the whole fit towards 0.",
        ),
        Mistake(
            lambda x, y, penalty: (ridge_regression(x, y, penalty), 0.0),
            "This fit has no bias, so it is forced through the origin.",
        ),
        Mistake(
            lambda x, y, penalty: (_ridge_with_bias(x, y, penalty)[0], float(y.mean())),
            "The weights are right. The bias belongs to the features as they are: b = mean(y) - <w, mean(x)>.",
        ),
        Mistake(
            lambda x, y, penalty: _ridge_with_bias(x, y, penalty * len(x)),
            "The penalty was multiplied by m. The cost is the sum of the squared misses, not their mean.",
        ),
        Mistake(lambda x, y, penalty: _ridge_with_bias(x, y, 0.0), "This is least squares: the penalty has no effect."),
        Mistake(
            lambda x, y, penalty: _ridge_with_bias(x, y, penalty**2),
            "The penalty entered as its square. Penalty rows in an augmented system need sqrt(penalty).",
        ),
        Mistake(
            _ridge_by(lambda x, penalty: x.T @ x - penalty * torch.eye(x.shape[1], dtype=torch.float64)),
            "The sign of the penalty: it makes the matrix larger, X^T X + penalty * I.",
        ),
        Mistake(
            _ridge_by(lambda x, penalty: x.T @ x + penalty),
            "Adding a number to a matrix adds it to every entry. The penalty belongs on the diagonal only.",
        ),
        Mistake(
            lambda x, y, penalty: (lambda w: (w, float(y.mean() - x.mean(dim=0) @ w)))(
                ridge_regression(x, y - y.mean(), penalty)
            ),
            "Only the labels were centered. The bias is free of the weights if the features are centered as well.",
        ),
    ),
    forbidden=("chainrule.linear_regression", "sklearn"),
)

# samples_to_choose: derive


def _samples(num_choices: int, excess: float, delta: float, factor: float = 2.0, inside: float = 2.0) -> float:
    return factor * math.log(inside * num_choices / delta) / excess**2


def _samples_to_choose(num_choices: int, excess: float, delta: float) -> int:
    return math.ceil(_samples(num_choices, excess, delta))


samples_to_choose = Exercise(
    name="samples_to_choose",
    chapter=CHAPTER,
    title="How many examples to choose by?",
    points=3,
    page="learning-from-data/generalization",
    start="two classifiers: how wrong may each validation error be, so that the choice costs at most the excess?",
    reference=_samples_to_choose,
    output=Output("number", "the number of examples"),
    public=((1, 0.1, 0.05), (20, 0.1, 0.05), (1000, 0.02, 0.01)),
    draw=lambda generator: (
        _whole(2, 5000, generator),
        0.01 + 0.2 * float(torch.rand((), generator=generator, dtype=torch.float64)),
        0.01 + 0.2 * float(torch.rand((), generator=generator, dtype=torch.float64)),
    ),
    mistakes=(
        Mistake(
            lambda num_choices, excess, delta: math.ceil(_samples(num_choices, excess, delta, factor=0.5)),
            "The radius of each error was taken to be the excess. The chosen one may look too good by the radius and "
            "the best one too bad by the radius: two radii must fit into the excess.",
        ),
        Mistake(
            lambda num_choices, excess, delta: math.ceil(_samples(1, excess, delta)),
            "This is the number for a single fixed classifier. The bound must hold for all of them at once.",
        ),
        Mistake(
            lambda num_choices, excess, delta: math.ceil(_samples(num_choices, excess, delta, inside=1.0)),
            "The errors may be wrong in both directions, and both matter here. A factor 2 is missing in the logarithm.",
        ),
        Mistake(
            _samples,
            "Examples come in whole numbers: round up.",
        ),
        Mistake(
            lambda num_choices, excess, delta: math.floor(_samples(num_choices, excess, delta)),
            "Rounded down, the number just fails to keep the promise. Round up.",
        ),
        Mistake(
            lambda num_choices, excess, delta: math.ceil(num_choices * _samples(1, excess, delta)),
            "The union bound costs a logarithm: N stands inside it, not in front of it.",
        ),
        Mistake(
            lambda num_choices, excess, delta: math.ceil(_samples(num_choices, excess, delta, factor=8.0)),
            "The 0-1 loss lies in [0, 1], an interval of length 1. This number is for losses in [-1, 1].",
        ),
        Mistake(
            lambda num_choices, excess, delta: math.ceil(_samples(num_choices, excess, delta) / math.log(10)),
            "The logarithm is the natural one, math.log.",
        ),
        Mistake(
            lambda num_choices, excess, delta: math.ceil(excess * _samples(num_choices, excess, delta)),
            "The radius enters as its square.",
        ),
    ),
    forbidden=("chainrule.generalization",),
)

# errors_along_the_width: measure


def _errors_along_the_width(features: Tensor, y: Tensor, test_features: Tensor, test_y: Tensor) -> list[float]:
    widths = range(1, features.shape[1] + 1)
    return width_curve(features, y, test_features, test_y, widths)[:, 1].tolist()


def _each_width(fit: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor, Tensor], list[float]]:
    """The test errors along the width, where the weights are fitted in another way."""

    def answer(features: Tensor, y: Tensor, test_features: Tensor, test_y: Tensor) -> list[float]:
        return [
            float((test_features[:, :p] @ fit(features[:, :p], y) - test_y).square().mean())
            for p in range(1, features.shape[1] + 1)
        ]

    return answer


def _basic(features: Tensor, y: Tensor) -> Tensor:
    """A solution that leaves the weights of all features beyond the number of samples at zero."""
    used = least_squares(features[:, : len(y)], y)
    return torch.cat([used, used.new_zeros(features.shape[1] - len(used))])


def _draw_widths(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    m, p, n = _whole(3, 5, generator), _whole(7, 12, generator), _whole(2, 6, generator)
    shapes = ((m, p), (m,), (n, p), (n,))
    features, y, test_features, test_y = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes
    )
    return features, y, test_features, test_y


errors_along_the_width = Exercise(
    name="errors_along_the_width",
    chapter=CHAPTER,
    title="Draw a double descent",
    points=4,
    page="learning-from-data/double-descent",
    start="a single width p: the weights are torch.linalg.pinv(features[:, :p]) @ y",
    reference=_errors_along_the_width,
    output=Output("numbers", "the list of errors"),
    public=(
        (
            torch.tensor([[1.0, 1.0]], dtype=torch.float64),
            torch.tensor([2.0], dtype=torch.float64),
            torch.tensor([[1.0, 0.0]], dtype=torch.float64),
            torch.tensor([1.0], dtype=torch.float64),
        ),
        (
            torch.tensor([[1.0, 0.0, 1.0], [1.0, 2.0, 0.0]], dtype=torch.float64),
            torch.tensor([1.0, 3.0], dtype=torch.float64),
            torch.tensor([[1.0, 1.0, 0.0], [1.0, 3.0, 2.0]], dtype=torch.float64),
            torch.tensor([2.0, 4.0], dtype=torch.float64),
        ),
    ),
    draw=_draw_widths,
    tolerance=1e-5,
    mistakes=(
        Mistake(
            lambda features, y, test_features, test_y: _errors_along_the_width(features, y, features, y),
            "These are the errors on the training data. Measure the fit on the test features and labels.",
        ),
        Mistake(
            _each_width(_basic),
            "Beyond m features the further weights stay at zero here. Many fits are perfect; the shortest one uses all "
            "features, and torch.linalg.pinv finds it.",
        ),
        Mistake(
            lambda *data: [len(data[3]) * error for error in _errors_along_the_width(*data)],
            "This is the sum of the squared errors over the test data. Their mean was asked for.",
        ),
        Mistake(
            lambda *data: [math.sqrt(error) for error in _errors_along_the_width(*data)],
            "This is the root of the mean squared error.",
        ),
        Mistake(
            _each_width(lambda features, y: ridge_regression(features, y, 1e-3)),
            "A small penalty takes the peak away, and with it what we want to see. Fit without any.",
        ),
        Mistake(
            lambda *data: _errors_along_the_width(*data)[: len(data[1])],
            "The list ends at m features, just before it gets interesting: widths run to the number of columns.",
        ),
    ),
    forbidden=("chainrule.random_features", "chainrule.linear_regression"),
)

# lloyd_step: implement


def _lloyd_step(x: Tensor, centers: Tensor) -> Tensor:
    return cluster_means(x, nearest_center(x, centers), centers)


def _means_of(x: Tensor, assignments: Tensor, centers: Tensor, empty: Tensor) -> Tensor:
    """Means of the clusters; a cluster without points becomes ``empty``."""
    used = torch.bincount(assignments, minlength=len(centers)).unsqueeze(1) > 0
    return torch.where(used, cluster_means(x, assignments, centers), empty)


def _draw_clusters(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points in groups, and centres of which one is too far away to get any."""
    m, d, k = _whole(8, 14, generator), _whole(2, 3, generator), _whole(2, 4, generator)
    x = torch.randn(m, d, generator=generator, dtype=torch.float64) + 3 * torch.randint(3, (m, 1), generator=generator)
    centers = torch.cat([x[:k] + 0.1, torch.full((1, d), 50.0, dtype=torch.float64)])
    return x, centers


_RECTANGLE = torch.tensor([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0], [4.0, 1.0]], dtype=torch.float64)
_CUBES = torch.tensor([[1.0], [8.0], [27.0], [64.0], [125.0]], dtype=torch.float64)

lloyd_step = Exercise(
    name="lloyd_step",
    chapter=CHAPTER,
    title="One step of Lloyd's algorithm",
    points=3,
    page="learning-from-data/clustering",
    start="the table of squared distances, and its argmin over the centres",
    reference=_lloyd_step,
    output=Output("tensor", "the tensor of new centres"),
    public=(
        (_RECTANGLE, torch.tensor([[1.0, 0.0], [3.0, 0.0]], dtype=torch.float64)),
        (_CUBES, torch.tensor([[0.0], [30.0]], dtype=torch.float64)),
        (_CUBES, torch.tensor([[0.0], [30.0], [900.0]], dtype=torch.float64)),
    ),
    draw=_draw_clusters,
    mistakes=(
        Mistake(
            lambda x, centers: _means_of(x, nearest_center(x, centers), centers, torch.zeros_like(centers)),
            "A centre without points was put at the origin. It stays where it was.",
        ),
        Mistake(
            lambda x, centers: _means_of(x, nearest_center(x, centers), centers, x.mean(dim=0)),
            "A centre without points was put at the mean of all points. It stays where it was.",
        ),
        Mistake(
            lambda x, centers: cluster_means(x, squared_distances(x, centers).argmax(dim=1), centers),
            "Each point went to the farthest centre: argmin is wanted, not argmax.",
        ),
        Mistake(
            lambda x, centers: lloyd(x, centers).centers,
            "These are the centres at the end of the algorithm. Only one step is asked for.",
        ),
        Mistake(
            lambda x, centers: centers[nearest_center(x, centers)],
            "This is the old centre of each point. The second half of the step is missing: take the mean of each "
            "cluster's points.",
        ),
        Mistake(
            lambda x, centers: _medians(x, centers),
            "These are medians. For squared distances the best centre is the mean.",
        ),
    ),
    forbidden=("chainrule.clustering", "sklearn.cluster", "scipy.cluster"),
)


def _medians(x: Tensor, centers: Tensor) -> Tensor:
    c = nearest_center(x, centers)
    rows = [x[c == j].median(dim=0).values if (c == j).any() else centers[j] for j in range(len(centers))]
    return torch.stack(rows)


# widest_gap: derive


def _ends(x: Tensor, y: Tensor) -> tuple[float, float]:
    """The largest point of class -1 and the smallest of class +1."""
    return float(x[y < 0].max()), float(x[y > 0].min())


def _widest_gap(x: Tensor, y: Tensor) -> tuple[float, float]:
    low, high = _ends(x, y)
    return 2 / (high - low), -(high + low) / (high - low)


def _draw_line(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    m = _whole(4, 8, generator)
    values = torch.rand(m, generator=generator, dtype=torch.float64).cumsum(0) * 3 - 4
    y = torch.where(torch.arange(m) < _whole(1, m - 1, generator), -1, 1)
    order = torch.randperm(m, generator=generator)
    return values[order], y[order]


widest_gap = Exercise(
    name="widest_gap",
    chapter=CHAPTER,
    title="The widest street on a line",
    points=3,
    page="learning-from-data/support-vector-machines",
    start="two points, -1 at 0 and +1 at 2: which w and b give them the scores -1 and +1?",
    reference=_widest_gap,
    output=(Output("number", "w"), Output("number", "b")),
    public=(
        (torch.tensor([0.0, 2.0], dtype=torch.float64), torch.tensor([-1, 1])),
        (torch.tensor([3.0, -1.0, 0.0, 5.0], dtype=torch.float64), torch.tensor([1, -1, -1, 1])),
        (torch.tensor([-7.0, -6.5, -2.0], dtype=torch.float64), torch.tensor([-1, -1, 1])),
    ),
    draw=_draw_line,
    mistakes=(
        Mistake(
            lambda x, y: (1.0, -sum(_ends(x, y)) / 2),
            "The boundary is right, the scale is not: the nearest points must get the scores -1 and +1.",
        ),
        Mistake(
            lambda x, y: (lambda low, high: (1 / (high - low), -(high + low) / 2 / (high - low)))(*_ends(x, y)),
            "The nearest points get the scores -1/2 and +1/2. From one to the other the score rises by 2.",
        ),
        Mistake(
            lambda x, y: (lambda w, b: (w, -b))(*_widest_gap(x, y)),
            "The sign of b: at the middle of the gap w x + b must be 0.",
        ),
        Mistake(
            lambda x, y: _middle_of_means(x, y),
            "The middle between the class means was taken. Only the nearest points of the two classes count.",
        ),
        Mistake(
            lambda x, y: (lambda w, b: (-w, -b))(*_widest_gap(x, y)),
            "The labels are the wrong way round: the class +1 lies to the right and needs positive scores.",
        ),
    ),
    forbidden=("chainrule.support_vector_machine", "chainrule.kernels", "sklearn.svm"),
)


def _middle_of_means(x: Tensor, y: Tensor) -> tuple[float, float]:
    low, high = float(x[y < 0].mean()), float(x[y > 0].mean())
    return 2 / (high - low), -(high + low) / (high - low)


# distances_in_feature_space: derive


def _distances_in_feature_space(gram: Tensor, clusters: Tensor, k: int) -> Tensor:
    share = torch.nn.functional.one_hot(clusters, k).to(gram)
    share = share / share.sum(dim=0)  # (m, k), column j averages over cluster j
    means = gram @ share  # (m, k), inner products of points and centres
    return gram.diagonal().unsqueeze(1) - 2 * means + (share * means).sum(dim=0)


def _cross(gram: Tensor, clusters: Tensor, k: int) -> tuple[Tensor, Tensor]:
    share = torch.nn.functional.one_hot(clusters, k).to(gram)
    share = share / share.sum(dim=0)
    return gram @ share, (share * (gram @ share)).sum(dim=0)


def _with_sums(gram: Tensor, members: Tensor) -> Tensor:
    totals = gram @ members
    return gram.diagonal().unsqueeze(1) - 2 * totals + (members * totals).sum(dim=0)


def _draw_gram(generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
    """A polynomial kernel's matrix, whose diagonal differs from point to point."""
    m, k = _whole(5, 9, generator), _whole(2, 3, generator)
    x = torch.randn(m, 2, generator=generator, dtype=torch.float64)
    clusters = torch.cat([torch.arange(k), torch.randint(k, (m - k,), generator=generator)])
    return (1 + x @ x.T) ** 2, clusters, k


_STEPS = torch.tensor([[0.0], [1.0], [4.0]], dtype=torch.float64)

distances_in_feature_space = Exercise(
    name="distances_in_feature_space",
    chapter=CHAPTER,
    title="Distances in a space that nobody enters",
    points=4,
    page="learning-from-data/kernels",
    start="the kernel <x, x'>, where the answer can be computed from the points themselves",
    reference=_distances_in_feature_space,
    output=Output("tensor", "the table of squared distances"),
    public=(
        (_STEPS @ _STEPS.T, torch.tensor([0, 0, 1]), 2),
        ((1 + _STEPS @ _STEPS.T) ** 2, torch.tensor([0, 0, 1]), 2),
        (torch.eye(3, dtype=torch.float64), torch.tensor([0, 0, 0]), 1),
    ),
    draw=_draw_gram,
    mistakes=(
        Mistake(
            lambda gram, clusters, k: gram.diagonal().unsqueeze(1) - 2 * _cross(gram, clusters, k)[0],
            "The squared length of the centre is missing: the mean of all kernels within its cluster.",
        ),
        Mistake(
            lambda gram, clusters, k: _cross(gram, clusters, k)[1] - 2 * _cross(gram, clusters, k)[0],
            "The squared length of the point itself is missing. It is the kernel of the point with itself.",
        ),
        Mistake(
            lambda gram, clusters, k: 1 - 2 * _cross(gram, clusters, k)[0] + _cross(gram, clusters, k)[1],
            "A point's kernel with itself is 1 for the Gaussian kernel only. In general it is on the diagonal.",
        ),
        Mistake(
            lambda gram, clusters, k: _cross(gram, clusters, k)[0],
            "These are the inner products of points and centres, not yet squared distances.",
        ),
        Mistake(
            lambda gram, clusters, k: _distances_in_feature_space(gram, clusters, k).clamp(min=0).sqrt(),
            "These are the distances. Their squares are asked for.",
        ),
        Mistake(
            lambda gram, clusters, k: _distances_in_feature_space(gram, clusters, k).T,
            "The table lies on its side: a row for each point, a column for each cluster.",
        ),
        Mistake(
            lambda gram, clusters, k: _with_sums(gram, torch.nn.functional.one_hot(clusters, k).to(gram)),
            "Sums were taken where means belong: the centre is the mean of its cluster.",
        ),
    ),
    forbidden=("sklearn.metrics", "sklearn.cluster"),
)

EXERCISES = (
    leave_one_out_errors,
    knn_classify,
    fool_neighbour,
    score_of_the_best,
    ridge_with_bias,
    samples_to_choose,
    errors_along_the_width,
    lloyd_step,
    widest_gap,
    distances_in_feature_space,
)
