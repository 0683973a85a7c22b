"""The exercises on learning from data, in the order of its exercise page."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from chainrule.checks._record import Exercise, Mistake, Output
from chainrule.nearest_neighbours import knn_predict, l1_distance, l2_distance

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

EXERCISES = (
    leave_one_out_errors,
    knn_classify,
    fool_neighbour,
    score_of_the_best,
)
