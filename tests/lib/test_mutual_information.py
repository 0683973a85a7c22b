"""Estimators of mutual information against scikit-learn, NumPy, SciPy and the closed form of Gaussians."""

import math
import statistics

import numpy as np
import pytest
import scipy.spatial
import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_selection import mutual_info_regression
from sklearn.metrics import mutual_info_score
from torch.testing import assert_close

import chainrule.mutual_information
from chainrule.information import gaussian_entropy
from chainrule.mutual_information import (
    gaussian_mutual_information,
    histogram_mutual_information,
    nearest_neighbour_mutual_information,
)

from .reference import raises


def gaussians(rho, m, seed, dtype=torch.float64):
    """m samples of two standard Gaussians with correlation rho."""
    x, noise = torch.randn(2, m, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def columns(*variables):
    return (v.unsqueeze(1) for v in variables)


# The closed form


@given(st.floats(-0.999, 0.999))
def test_closed_form_is_a_difference_of_entropies(rho):
    # h(Y) - h(Y | X), where Y given X = x is Gaussian with deviation sqrt(1 - rho^2)
    rest = torch.tensor(math.sqrt(1 - rho**2), dtype=torch.float64)
    expected = gaussian_entropy(torch.ones_like(rest)) - gaussian_entropy(rest)
    result = gaussian_mutual_information(torch.tensor(rho, dtype=torch.float64))
    assert_close(result, expected, rtol=1e-9, atol=1e-12)
    assert_close(gaussian_mutual_information(torch.tensor(-rho, dtype=torch.float64)), result)


def test_closed_form_at_its_limits(device, dtype):
    rho = torch.tensor([0.0, 1.0, -1.0, 0.6], dtype=dtype, device=device)
    result = gaussian_mutual_information(rho, base=2)
    assert result.dtype == dtype and result.device.type == device.type
    assert_close(result.cpu(), torch.tensor([0, math.inf, math.inf, math.log2(1.25)], dtype=dtype))
    assert not torch.signbit(result[0])
    near = torch.tensor([1 - 2**-20], dtype=dtype)  # 1 - rho^2 would keep few digits in float32
    assert gaussian_mutual_information(near).item() == pytest.approx(-0.5 * math.log(2**-19 - 2**-40), rel=1e-6)
    inner = torch.tensor([-0.5, 0.1, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gaussian_mutual_information, inner)


def test_errors_of_the_closed_form(request):
    with raises(ValueError, "expected correlation to lie in [-1, 1], got -1.5"):
        gaussian_mutual_information(torch.tensor([0.5, -1.5]))
    with raises(ValueError, "expected correlation to lie in [-1, 1], got nan"):
        gaussian_mutual_information(torch.tensor([math.nan]))
    with raises(ValueError, "expected base to be a finite number above 1, got 1"):
        gaussian_mutual_information(torch.tensor([0.5]), base=1)
    request.getfixturevalue("unchecked")
    with raises(TypeError, "expected correlation to be of floating type, got torch.int64"):
        gaussian_mutual_information(torch.tensor(0))


# The histogram


@pytest.mark.parametrize("bins", [1, 2, 7, 30])
def test_histogram_agrees_with_numpy_and_scikit_learn(bins):
    x, y = gaussians(0.7, 500, seed=1)
    table = np.histogram2d(x.numpy(), y.numpy(), bins=bins)[0]
    expected = mutual_info_score(None, None, contingency=table)
    assert histogram_mutual_information(x, y, bins).item() == pytest.approx(expected, abs=1e-12)
    assert histogram_mutual_information(x, y, bins, base=2).item() == pytest.approx(expected / math.log(2), abs=1e-12)


def test_cells_do_not_depend_on_units_or_on_the_sign():
    x, y = gaussians(0.7, 500, seed=2)
    expected = histogram_mutual_information(x, y, 8)
    assert_close(histogram_mutual_information(4 * x, 0.5 * y, 8), expected)
    assert_close(histogram_mutual_information(y, x, 8), expected)
    assert_close(histogram_mutual_information(-x, y, 8), expected)


def test_histogram_of_uneven_values_by_hand(device, dtype):
    x = torch.tensor([0.0, 0.0, 1.0, 4.0], dtype=dtype, device=device)  # cells 0 0 0 1
    y = torch.tensor([5.0, 6.0, 7.0, 7.0], dtype=dtype, device=device)  # cells 0 1 1 1
    result = histogram_mutual_information(x, y, 2, base=2)
    assert result.dtype == dtype and result.device.type == device.type
    h = 2 - 0.75 * math.log2(3)  # the entropy of (1/4, 3/4); the joint one of (1/4, 1/2, 1/4) is 3/2
    assert result.item() == pytest.approx(2 * h - 1.5, rel=1e-5)


def test_histogram_is_biased_upwards_as_documented():
    estimates = [histogram_mutual_information(*torch.rand(2, 1000, generator=g), 10).item() for g in generators(50)]
    assert statistics.mean(estimates) == pytest.approx(81 / 2000, rel=0.1)


def generators(count):
    return (torch.Generator().manual_seed(seed) for seed in range(count))


# Nearest neighbours


def by_definition(x, y, k):
    """Equation (8) of Kraskov, Stoegbauer and Grassberger with SciPy's distances and loops."""
    dx, dy = (scipy.spatial.distance.cdist(v, v, "chebyshev") for v in (x, y))
    m, total = len(x), 0.0
    for i in range(m):
        others = [j for j in range(m) if j != i]
        radius = sorted(max(dx[i, j], dy[i, j]) for j in others)[k - 1]
        counts = (sum(d[i, j] < radius for j in others) for d in (dx, dy))
        total += sum(scipy.special.digamma(n + 1) for n in counts)
    return scipy.special.digamma(k) + scipy.special.digamma(m) - total / m


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("rho", [0.0, 0.5, -0.9])
def test_neighbours_agree_with_scikit_learn(k, rho):
    x, y = (v / v.std(correction=0) for v in gaussians(rho, 400, seed=3))  # scikit-learn scales to unit deviation
    result = nearest_neighbour_mutual_information(*columns(x, y), k=k).item()
    expected = mutual_info_regression(x.unsqueeze(1).numpy(), y.numpy(), n_neighbors=k, random_state=0)[0]
    assert max(result, 0) == pytest.approx(expected, abs=1e-6)  # scikit-learn cuts off at 0 and adds noise of 1e-10


@pytest.mark.parametrize("k", [1, 2, 5])
def test_neighbours_agree_with_the_definition_in_several_dimensions(k, generator):
    x, y = (
        torch.randn(60, 2, dtype=torch.float64, generator=generator),
        torch.randn(60, 3, dtype=torch.float64, generator=generator),
    )
    y[:, 0] += x[:, 1]
    assert nearest_neighbour_mutual_information(x, y, k).item() == pytest.approx(by_definition(x.numpy(), y.numpy(), k))


def test_neighbours_on_a_grid_where_distances_tie():
    x = torch.tensor([[0.0], [1.0], [2.0], [3.0], [5.0]], dtype=torch.float64)
    y = torch.tensor([[0.0], [2.0], [1.0], [3.0], [3.0]], dtype=torch.float64)
    for k in (1, 2, 4):
        assert nearest_neighbour_mutual_information(x, y, k).item() == pytest.approx(by_definition(x, y, k))


def test_three_neighbours_are_the_default():
    x, y = columns(*gaussians(0.5, 100, seed=4))
    assert nearest_neighbour_mutual_information(x, y) == nearest_neighbour_mutual_information(x, y, 3)


def test_neighbours_do_not_depend_on_the_chunks_order_or_signs(monkeypatch, generator):
    x, y = columns(*gaussians(0.5, 100, seed=4))
    expected = nearest_neighbour_mutual_information(x, y)
    order = torch.randperm(100, generator=generator)
    assert_close(nearest_neighbour_mutual_information(x[order], y[order]), expected)
    assert_close(nearest_neighbour_mutual_information(y, -x), expected)
    sizes = []
    cdist = torch.cdist
    monkeypatch.setattr(torch, "cdist", lambda a, b, p: sizes.append(len(a)) or cdist(a, b, p=p))
    for elements, chunks in ((1, [1] * 200), (1_600, [16] * 12 + [4, 4]), (10**6, [100, 100])):
        sizes.clear()
        monkeypatch.setattr(chainrule.mutual_information, "_CHUNK_ELEMENTS", elements)
        assert_close(nearest_neighbour_mutual_information(x, y), expected)
        assert sizes == chunks


def test_neighbours_follow_type_and_device(device, dtype):
    x, y = (v.to(device) for v in columns(*gaussians(0.8, 300, seed=5, dtype=dtype)))
    result = nearest_neighbour_mutual_information(x, y)
    assert result.dtype == dtype and result.device.type == device.type
    reference = nearest_neighbour_mutual_information(*columns(*gaussians(0.8, 300, seed=5)))
    assert result.item() == pytest.approx(reference.item(), abs=1e-3)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_neighbours_find_the_closed_form(rho):
    estimates = [
        nearest_neighbour_mutual_information(*columns(*gaussians(rho, 500, seed))).item() for seed in range(20)
    ]
    truth = gaussian_mutual_information(torch.tensor(rho, dtype=torch.float64)).item()
    error = statistics.stdev(estimates) / math.sqrt(20)
    assert error < 0.02
    assert abs(statistics.mean(estimates) - truth) < 4 * error + 0.01


# Errors of both


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: histogram_mutual_information(x, y, 2),
        lambda x, y: nearest_neighbour_mutual_information(*columns(x, y), k=1),
    ],
)
def test_samples_that_do_not_fit(function, request):
    x = torch.tensor([1.0, 2.0, 3.0])
    for bad, name in (((torch.full_like(x, 2), x), "x"), ((x, torch.full_like(x, 2)), "y")):
        with raises(ValueError, f"expected {name} to vary, got 3 equal samples"):
            function(*bad)
    for bad, name in (((x / 0, x), "x"), ((x, x / 0), "y")):
        with raises(ValueError, f"expected {name} to be finite, got inf"):
            function(*bad)
    with raises(ValueError, "expected as many samples of x as of y and at least 1, got 0 and 0"):
        function(x[:0], x[:0])
    request.getfixturevalue("unchecked")
    with raises(ValueError, "expected as many samples of x as of y and at least 1, got 3 and 2"):
        function(x, x[:2])
    for bad, name in (((x.long(), x), "x"), ((x, x.long()), "y")):
        with raises(TypeError, f"expected {name} to be of floating type, got torch.int64"):
            function(*bad)


@pytest.mark.usefixtures("unchecked")
def test_shapes_bins_and_neighbours_that_do_not_fit():
    x = torch.tensor([1.0, 2.0, 3.0])
    wide = x.unsqueeze(1)
    with raises(ValueError, "expected bins in [1, 4096], got 0"):
        histogram_mutual_information(x, x, 0)
    with raises(ValueError, "expected bins in [1, 4096], got 4097"):
        histogram_mutual_information(x, x, 4097)
    assert histogram_mutual_information(x, x, 1) == 0
    assert histogram_mutual_information(x, x, 4096).item() == pytest.approx(math.log(3))
    with raises(ValueError, "expected base to be a finite number above 1, got 0.5"):
        histogram_mutual_information(x, x, 2, base=0.5)
    with raises(ValueError, "expected x of shape (m,), got (3, 1)"):
        histogram_mutual_information(wide, x, 2)
    with raises(ValueError, "expected y of shape (m,), got (3, 1)"):
        histogram_mutual_information(x, wide, 2)
    with raises(ValueError, "expected x of shape (m, d), got (3,)"):
        nearest_neighbour_mutual_information(x, wide, 1)
    with raises(ValueError, "expected y of shape (m, d), got (3,)"):
        nearest_neighbour_mutual_information(wide, x, 1)
    for k in (0, 3):
        with raises(ValueError, f"expected k in [1, 3) for 3 samples, got {k}"):
            nearest_neighbour_mutual_information(wide, wide, k)
    assert nearest_neighbour_mutual_information(wide, wide, 2).isfinite()


def test_samples_that_coincide():
    x = torch.tensor([[1.0], [2.0], [0.0], [2.0], [2.0]])
    with raises(ValueError, "expected continuous samples, got more than 2 that coincide with sample 1"):
        nearest_neighbour_mutual_information(x, x, k=2)
    assert nearest_neighbour_mutual_information(x, x, k=3).isfinite()
