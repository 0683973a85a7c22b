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
