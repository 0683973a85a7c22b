"""Gaps and curvature against closed forms, and against functions whose convexity is known."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from chainrule.convexity import chord_gap, find_convexity_violation, jensen_gap, smallest_curvature, tangent_gap
from chainrule.information import kl_divergence

from .reference import distributions, raises

F64 = torch.float64
moderate = st.floats(-50, 50)


def square_norm(x):
    return x.square().sum(-1)


def log_sum_exp(x):
    return torch.logsumexp(x, -1)


# Chords


@given(moderate, moderate, st.floats(0, 1))
def test_chord_gap_of_the_square_in_closed_form(x, y, t):
    gap = chord_gap(torch.square, torch.tensor(x, dtype=F64), torch.tensor(y, dtype=F64), t)
    assert gap.item() == pytest.approx(t * (1 - t) * (x - y) ** 2, abs=1e-9)


def test_chord_gap_gives_t_to_the_first_end():
    x, y = torch.tensor(1.0, dtype=F64), torch.tensor(3.0, dtype=F64)
    assert chord_gap(torch.exp, x, y, 0.25).item() == pytest.approx(0.25 * math.e + 0.75 * math.exp(3) - math.exp(2.5))
    for end in (0.0, 1.0):
        assert chord_gap(torch.exp, x, y, end) == 0


def test_chord_gap_of_vectors_and_batches(generator, device, dtype):
    x, y = torch.randn(2, 4, 5, 3, generator=generator).to(device, dtype)
    t = torch.rand(5, generator=generator).to(device, dtype)
    gap = chord_gap(square_norm, x, y, t, event_dims=1)
    assert gap.shape == (4, 5) and gap.dtype == dtype and gap.device.type == device.type
    assert_close(gap, t * (1 - t) * square_norm(x - y), rtol=1e-4, atol=1e-5)
    by_number = chord_gap(square_norm, x, y, 0.5, event_dims=1)
    assert_close(by_number, square_norm(x - y) / 4, rtol=1e-4, atol=1e-5)
    matrices = chord_gap(lambda a: a.square().sum((-1, -2)), x, y, 0.5, event_dims=2)
    assert_close(matrices, by_number.sum(-1), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("unchecked")
def test_errors_of_chords():
    a, b = torch.zeros(3), torch.zeros(2)
    with raises(ValueError, "expected x and y of one shape, got (3,) and (2,)"):
        chord_gap(torch.square, a, b, 0.5)
    with raises(ValueError, "expected t in [0, 1], got -0.5 to 0.5"):
        chord_gap(torch.square, b, b, torch.tensor([-0.5, 0.5]))
    with raises(ValueError, "expected t in [0, 1], got 1.5 to 1.5"):
        chord_gap(torch.square, b, b, 1.5)
    with raises(ValueError, "expected t in [0, 1], got nan to nan"):
        chord_gap(torch.square, b, b, math.nan)
    with raises(ValueError, "expected t to broadcast to (2,), got (3,)"):
        chord_gap(torch.square, b, b, torch.full((3,), 0.5))
    with raises(ValueError, "expected event_dims in [0, 1] for x, got 2"):
        chord_gap(torch.square, b, b, 0.5, event_dims=2)
    with raises(ValueError, "expected event_dims in [0, 1] for x, got -1"):
        chord_gap(torch.square, b, b, 0.5, event_dims=-1)
    with raises(ValueError, "expected the function to give values of shape (), got (2,)"):
        chord_gap(torch.square, b, b, 0.5, event_dims=1)
    with raises(TypeError, "expected x to be of floating type, got torch.int64"):
        chord_gap(torch.square, a.long(), a, 0.5)
    with raises(TypeError, "expected y to be of floating type, got torch.int64"):
        chord_gap(torch.square, a, a.long(), 0.5)


# The search for a violation

CONVEX = [torch.square, torch.abs, torch.exp, torch.nn.functional.softplus, torch.relu, lambda x: 3 - 2 * x]
NOT_CONVEX = [torch.sin, lambda x: -x.square(), lambda x: x**3, lambda x: x.abs().sqrt(), torch.sigmoid]


def test_search_clears_convex_functions_and_convicts_others(generator, device, dtype):
    points = torch.linspace(-4, 4, 300, dtype=dtype, device=device)
    for function in CONVEX:
        assert find_convexity_violation(function, points, generator=generator) is None
    for function in NOT_CONVEX:
        x, y, t = find_convexity_violation(function, points, generator=generator)
        assert x.shape == y.shape == () and x.dtype == dtype and 0 <= t <= 1 and type(t) is float
        assert chord_gap(function, x, y, t) < -1e-3


def test_search_returns_the_worst_chord_that_it_tried(generator):
    points = torch.linspace(0, math.pi, 60, dtype=F64)
    x, y, t = find_convexity_violation(torch.sin, points, generator=generator, num_trials=20_000)
    # The deepest chord of all joins 0 and pi, at its middle, where it is 1 below.
    assert chord_gap(torch.sin, x, y, t) < -0.95
    assert 0.35 < t < 0.65


def test_search_in_many_dimensions_and_with_midpoints(generator):
    points = torch.randn(500, 4, generator=generator, dtype=F64)
    assert find_convexity_violation(log_sum_exp, points, generator=generator) is None
    assert find_convexity_violation(log_sum_exp, points, generator=generator, t=0.5) is None
    x, y, t = find_convexity_violation(lambda x: -log_sum_exp(x), points, generator=generator, t=0.25)
    assert t == 0.25 and x.shape == y.shape == (4,)
    saddle = torch.diag(torch.tensor([1.0, 1.0, 1.0, -0.2], dtype=F64))
    x, y, _ = find_convexity_violation(lambda x: torch.einsum("ni,ij,nj->n", x, saddle, x), points, generator=generator)
    assert (x - y) @ saddle @ (x - y) < 0


def test_search_is_repeatable_and_uses_its_generator_alone():
    points = torch.linspace(-3, 3, 50)
    before = torch.random.get_rng_state()
    found = [
        find_convexity_violation(torch.sin, points, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    ]
    assert torch.equal(before, torch.random.get_rng_state())
    assert found[0] == found[1] != found[2]


def test_search_does_not_take_rounding_for_a_violation(generator, dtype):
    points = 1000 + torch.rand(500, generator=generator, dtype=torch.float64).to(dtype)
    for function in (lambda x: 1e6 * x - 1e3, lambda x: x * 0 + 7, lambda x: 1e6 * (x - 1000) ** 2 + 1e9):
        assert find_convexity_violation(function, points, generator=generator) is None
    # a dip of 1e-3 of the value is no rounding, and is found in both types
    deep = find_convexity_violation(lambda x: 1 - 1e-2 * (x - 1000.5) ** 2, points, generator=generator)
    assert deep is not None


def test_large_values_elsewhere_hide_no_violation(generator):
    points = torch.cat([torch.linspace(-3, 3, 300, dtype=F64), torch.tensor([1e8], dtype=F64)])

    def waves(x):  # 1e16 at the last point
        return x.square() + 3 * torch.sin(4 * x) * (x.abs() < 4)

    x, y, t = find_convexity_violation(waves, points, generator=generator)
    assert chord_gap(waves, x, y, t) < -1 and x.abs() < 4 and y.abs() < 4


def test_search_knows_infinite_values(generator):
    points = torch.linspace(-1, 1, 40)
    inside = torch.tensor(math.inf)
    assert (
        find_convexity_violation(lambda x: torch.where(x.abs() < 0.5, 0, inside), points, generator=generator) is None
    )
    hole = find_convexity_violation(lambda x: torch.where(x.abs() < 0.2, inside, 0), points, generator=generator)
    assert hole is not None and abs(hole[2] * hole[0] + (1 - hole[2]) * hole[1]) < 0.2


@pytest.mark.usefixtures("unchecked")
def test_errors_of_the_search(generator):
    for points in (torch.zeros(1), torch.zeros(0, 3), torch.tensor(1.0)):
        message = f"expected at least 2 points along the first dimension, got shape {tuple(points.shape)}"
        with raises(ValueError, message):
            find_convexity_violation(torch.square, points, generator=generator)
    two = torch.zeros(2)
    assert find_convexity_violation(torch.square, two, generator=generator, num_trials=1) is None
    with raises(ValueError, "expected at least 1 trial, got 0"):
        find_convexity_violation(torch.square, two, generator=generator, num_trials=0)
    with raises(ValueError, "expected t in [0, 1], got 2.0 to 2.0"):
        find_convexity_violation(torch.square, two, generator=generator, t=2.0)
    with raises(ValueError, "expected the function to give values of shape (5,), got (5, 2)"):
        find_convexity_violation(torch.square, torch.zeros(2, 2), generator=generator, num_trials=5)
    with raises(TypeError, "expected points to be of floating type, got torch.int64"):
        find_convexity_violation(torch.square, torch.zeros(2, dtype=torch.long), generator=generator)


# Tangents


@given(distributions(2, 6), st.integers(0, 5))
def test_tangent_gap_of_negative_entropy_is_the_divergence(p, shift):
    q = (p.roll(shift) + 0.1) / (1 + 0.1 * len(p))
    p = (p + 0.05) / (1 + 0.05 * len(p))
    gap = tangent_gap(lambda x: torch.xlogy(x, x).sum(-1), q, p, event_dims=1)
    assert_close(gap, kl_divergence(p, q))


def test_tangent_gap_of_batches(generator, device, dtype):
    w, u = torch.randn(2, 6, 3, generator=generator).to(device, dtype)
    gap = tangent_gap(square_norm, w, u, event_dims=1)
    assert gap.shape == (6,) and gap.dtype == dtype and gap.device.type == device.type
    assert_close(gap, square_norm(u - w), rtol=1e-4, atol=1e-5)
    assert_close(tangent_gap(torch.exp, w, u), u.exp() - w.exp() * (1 + u - w), rtol=1e-4, atol=1e-4)
    matrices = tangent_gap(lambda a: a.square().sum((-1, -2)), w, u, event_dims=2)
    assert matrices.shape == () and matrices.item() == pytest.approx(gap.sum().item(), rel=1e-4)


def test_tangent_gap_works_without_gradients_and_leaves_its_input(generator):
    w = torch.randn(3, generator=generator)
    with torch.no_grad():
        assert (tangent_gap(torch.exp, w, w + 1) > 0).all()
    assert not w.requires_grad and (tangent_gap(torch.exp, w, w) == 0).all()
    assert not tangent_gap(torch.exp, w, w + 1).requires_grad


@pytest.mark.usefixtures("unchecked")
def test_errors_of_tangents():
    with raises(ValueError, "expected w and u of one shape, got (3,) and (2,)"):
        tangent_gap(torch.square, torch.zeros(3), torch.zeros(2))
    with raises(ValueError, "expected event_dims in [0, 1] for w, got 2"):
        tangent_gap(torch.square, torch.zeros(3), torch.zeros(3), event_dims=2)
    with raises(ValueError, "expected the function to give values of shape (3,), got ()"):
        tangent_gap(torch.sum, torch.zeros(3), torch.zeros(3))
    with raises(TypeError, "expected w to be of floating type, got torch.int64"):
        tangent_gap(torch.square, torch.tensor(1), torch.tensor(1.0))
    with raises(TypeError, "expected u to be of floating type, got torch.int64"):
        tangent_gap(torch.square, torch.tensor(1.0), torch.tensor(1))


# Curvature


def test_curvature_of_a_quadratic_is_the_smallest_eigenvalue(generator, device, dtype):
    A = torch.randn(4, 4, generator=generator).to(device, dtype)
    points = torch.randn(5, 4, generator=generator).to(device, dtype)
    found = smallest_curvature(lambda x: x @ A @ x, points)
    assert found.shape == (5,) and found.dtype == dtype and found.device.type == device.type
    assert_close(found, torch.linalg.eigvalsh(A + A.T)[0].expand(5), rtol=1e-4, atol=1e-4)


def test_curvature_of_numbers_and_matrices(generator):
    x = torch.linspace(-2, 2, 9, dtype=F64)
    assert_close(smallest_curvature(torch.sin, x), -torch.sin(x))
    assert_close(smallest_curvature(torch.exp, x), torch.exp(x))
    X = torch.randn(3, 2, 2, generator=generator, dtype=F64)
    assert_close(smallest_curvature(lambda a: a.square().sum(), X), torch.full((3,), 2.0, dtype=F64))
    # log-sum-exp is flat along (1, ..., 1) and convex elsewhere
    assert_close(smallest_curvature(log_sum_exp, X.reshape(3, 4)), torch.zeros(3, dtype=F64), atol=1e-12, rtol=0)


def test_curvature_of_a_single_point():
    assert smallest_curvature(torch.sum, torch.ones(1, 3)).tolist() == [0]


@pytest.mark.usefixtures("unchecked")
def test_errors_of_curvature():
    for points in (torch.tensor(1.0), torch.zeros(0, 2)):
        message = f"expected at least 1 point along the first dimension, got shape {tuple(points.shape)}"
        with raises(ValueError, message):
            smallest_curvature(torch.sum, points)
    with raises(ValueError, "expected the function to give a number for one point, got shape (2,)"):
        smallest_curvature(torch.square, torch.zeros(1, 2))
    with raises(TypeError, "expected points to be of floating type, got torch.int64"):
        smallest_curvature(torch.sum, torch.zeros(1, 2, dtype=torch.long))


# Jensen


@given(distributions(1, 6), st.lists(moderate, min_size=6, max_size=6))
def test_jensen_gap_of_the_square_is_the_variance(p, numbers):
    x = torch.tensor(numbers[: len(p)], dtype=F64)
    mean = (p * x).sum()
    assert_close(jensen_gap(torch.square, x, p), (p * (x - mean) ** 2).sum(), atol=1e-9, rtol=1e-9)


@given(distributions(1, 6), st.lists(st.floats(1e-3, 1e3), min_size=6, max_size=6))
def test_jensen_gap_has_the_sign_of_the_curvature(p, numbers):
    x = torch.tensor(numbers[: len(p)], dtype=F64)
    for convex in (torch.square, torch.reciprocal, lambda v: -v.log(), lambda v: v * v.log()):
        scale = convex(x).abs().max().item()
        assert jensen_gap(convex, x, p) >= -1e-12 * scale
        assert jensen_gap(lambda v, f=convex: -f(v), x, p) <= 1e-12 * scale


def test_jensen_gap_of_vectors_and_batches(generator, device, dtype):
    x = torch.randn(7, 5, 3, generator=generator).to(device, dtype)
    p = torch.randn(7, 5, generator=generator).softmax(-1).to(device, dtype)
    gap = jensen_gap(square_norm, x, p, event_dims=1)
    mean = torch.einsum("bk,bki->bi", p, x)
    variance = torch.einsum("bk,bki->b", p, (x - mean[:, None]) ** 2)
    assert gap.shape == (7,) and gap.dtype == dtype and gap.device.type == device.type
    assert_close(gap, variance, rtol=1e-4, atol=1e-5)
    one = jensen_gap(square_norm, x, p[0], event_dims=1)  # the same weights for all
    assert_close(one[0], gap[0])
    assert one.shape == (7,) and not torch.allclose(one, gap)


def test_values_of_probability_zero_count_for_nothing():
    x, p = torch.tensor([0.0, 1.0, 4.0]), torch.tensor([0.0, 0.5, 0.5])
    assert jensen_gap(lambda v: -v.log(), x, p).item() == pytest.approx(math.log(2.5) - 0.5 * math.log(4), rel=1e-5)
    assert jensen_gap(lambda v: -v.log(), x, torch.tensor([0.2, 0.4, 0.4])) == math.inf


@pytest.mark.usefixtures("unchecked")
def test_errors_of_jensen():
    x, p = torch.zeros(3), torch.tensor([0.5, 0.5])
    with raises(ValueError, "expected p to broadcast to (3,), got (2,)"):
        jensen_gap(torch.square, x, p)
    with raises(ValueError, "expected p to sum to 1, got a sum of 0.5"):
        jensen_gap(torch.square, torch.zeros(2), p / 2)
    with raises(ValueError, "expected event_dims in [0, 1] for x, got 2"):
        jensen_gap(torch.square, x, p, event_dims=2)
    with raises(ValueError, "expected the function to give values of shape (2,), got ()"):
        jensen_gap(torch.sum, torch.zeros(2), p)
    with raises(TypeError, "expected x to be of floating type, got torch.int64"):
        jensen_gap(torch.square, torch.zeros(2, dtype=torch.long), p)
    with raises(TypeError, "expected p to be of floating type, got torch.int64"):
        jensen_gap(torch.square, torch.zeros(2), torch.tensor([1, 0]))
