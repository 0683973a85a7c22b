"""Bounds against exact binomial probabilities, estimates and decompositions against their definitions."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import zero_one_loss
from torch.testing import assert_close

from chainrule.generalization import (
    ErrorDecomposition,
    bias_variance,
    decompose_error,
    estimate_risk,
    hoeffding_probability,
    hoeffding_radius,
    hoeffding_sample_size,
    zero_one_error,
)

from .reference import raises

F64 = torch.float64


def test_zero_one_error_agrees_with_scikit_learn(generator, device):
    predicted = torch.randint(3, (4, 50), generator=generator)
    labels = torch.randint(3, (50,), generator=generator)
    result = zero_one_error(predicted.to(device), labels.to(device))
    assert result.device.type == device.type and result.dtype == torch.float32
    for row, error in zip(predicted, result, strict=True):
        assert error.item() == pytest.approx(zero_one_loss(labels, row))
    assert zero_one_error(labels, labels) == 0
    assert zero_one_error(labels, predicted).shape == (4,)
    assert zero_one_error(torch.tensor([1]), torch.tensor([0])) == 1
    torch.set_default_dtype(F64)
    try:
        assert zero_one_error(labels, labels).dtype == F64
    finally:
        torch.set_default_dtype(torch.float32)


def test_risk_estimate_agrees_with_scipy(generator, device, dtype):
    losses = torch.rand(3, 40, generator=generator).to(device, dtype)
    mean, error = estimate_risk(losses)
    assert mean.device.type == device.type and mean.dtype == dtype
    assert_close(mean.cpu(), torch.from_numpy(losses.cpu().numpy().mean(axis=1)))
    expected = torch.from_numpy(np.asarray(scipy.stats.sem(losses.cpu().numpy(), axis=1)))
    assert_close(error.cpu(), expected.to(dtype))


def test_the_interval_of_two_standard_errors_covers_as_often_as_it_should(generator):
    losses = (torch.rand(4000, 400, generator=generator, dtype=F64) < 0.3).double()
    mean, error = estimate_risk(losses)
    covered = ((mean - 0.3).abs() <= 2 * error).double().mean().item()
    assert 0.93 < covered < 0.97
    assert estimate_risk(torch.tensor([1.0, 1.0]))[1] == 0


@given(st.integers(1, 300), st.integers(0, 100).map(lambda n: n / 100), st.floats(0.01, 0.6))
def test_hoeffding_is_an_upper_bound_on_binomial_tails(m, risk, radius):
    counts = np.arange(m + 1)
    outside = np.abs(counts / m - risk) >= radius + 1e-12
    exact = scipy.stats.binom(m, risk).pmf(counts)[outside].sum()
    assert exact <= hoeffding_probability(m, radius) + 1e-12


@given(st.integers(1, 10**6), st.floats(1e-6, 0.999), st.integers(1, 10**9), st.floats(1e-3, 1e3))
def test_radius_probability_and_sample_size_invert_each_other(m, delta, num_choices, width):
    options = {"num_choices": num_choices, "width": width}
    radius = hoeffding_radius(m, delta, **options)
    assert hoeffding_probability(m, radius, **options) == pytest.approx(delta)
    size = hoeffding_sample_size(radius * (1 + 1e-9), delta, **options)
    assert size in (m, m + 1) if m < 10**5 else abs(size - m) <= 1
    assert hoeffding_radius(size, delta, **options) <= radius * (1 + 2e-9)
    if size > 1:
        assert hoeffding_radius(size - 1, delta, **options) > radius * (1 - 1e-4) * (1 if size <= m else 0)


def test_known_values():
    assert hoeffding_probability(100, 0.1) == pytest.approx(2 * math.exp(-2))
    assert hoeffding_probability(100, 0.2, num_choices=7) == pytest.approx(14 * math.exp(-8))
    assert hoeffding_probability(100, 0.2, width=2.0) == pytest.approx(2 * math.exp(-2))
    assert hoeffding_probability(100, 0.0) == 1
    assert hoeffding_probability(1, 0.1) == 1
    assert hoeffding_probability(1000, 1.0, num_choices=10**400) == pytest.approx(
        math.exp(math.log(2) + 400 * math.log(10) - 2000)
    )
    assert hoeffding_radius(200, 0.05) == pytest.approx(math.sqrt(math.log(40) / 400))
    assert hoeffding_radius(200, 0.05, num_choices=100, width=3.0) == pytest.approx(3 * math.sqrt(math.log(4000) / 400))
    assert hoeffding_sample_size(0.1, 0.05) == 185
    assert hoeffding_sample_size(0.1, 0.05, num_choices=1000) == 530
    assert hoeffding_sample_size(0.1, 0.05, width=2.0) == 738
    assert hoeffding_sample_size(100.0, 0.5) == 1
    assert hoeffding_radius(1, 1e-320) == pytest.approx(math.sqrt((math.log(2) - math.log(1e-320)) / 2))


def test_decomposition_gives_the_four_differences():
    terms = decompose_error(risk=7.0, empirical_risk=3.0, best_risk=2.5, best_empirical_risk=4.0)
    assert terms == ErrorDecomposition(generalization=4.0, optimization=-1.0, statistical=1.5, approximation=2.5)
    assert terms.total == 7
    with pytest.raises(AttributeError):
        terms.statistical = 0.0


@given(*[st.floats(0, 1e3)] * 4)
def test_decomposition_adds_up(risk, empirical_risk, best_risk, best_empirical_risk):
    best_risk = min(best_risk, risk)
    terms = decompose_error(
        risk=risk, empirical_risk=empirical_risk, best_risk=best_risk, best_empirical_risk=best_empirical_risk
    )
    assert terms.total == pytest.approx(risk, abs=1e-9)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))
def test_bias_and_variance_add_up_to_the_squared_error(runs, m, seed):
    g = torch.Generator().manual_seed(seed)
    predictions, target = torch.randn(runs, m, generator=g, dtype=F64) + 3, torch.randn(m, generator=g, dtype=F64)
    bias, variance = bias_variance(predictions, target)
    assert_close(bias + variance, (predictions - target).square().mean())
    assert_close(variance, torch.from_numpy(np.asarray(predictions.numpy().var(axis=0).mean())))
    assert variance >= 0 and (runs > 1 or variance == 0)


def test_bias_and_variance_keep_type_and_device(device, dtype):
    predictions = torch.tensor([[1e4, 1e4 + 1], [1e4 + 2, 1e4 + 1]], device=device, dtype=dtype)
    bias, variance = bias_variance(predictions, torch.zeros(2, device=device, dtype=dtype))
    assert bias.device.type == device.type and bias.dtype == dtype
    assert variance.item() == pytest.approx(0.5, rel=1e-3)  # one pass would lose it in float32


def test_errors_of_bounds():
    for function in (
        lambda **options: hoeffding_probability(10, 0.1, **options),
        lambda **options: hoeffding_radius(10, 0.1, **options),
        lambda **options: hoeffding_sample_size(0.1, 0.1, **options),
    ):
        with raises(ValueError, "expected num_choices of at least 1, got 0"):
            function(num_choices=0)
        for width in (0.0, -1.0, math.inf, math.nan):
            with raises(ValueError, f"expected a finite width above 0, got {width}"):
                function(width=width)
    for function in (hoeffding_probability, hoeffding_radius):
        with raises(ValueError, "expected a size of at least 1, got 0"):
            function(0, 0.1)
    for delta in (0.0, 1.0, math.nan):
        with raises(ValueError, f"expected delta in (0, 1), got {delta}"):
            hoeffding_radius(10, delta)
        with raises(ValueError, f"expected delta in (0, 1), got {delta}"):
            hoeffding_sample_size(0.1, delta)
    for radius in (-0.1, math.inf, math.nan):
        with raises(ValueError, f"expected a finite radius of at least 0, got {radius}"):
            hoeffding_probability(10, radius)
    for radius in (0.0, math.inf, math.nan):
        with raises(ValueError, f"expected a finite radius above 0, got {radius}"):
            hoeffding_sample_size(radius, 0.1)


def test_errors_of_the_decomposition():
    numbers = {"risk": 1.0, "empirical_risk": 0.5, "best_risk": 0.5, "best_empirical_risk": 0.6}
    for name in numbers:
        with raises(ValueError, f"expected {name} to be finite, got nan"):
            decompose_error(**numbers | {name: math.nan})
    with raises(ValueError, "expected best_risk to be at most the risk 1.0, got 1.001"):
        decompose_error(**numbers | {"best_risk": 1.001})
    assert decompose_error(**numbers | {"best_risk": 1 + 1e-12}).approximation > 1  # rounding is allowed for
    with raises(ValueError, "expected best_risk to be at most the risk -1.0, got -0.5"):
        decompose_error(**numbers | {"risk": -1.0, "best_risk": -0.5})


@pytest.mark.usefixtures("unchecked")
def test_errors_of_tensors():
    ints = torch.tensor([0, 1])
    with raises(TypeError, "expected predicted to be of integer type, got torch.float32"):
        zero_one_error(ints.float(), ints)
    with raises(TypeError, "expected labels to be of integer type, got torch.float32"):
        zero_one_error(ints, ints.float())
    with raises(ValueError, "expected predicted of shape (..., m) with m of at least 1, got ()"):
        zero_one_error(torch.tensor(1), ints)
    with raises(ValueError, "expected labels of shape (..., m) with m of at least 1, got (0,)"):
        zero_one_error(ints, ints[:0])
    with raises(ValueError, "expected as many labels as predictions, got 1 and 2"):
        zero_one_error(ints, ints[:1])
    for bad in (torch.tensor(1.0), torch.ones(3, 1)):
        with raises(ValueError, f"expected losses of shape (..., m) with m of at least 2, got {tuple(bad.shape)}"):
            estimate_risk(bad)
    with raises(ValueError, "expected losses to be finite, got inf"):
        estimate_risk(torch.tensor([1.0, math.inf]))
    with raises(TypeError, "expected losses to be of floating type, got torch.int64"):
        estimate_risk(ints)
    for bad in (torch.ones(3), torch.ones(0, 3), torch.ones(3, 0)):
        with raises(ValueError, f"expected predictions of shape (runs, m), neither of them 0, got {tuple(bad.shape)}"):
            bias_variance(bad, torch.ones(3))
    with raises(ValueError, "expected target of shape (3,), got (2,)"):
        bias_variance(torch.ones(2, 3), torch.ones(2))
    with raises(ValueError, "expected predictions to be finite, got nan"):
        bias_variance(torch.full((2, 3), math.nan), torch.ones(3))
    with raises(ValueError, "expected target to be finite, got nan"):
        bias_variance(torch.ones(2, 3), torch.full((3,), math.nan))
    with raises(TypeError, "expected predictions to be of floating type, got torch.int64"):
        bias_variance(torch.ones(2, 3).long(), torch.ones(3))
    with raises(TypeError, "expected target to be of floating type, got torch.int64"):
        bias_variance(torch.ones(2, 3), torch.ones(3).long())
