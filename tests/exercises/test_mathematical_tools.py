"""The exercises on mathematical tools: wrong answers get the sentence that teaches, right ones pass in any form."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch

from chainrule.checks import check, exercises

F64 = torch.float64


# broadcast_shape


def broadcast_shape(a, b):
    shape = []
    for k in range(1, max(len(a), len(b)) + 1):
        sizes = {shape[-k] for shape in (a, b) if k <= len(shape)} - {1}
        if len(sizes) > 1:
            return [-1]
        shape.insert(0, sizes.pop() if sizes else 1)
    return shape


def broadcast_from_the_left(a, b):
    n = max(len(a), len(b))
    return broadcast_shape(a + [1] * (n - len(a)), b + [1] * (n - len(b)))


def largest_sizes(a, b):
    n = max(len(a), len(b))
    return [max(pair) for pair in zip([1] * (n - len(a)) + a, [1] * (n - len(b)) + b, strict=True)]


def equal_sizes(a, b):
    n = max(len(a), len(b))
    a, b = [1] * (n - len(a)) + a, [1] * (n - len(b)) + b
    return a if a == b else [-1]


# break_convexity


def most_negative(A):
    values, vectors = np.linalg.eig((A + A.T).numpy())
    return torch.from_numpy(vectors[:, values.argmin()])


# ratio_gradient


def by_autograd(change=lambda f, h: f / h):
    def answer(A, B, x):
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(change(leaf @ A @ leaf, leaf @ B @ leaf), leaf)[0]

    return answer


# jacobian_chain_costs


def multiplications(widths):
    @functools.cache
    def least(i, j):  # of the product of the Jacobians number i, ..., j - 1
        if j - i == 1:
            return 0
        return min(least(i, k) + least(k, j) + widths[i] * widths[k] * widths[j] for k in range(i + 1, j))

    last = len(widths) - 1
    forward = sum(widths[0] * widths[i] * widths[i + 1] for i in range(1, last))
    reverse = sum(widths[-1] * widths[i] * widths[i + 1] for i in range(last - 1))
    return [forward, reverse, least(0, last)]


# rotation_onto


def rotation_in_the_plane_of(u, v):
    """A rotation, not a reflection: by the angle between u and v in the plane of both."""
    c = u @ v
    if c < -1 + 1e-12:
        w = torch.eye(len(u), dtype=F64)[(u.abs()).argmin()]
        w = w - (w @ u) * u
        w = w / w.norm()
        return torch.eye(len(u), dtype=F64) - 2 * torch.outer(u, u) - 2 * torch.outer(w, w)
    k = torch.outer(v, u) - torch.outer(u, v)
    return torch.eye(len(u), dtype=F64) + k + k @ k / (1 + c)


def mirror(w):
    return torch.eye(len(w), dtype=F64) - 2 * torch.outer(w, w) / (w @ w)


# break_variance


def unit(m, i):
    return torch.nn.functional.one_hot(torch.tensor(i), m).to(F64)


# terms_needed


def terms_needed(image, error, norm=torch.linalg.matrix_norm):
    """By the approximations themselves."""
    u, sigma, vt = torch.linalg.svd(image, full_matrices=False)
    k = 0
    while norm(image - (u[:, :k] * sigma[:k]) @ vt[:k]) > error * norm(image):
        k += 1
    return k


def values_above(image, error):
    return (torch.linalg.svdvals(image) > error * torch.linalg.matrix_norm(image)).sum()


# coin_posterior


def coin_posterior(prior, biases, tosses):
    """A table of logarithms, coin by toss, in which nothing is multiplied by 0."""
    table_of_logs = torch.where(tosses == 1, biases[:, None], 1 - biases[:, None]).log()
    log_joint = prior.log() + table_of_logs.sum(dim=1)
    return (log_joint - log_joint.logsumexp(dim=0)).exp()


def coin_log_joint(prior, biases, tosses):
    h = tosses.sum()
    return prior.log() + h * biases.log() + (len(tosses) - h) * (1 - biases).log()


def coin_products(prior, biases, tosses):
    joint = prior * torch.where(tosses == 1, biases[:, None], 1 - biases[:, None]).prod(dim=1)
    return joint / joint.sum()


RIGHT = {
    "broadcast_shape": [broadcast_shape, lambda a, b: tuple(float(size) for size in broadcast_shape(a, b))],
    "rotation_onto": [rotation_in_the_plane_of],
    "terms_needed": [terms_needed],
    "coin_posterior": [coin_posterior],
    "break_variance": [
        lambda m: torch.arange(m, dtype=F64) % 2 * 2 + 2e6,
        lambda m: 1e6 + (m / 2) ** 0.5 * (unit(m, 0) - unit(m, 1)),
    ],
    "convex_ones": [lambda: [1, 0, 1, 1, 1, 0, 1, 0], lambda: torch.tensor([1.0, 0, 1, 1, 1, 0, 1, 0])],
    "break_convexity": [
        lambda A: (100 * most_negative(A), torch.zeros(len(A), dtype=F64)),
        lambda A: (1 + most_negative(A), 1 - most_negative(A)),
    ],
    "ratio_gradient": [
        by_autograd(),
        lambda A, B, x: (A + A.T) @ x / (x @ B @ x) - (x @ A @ x) * ((B + B.T) @ x) / (x @ B @ x) ** 2,
    ],
    "jacobian_chain_costs": [multiplications, lambda widths: torch.tensor(multiplications(widths))],
}

# Of each wrong answer: the function, and words that the message must hold.
WRONG = {
    "broadcast_shape": [
        (broadcast_from_the_left, "compared from the right"),
        (largest_sizes, "Else the sum is an error"),
        (equal_sizes, "An axis of size 1 fits every size"),
        (lambda a, b: broadcast_shape(a, b) if len(a) == len(b) else [-1], "The numbers of axes may differ"),
        (lambda a, b: (torch.zeros(a) + torch.zeros(b)).shape if a == b else 0, "should be a list of numbers"),
    ],
    "rotation_onto": [
        (lambda u, v: torch.outer(v, u), "it has rank 1"),
        (lambda u, v: mirror(u - v), "nan (not a number)"),
        (lambda u, v: mirror(u + v), "sends u to -v"),
        (lambda u, v: torch.eye(len(u), dtype=F64), "the distance from Qu to v is 1.41"),
        (lambda u, v: rotation_in_the_plane_of(v, u), "the wrong way round"),
        (lambda u, v: 3 * mirror(u - v) - 2 * torch.outer(v, u), "and it is not orthogonal"),
        (lambda u, v: 2 * torch.eye(len(u), dtype=F64), "This matrix is not orthogonal"),
        (lambda u, v: v, "has shape (2,), and it should have shape (2, 2)"),
    ],
    "terms_needed": [
        (lambda image, error: terms_needed(image, error**0.5), "The Frobenius norm is the root"),
        (
            lambda image, error: terms_needed(image, error, lambda m: torch.linalg.matrix_norm(m, "nuc")),
            "sums of singular values",
        ),
        (values_above, "all that is left out together"),
        (lambda image, error: terms_needed(image, error) + 1, "One too many"),
        (lambda image, error: torch.linalg.matrix_rank(image), "This is the rank"),
        (lambda image, error: torch.linalg.svdvals(image), "should be a number"),
    ],
    "coin_posterior": [
        (coin_products, "Add logarithms"),
        (lambda *inputs: torch.softmax(coin_log_joint(*inputs), dim=0), "torch.xlogy(a, b)"),
        (lambda prior, biases, tosses: coin_posterior(prior * 0 + 1 / len(prior), biases, tosses), "prior is missing"),
        (lambda prior, biases, tosses: coin_posterior(prior, biases, 1 - tosses), "Heads and tails are exchanged"),
        (
            lambda prior, biases, tosses: (
                prior * torch.where(tosses == 1, biases[:, None], 1 - biases[:, None]).prod(dim=1)
            ),
            "Divide by their sum",
        ),
        (lambda *inputs: coin_posterior(*inputs).log(), "logarithms of the posterior"),
        (lambda prior, biases, tosses: prior.clone(), "This is the prior"),
    ],
    "break_variance": [
        (lambda m: torch.arange(m, dtype=F64) % 2 * 2, "The formula survives"),
        (lambda m: 1e9 + torch.arange(m, dtype=F64) % 2 * 2, "Rounded to float32 the numbers have the variance 0"),
        (lambda m: 1e6 + torch.arange(m, dtype=F64) * 100, "it should lie between 0.5 and 2"),
        (lambda m: 1e30 + torch.arange(m, dtype=F64), "must lie between -1e18 and 1e18"),
        (lambda m: [1e6] * m, "torch.tensor(...) makes one"),
    ],
    "convex_ones": [
        (lambda: [0, 1, 0, 0, 0, 1, 0, 1], "upside down"),
        (lambda: [1, 0, 1, 1, 1, 1, 1, 0], "A convex function of a convex function"),
        (lambda: [1, 0, 0, 1, 1, 0, 1, 0], "2/x^3"),
        (lambda: [1, 0, 1, 1, 0, 0, 1, 0], "A corner does no harm"),
        (lambda: [1, 0, 1, 1, 1, 0, 0, 0], "the length of the vector"),
        (lambda: [1, 0, 1, 1, 1, 0, 1, 1], "A single valley is not enough"),
        (lambda: [1, 1, 1, 1, 1, 0, 1, 0], "The cube bends downwards"),
        (lambda: [1] * 8, "Not all of them"),
        (lambda: [1, 3, 4, 5, 7], "has 5 entries, and it should have 8"),
        (lambda: "13457", "should be a list of numbers"),
    ],
    "break_convexity": [
        (lambda A: (torch.linalg.eigh(A).eigenvectors[:, -1], torch.zeros(len(A), dtype=F64)), "not below the graph"),
        (lambda A: (torch.ones(len(A)), -torch.ones(len(A))), "not below the graph"),
        (lambda A: tuple(torch.linalg.eigh(A).eigenvectors[:, :1].T.repeat(2, 1) * 0), "The two points are the same"),
        (lambda A: (torch.linalg.eigh(A).eigenvectors[:, 0], torch.zeros(len(A))), "its middle is at height"),
        (lambda A: torch.linalg.eig(A).eigenvectors.real[:, :2].T.unbind(), "its middle is at height"),
        (lambda A: (most_negative(A), torch.full((len(A),), math.inf)), "must be finite"),
        (lambda A: most_negative(A), "as a tuple, and we got one Tensor"),
    ],
    "ratio_gradient": [
        (
            lambda A, B, x: (2 * A @ x * (x @ B @ x) - x @ A @ x * 2 * B @ x) / (x @ B @ x) ** 2,
            "for symmetric matrices",
        ),
        (lambda A, B, x: (A @ x * (x @ B @ x) - x @ A @ x * B @ x) / (x @ B @ x) ** 2, "A x and A^T x"),
        (lambda A, B, x: -by_autograd()(A, B, x), "f' g - f g'"),
        (lambda A, B, x: by_autograd()(A, B, x) * (x @ B @ x), "is squared"),
        (lambda A, B, x: by_autograd()(A, B, x)[None], "has shape (1, 2), and it should have shape (2,)"),
        (lambda A, B, x: by_autograd(lambda f, h: f)(A, B, x) / (x @ B @ x), "held fixed"),
        (lambda A, B, x: (A + A.T) @ x / ((B + B.T) @ x), "not the ratio of the derivatives"),
        (lambda A, B, x: by_autograd(lambda f, h: f * h)(A, B, x) / (x @ B @ x) ** 2, "belongs to the product rule"),
        (lambda A, B, x: x @ A @ x / (x @ B @ x), "has shape (), and it should have shape (2,)"),
    ],
    "jacobian_chain_costs": [
        (lambda widths: [*multiplications(widths)[:2], min(multiplications(widths)[:2])], "ALL bracketings"),
        (lambda widths: [multiplications(widths)[i] for i in (1, 0, 2)], "are exchanged"),
        (
            lambda widths: [
                widths[0] * sum(a * b for a, b in itertools.pairwise(widths)),
                widths[-1] * sum(a * b for a, b in itertools.pairwise(widths)),
                multiplications(widths)[2],
            ],
            "One product too many",
        ),
        (lambda widths: [sum(a * b for a, b in itertools.pairwise(widths))] * 3, "one vector"),
        (lambda widths: multiplications(widths)[:2], "has 2 entries, and it should have 3"),
    ],
}


def table(answers):
    return [pytest.param(name, *entry, id=f"{name}-{i}") for name, rows in answers.items() for i, entry in rows]


def test_every_exercise_has_right_answers_and_at_least_three_wrong_ones():
    names = [exercise.name for exercise in exercises("mathematical-tools")]
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
    for exercise in exercises("mathematical-tools"):
        for mistake in exercise.mistakes:
            result = check(lambda *inputs, m=mistake: m.answer(*inputs), exercise.name, seed=1)
            assert not result and result.hint == mistake.hint, (exercise.name, mistake.hint, result)
