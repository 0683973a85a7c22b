"""The exercises on learning from data: wrong answers get the sentence that teaches, right ones pass in any form."""

import math
from collections import Counter

import pytest
import torch

from chainrule.checks import check, exercises, find_exercise

F64 = torch.float64

# knn_classify


def classify(distance, k_of=lambda k: k, pick=None):
    """k nearest neighbours in plain Python, with what the wrong answers change."""

    def answer(train_x, train_y, queries, k):
        result = []
        for query in queries.tolist():
            rows = sorted((distance(query, row), y) for row, y in zip(train_x.tolist(), train_y.tolist(), strict=True))
            voters = [y for _, y in rows][: k_of(k)]
            counts = Counter(voters)
            first = next(y for y in voters if counts[y] == max(counts.values()))
            result.append(pick(voters) if pick else first)
        return result

    return answer


def manhattan(a, b):
    return sum(abs(p - q) for p, q in zip(a, b, strict=True))


knn = classify(manhattan)

# fool_neighbour


def fool_by_trying(train_x, train_y, query, share=1.0, steps=20_000):
    """Walk in small steps until the answer has changed; a share above 1 walks on."""
    distances = torch.cdist(query[None], train_x)[0]
    old = train_y[distances.argmin()]
    goal = train_x[torch.where(train_y == old, math.inf, distances).argmin()]
    points = query + torch.linspace(0, 1, steps, dtype=F64)[:, None] * (goal - query)
    answers = train_y[torch.cdist(points, train_x, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)]
    first = int((answers != old).int().argmax())
    return query + share * (points[first] - query)


def fool_with_a_share(share):
    def answer(train_x, train_y, query):
        distances = torch.cdist(query[None], train_x)[0]
        old = train_y[distances.argmin()]
        goal = train_x[torch.where(train_y == old, math.inf, distances).argmin()]
        return query + share * (goal - query)

    return answer


# score_of_the_best


def score_by_powers(num_guessers, num_examples):
    """The mean from the probabilities of the values themselves, P(max = j) = F(j)^n - F(j - 1)^n."""
    below = mean = 0.0
    count = 0
    for j in range(num_examples + 1):
        count += math.comb(num_examples, j)
        at_most = (count / 2**num_examples) ** num_guessers
        mean, below = mean + j * (at_most - below), at_most
    return mean / num_examples


def score_by_tensors(num_guessers, num_examples):
    counts = [float(math.comb(num_examples, i) / 2**num_examples) for i in range(num_examples)]
    return (1 - torch.tensor(counts, dtype=F64).cumsum(0) ** num_guessers).mean()


# ridge_with_bias


def ridge_with_bias(x, y, penalty, bias_penalty=0.0):
    """By one linear system in the weights and the bias."""
    m, d = x.shape
    ones = torch.cat([x, torch.ones(m, 1, dtype=F64)], dim=1)
    gram = ones.T @ ones + torch.diag(torch.tensor([penalty] * d + [bias_penalty], dtype=F64))
    solution = torch.linalg.solve(gram, ones.T @ y)
    return solution[:-1], solution[-1]


def augmented(x, y, penalty, root=math.sqrt):
    """By least squares with a further row for each weight."""
    m, d = x.shape
    top = torch.cat([x, torch.ones(m, 1, dtype=F64)], dim=1)
    bottom = torch.cat([root(penalty) * torch.eye(d, dtype=F64), torch.zeros(d, 1, dtype=F64)], dim=1)
    labels = torch.cat([y, torch.zeros(d, dtype=F64)])
    solution = torch.linalg.lstsq(torch.cat([top, bottom]), labels, driver="gelsd").solution
    return solution[:-1], float(solution[-1])


# errors_along_the_width


def by_pinv(features, y, test_features, test_y, fit=lambda a, b: torch.linalg.pinv(a) @ b):
    widths = range(1, features.shape[1] + 1)
    return [float((test_features[:, :p] @ fit(features[:, :p], y) - test_y).square().mean()) for p in widths]


def shortest_by_gram(a, b):
    return a.T @ torch.linalg.solve(a @ a.T, b) if len(a) < a.shape[1] else torch.linalg.lstsq(a, b).solution


# lloyd_step


def lloyd_in_python(x, centers, pick=min, middle=lambda column: sum(column) / len(column), empty=None):
    """One step with lists, with what the wrong answers change."""
    points, old = x.tolist(), centers.tolist()
    groups = [[] for _ in old]
    for point in points:
        groups[pick(range(len(old)), key=lambda j: math.dist(point, old[j]))].append(point)
    rows = [
        [middle(column) for column in zip(*group, strict=True)] if group else (old[j] if empty is None else empty)
        for j, group in enumerate(groups)
    ]
    return torch.tensor(rows, dtype=F64)


def last_of_lloyd(x, centers):
    for _ in range(100):
        centers = lloyd_in_python(x, centers)
    return centers


# widest_gap


def widest_by_pairs(x, y):
    pairs = [
        (q - p, p, q)
        for p, a in zip(x.tolist(), y.tolist(), strict=True)
        if a < 0
        for q, b in zip(x.tolist(), y.tolist(), strict=True)
        if b > 0
    ]
    gap, _, q = min(pairs)
    return 2 / gap, 1 - 2 * q / gap


# distances_in_feature_space


def distances_by_entries(gram, clusters, k, own=1, center=1, mean=True):
    """Entry by entry, with what the wrong answers change."""
    K, groups = gram.tolist(), [[i for i, c in enumerate(clusters.tolist()) if c == j] for j in range(k)]
    rows = []
    for i in range(len(K)):
        row = []
        for group in groups:
            n = len(group) if mean else 1
            to_center = sum(K[i][a] for a in group) / n
            length = sum(K[a][b] for a in group for b in group) / n**2
            row.append(own * K[i][i] - 2 * to_center + center * length)
        rows.append(row)
    return torch.tensor(rows, dtype=F64)


RIGHT = {
    "leave_one_out_errors": [lambda: [2, 1, 6], lambda: torch.tensor([2, 1, 6])],
    "knn_classify": [knn, lambda *inputs: torch.tensor(knn(*inputs))],
    "fool_neighbour": [fool_by_trying, lambda *inputs: fool_by_trying(*inputs, share=1.004)],
    "score_of_the_best": [score_by_powers, score_by_tensors],
    "ridge_with_bias": [ridge_with_bias, augmented],
    "samples_to_choose": [
        lambda n, tau, delta: math.ceil(math.log(2 * n / delta) / (2 * (tau / 2) ** 2)),
        lambda n, tau, delta: next(m for m in range(1, 10**9) if 2 * n * math.exp(-m * tau**2 / 2) <= delta),
    ],
    "errors_along_the_width": [by_pinv, lambda *data: torch.tensor(by_pinv(*data, fit=shortest_by_gram))],
    "lloyd_step": [lloyd_in_python],
    "widest_gap": [widest_by_pairs, lambda x, y: [torch.tensor(v) for v in widest_by_pairs(x, y)]],
    "distances_in_feature_space": [distances_by_entries],
}

# Of each wrong answer: the function, and words that the message must hold.
WRONG = {
    "leave_one_out_errors": [
        (lambda: [0, 1, 1], "vote for itself"),
        (lambda: [2 / 6, 1 / 6, 1], "These are rates"),
        (lambda: [4, 5, 0], "Count the wrong ones"),
        (lambda: [2, 1, 3], "count the classes of the five voters"),
        (lambda: [2, 1, 1], "how many are left"),
        (lambda: [2, 1], "has 2 entries"),
    ],
    "knn_classify": [
        (classify(lambda a, b: sum((p - q) ** 2 for p, q in zip(a, b, strict=True))), "without squares"),
        (classify(math.dist), "without squares"),
        (classify(manhattan, pick=lambda votes: min(votes, key=lambda y: (-votes.count(y), y))), "smallest class"),
        (classify(manhattan, k_of=lambda k: 1), "All k of them vote"),
        (
            lambda train_x, train_y, queries, k: (
                torch.mode(train_y[torch.cdist(queries, train_x, p=1).topk(k).indices]).values
            ),
            "the farthest examples",
        ),
        (
            lambda train_x, train_y, queries, k: (
                torch.mode(train_y[torch.cdist(queries, train_x, p=1).argsort(dim=1)[:, 1 : k + 1]]).values
            ),
            "was left out",
        ),
        (lambda train_x, train_y, queries, k: torch.cdist(queries, train_x, p=1).argmin(1), "numbers of examples"),
        (classify(manhattan, pick=lambda votes: sum(votes) / len(votes)), "Classes are names"),
    ],
    "fool_neighbour": [
        (lambda train_x, train_y, query: query, "was not moved"),
        (fool_with_a_share(1.0), "before we reach it"),
        (fool_with_a_share(0.5), "the middle of the way"),
        (lambda *inputs: fool_by_trying(*inputs, share=0.95), "is still of class"),
        (lambda *inputs: fool_by_trying(*inputs, share=1.05), "towards the other example is enough"),
        (lambda *inputs: fool_by_trying(*inputs) * math.nan, "nan"),
        (lambda *inputs: fool_by_trying(*inputs).tolist(), "torch.tensor(...) makes one"),
    ],
    "score_of_the_best": [
        (lambda n, m: 0.5, "because it was lucky"),
        (
            lambda n, m: sum(1 - (sum(math.comb(m, i) for i in range(j + 1)) / 2**m) ** n for j in range(1, m + 1)) / m,
            "the complement of at most j - 1",
        ),
        (lambda n, m: m * score_by_powers(n, m), "divide by the number of examples"),
        (lambda n, m: 1 - score_by_powers(n, m), "the worst guesser"),
        (lambda n, m: 0.5 + math.sqrt(math.log(n) / (2 * m)) if n > 1 else 0.5, "an upper bound"),
        (lambda n, m: print(score_by_powers(n, m)), "a `return`"),
    ],
    "ridge_with_bias": [
        (lambda x, y, penalty: ridge_with_bias(x, y, penalty, bias_penalty=penalty), "The bias is penalized too"),
        (lambda x, y, penalty: (ridge_with_bias(x, y, penalty)[0], y.mean()), "The weights are right"),
        (lambda x, y, penalty: ridge_with_bias(x, y, penalty * len(x)), "not their mean"),
        (lambda x, y, penalty: augmented(x, y, penalty, root=lambda value: value), "sqrt(penalty)"),
        (lambda x, y, penalty: augmented(x, y, penalty, root=lambda value: 0.0), "the penalty has no effect"),
        (
            lambda x, y, penalty: (
                torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1], dtype=F64), x.T @ y),
                0.0,
            ),
            "through the origin",
        ),
        (lambda x, y, penalty: ridge_with_bias(x, y, penalty)[0], "come back as a tuple"),
    ],
    "samples_to_choose": [
        (lambda n, tau, delta: math.ceil(math.log(2 * n / delta) / (2 * tau**2)), "two radii"),
        (lambda n, tau, delta: math.ceil(2 * math.log(2 / delta) / tau**2), "all of them at once"),
        (lambda n, tau, delta: math.ceil(2 * math.log(n / delta) / tau**2), "A factor 2 is missing"),
        (lambda n, tau, delta: 2 * math.log(2 * n / delta) / tau**2, "round up"),
        (lambda n, tau, delta: int(2 * math.log(2 * n / delta) / tau**2), "Rounded down"),
        (lambda n, tau, delta: math.ceil(2 * math.log10(2 * n / delta) / tau**2), "math.log"),
        (lambda n, tau, delta: math.ceil(2 * math.log(2 * n / delta) / tau), "as its square"),
    ],
    "errors_along_the_width": [
        (lambda a, y, b, z: by_pinv(a, y, a, y), "on the training data"),
        (
            lambda *data: by_pinv(
                *data,
                fit=lambda a, b: torch.cat(
                    [torch.linalg.pinv(a[:, : len(a)]) @ b, torch.zeros(max(0, a.shape[1] - len(a)), dtype=F64)]
                ),
            ),
            "stay at zero",
        ),
        (lambda *data: [len(data[3]) * e for e in by_pinv(*data)], "sum of the squared errors"),
        (lambda *data: [math.sqrt(e) for e in by_pinv(*data)], "the root"),
        (lambda *data: by_pinv(*data)[: len(data[1])], "gets interesting"),
        (lambda *data: by_pinv(*data, fit=lambda a, b: torch.linalg.inv(a.T @ a) @ (a.T @ b)), "raised"),
    ],
    "lloyd_step": [
        (lambda x, centers: lloyd_in_python(x, centers, empty=[0.0] * x.shape[1]), "at the origin"),
        (lambda x, centers: lloyd_in_python(x, centers, empty=x.mean(dim=0).tolist()), "the mean of all points"),
        (lambda x, centers: lloyd_in_python(x, centers, empty=[math.nan] * x.shape[1]), "nan"),
        (lambda x, centers: lloyd_in_python(x, centers, pick=max), "argmin is wanted"),
        (last_of_lloyd, "Only one step"),
        (lambda x, centers: centers[torch.cdist(x, centers).argmin(dim=1)], "second half of the step"),
        (
            lambda x, centers: lloyd_in_python(x, centers, middle=lambda v: sorted(v)[(len(v) - 1) // 2]),
            "These are medians",
        ),
    ],
    "widest_gap": [
        (lambda x, y: (1.0, -(x[y < 0].max() + x[y > 0].min()) / 2), "the scale is not"),
        (lambda x, y: tuple(v / 2 for v in widest_by_pairs(x, y)), "rises by 2"),
        (lambda x, y: (widest_by_pairs(x, y)[0], -widest_by_pairs(x, y)[1]), "The sign of b"),
        (lambda x, y: tuple(-v for v in widest_by_pairs(x, y)), "wrong way round"),
        (
            lambda x, y: (lambda a, b: (2 / (b - a), (a + b) / (a - b)))(
                x[y < 0].mean().item(), x[y > 0].mean().item()
            ),
            "the class means",
        ),
        (lambda x, y: widest_by_pairs(x, y)[0], "come back as a tuple"),
    ],
    "distances_in_feature_space": [
        (lambda *data: distances_by_entries(*data, center=0), "length of the centre is missing"),
        (lambda *data: distances_by_entries(*data, own=0), "length of the point itself"),
        (
            lambda gram, *rest: distances_by_entries(gram, *rest, own=0) + 1,
            "for the Gaussian kernel only",
        ),
        (lambda *data: -distances_by_entries(*data, own=0, center=0) / 2, "not yet squared distances"),
        (lambda *data: distances_by_entries(*data).clamp(min=0).sqrt(), "Their squares"),
        (lambda *data: distances_by_entries(*data).T, "lies on its side"),
        (lambda *data: distances_by_entries(*data, mean=False), "Sums were taken"),
    ],
}


def table(answers):
    return [pytest.param(name, *entry, id=f"{name}-{i}") for name, rows in answers.items() for i, entry in rows]


def test_every_exercise_has_right_answers_and_at_least_three_wrong_ones():
    names = [exercise.name for exercise in exercises("learning-from-data")]
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
    for exercise in exercises("learning-from-data"):
        for mistake in exercise.mistakes:
            result = check(lambda *inputs, m=mistake: m.answer(*inputs), exercise.name, seed=1)
            assert not result and result.hint == mistake.hint, (exercise.name, mistake.hint, result)


def test_the_best_of_one_or_of_endlessly_many_guessers():
    score = find_exercise("score_of_the_best").expected
    assert score((1, 37)) == pytest.approx(0.5) and score((10**6, 3)) == pytest.approx(1)
    assert score((6, 1)) == pytest.approx(1 - 2**-6)
