"""Half-spaces and the perceptron against loops over plain numbers, scikit-learn, and Novikoff's theorem."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Perceptron
from torch.testing import assert_close

from chainrule.perceptron import PerceptronFit, fit_perceptron, half_space, margin, mistake_bound, signed_distance

from .reference import raises

F64 = torch.float64
AND = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
AND_LABELS = torch.tensor([-1, -1, -1, 1])


def separable(generator, m=60, d=3, gap=0.05):
    """Samples in a cube, none of them within the gap of a hyperplane; their labels, and the hyperplane."""
    weight, bias = torch.randn(d, generator=generator, dtype=F64), 0.3
    x = 2 * torch.rand(m, d, generator=generator, dtype=F64) - 1
    distance = (x @ weight + bias) / weight.norm()
    x = x[distance.abs() > gap]
    return x, (x @ weight + bias).sign(), weight, bias


def plain_perceptron(x, y, passes=1000):
    """The rule in plain Python, sample after sample; the weights with the bias last, and the samples updated."""
    rows, labels = [[*row, 1.0] for row in x.tolist()], y.tolist()
    w, updates = [0.0] * len(rows[0]), []
    for _ in range(passes):
        before = len(updates)
        for i, (row, label) in enumerate(zip(rows, labels, strict=True)):
            if label * sum(a * b for a, b in zip(w, row, strict=True)) <= 0:
                w = [a + label * b for a, b in zip(w, row, strict=True)]
                updates.append(i)
        if len(updates) == before:
            break
    return w, updates


# Half-spaces


def test_half_space_agrees_with_a_loop(generator, device, dtype):
    x, weight = torch.randn(2, 50, 3, generator=generator), torch.randn(3, generator=generator)
    result = half_space(x.to(device, dtype), weight.to(device, dtype), 0.4)
    assert result.dtype == dtype and result.device.type == device.type and result.shape == (2, 50)
    expected = [[1.0 if sum(a * b for a, b in zip(p, weight.tolist(), strict=True)) + 0.4 >= 0 else -1.0 for p in q]
                for q in x.tolist()]  # fmt: skip
    assert result.tolist() == expected


def test_the_boundary_is_on_the_positive_side():
    assert half_space(torch.tensor([2.0, 1.0]), torch.tensor([1.0, -2.0])) == 1
    assert half_space(torch.tensor([2.0, 1.0]), torch.tensor([1.0, -2.0]), torch.tensor(-0.1)) == -1
    assert half_space(torch.tensor([1.9, 1.0]), torch.tensor([1.0, -2.0])) == -1  # without a bias


def test_signed_distance_is_the_length_of_the_shortest_way(generator, device, dtype):
    x, weight = torch.randn(20, 3, generator=generator).to(device, dtype), torch.tensor([1.0, -2.0, 2.0])
    weight = weight.to(device, dtype)
    distance = signed_distance(x, weight, 3.0)
    assert distance.dtype == dtype
    foot = x - distance.unsqueeze(1) * weight / 3  # on the hyperplane, and perpendicular to it
    assert_close(foot @ weight + 3, torch.zeros(20, device=device, dtype=dtype), atol=1e-5, rtol=0)
    assert_close((x - foot).norm(dim=1), distance.abs())
    assert_close(signed_distance(x, 5 * weight, 15.0), distance)
    assert_close(signed_distance(x, -weight, -3.0), -distance)
    assert_close(signed_distance(x, weight), (x @ weight) / 3)


def test_margin_is_the_least_of_the_distances(generator):
    x, y, weight, bias = separable(generator)
    found = margin(x, y, weight, bias)
    assert found > 0.05
    assert_close(found, signed_distance(x, weight, bias).abs().min())
    assert_close(margin(x, -y, weight, bias), -signed_distance(x, weight, bias).abs().max())
    assert_close(margin(x, y.long(), weight, bias), found)
    assert margin(x.float(), y, weight.float(), bias).dtype == torch.float32  # whatever the labels' type
    assert margin(AND, AND_LABELS, torch.tensor([1.0, 1.0])) < 0  # no bias, and (0, 1) is wrong
    assert_close(margin(AND, AND_LABELS, torch.tensor([1.0, 1.0]), -1.5).item(), 0.5 / math.sqrt(2), rtol=1e-6, atol=0)


# The perceptron


def test_fit_perceptron_is_the_plain_rule(generator, device):
    for m in (3, 20, 60):
        x, y, _, _ = separable(generator, m)
        fit = fit_perceptron(x.to(device), y.to(device))
        w, updates = plain_perceptron(x, y)
        assert isinstance(fit, PerceptronFit) and fit.converged is True
        assert fit.updates.tolist() == updates and fit.updates.device.type == device.type
        assert_close(torch.cat([fit.weight, fit.bias.reshape(1)]).cpu(), torch.tensor(w, dtype=F64))
        assert margin(x, y, fit.weight.cpu(), fit.bias.cpu()) > 0


def test_fit_perceptron_finds_what_scikit_learn_finds(generator):
    x, y, _, _ = separable(generator)
    theirs = Perceptron(shuffle=False, tol=None, max_iter=500).fit(x.numpy(), y.numpy())
    fit = fit_perceptron(x, y)
    assert (torch.from_numpy(theirs.predict(x.numpy())) == y).all()
    # Their first score of 0 counts as right for the label -1; from then on the rules agree up to that choice.
    assert (half_space(x, fit.weight, fit.bias) == y).all()


def test_fit_perceptron_on_and():
    fit = fit_perceptron(AND, AND_LABELS)
    assert fit.weight.tolist() == [3, 2] and fit.bias == -4 and len(fit.updates) == 18 and fit.converged
    assert fit.updates[:5].tolist() == [0, 3, 0, 1, 3]  # the weights after two passes are (2, 1, -1)
    assert fit.weight.dtype == torch.float32


def test_fit_perceptron_without_a_bias(generator):
    x = torch.randn(40, 3, generator=generator, dtype=F64)
    y = torch.where(x @ torch.tensor([1.0, -1.0, 0.5], dtype=F64) > 0, 1, -1)
    fit = fit_perceptron(x, y, fit_bias=False)
    assert fit.bias == 0 and fit.bias.shape == () and fit.converged
    assert_close(fit.weight, (y.unsqueeze(1) * x)[fit.updates].sum(0))
    assert margin(x, y, fit.weight) > 0


def test_a_perceptron_that_is_stopped(generator):
    xor = torch.tensor([-1.0, 1, 1, -1])
    fit = fit_perceptron(AND, xor, max_updates=37)
    assert len(fit.updates) == 37 and fit.converged is False
    w = (xor.unsqueeze(1) * torch.cat([AND, torch.ones(4, 1)], 1))[fit.updates].sum(0)
    assert_close(torch.cat([fit.weight, fit.bias.reshape(1)]), w)
    at_once = fit_perceptron(AND, AND_LABELS, max_updates=0)
    assert not at_once.converged and at_once.updates.shape == (0,) and at_once.weight.tolist() == [0, 0]
    assert at_once.updates.dtype == torch.long
    exactly = fit_perceptron(AND, AND_LABELS, max_updates=18)
    assert exactly.converged and len(exactly.updates) == 18
    assert not fit_perceptron(AND, AND_LABELS, max_updates=17).converged
    assert len(fit_perceptron(AND, xor).updates) == 10_000


@given(st.integers(0, 10**6), st.integers(2, 5), st.floats(0.01, 0.3))
def test_no_more_updates_than_novikoff_allows(seed, d, gap):
    x, y, weight, bias = separable(torch.Generator().manual_seed(seed), 30, d, gap)
    if len(x) == 0:
        return
    fit = fit_perceptron(x, y)
    assert fit.converged and len(fit.updates) <= mistake_bound(x, y, weight, bias)
    # The two inequalities of the proof, at every step.
    samples = torch.cat([x, torch.ones(len(x), 1, dtype=F64)], 1)
    path = (y.unsqueeze(1) * samples)[fit.updates].cumsum(0)
    t = torch.arange(1, len(path) + 1, dtype=F64)
    expert = torch.cat([weight, torch.tensor([bias], dtype=F64)])
    gamma = (y * (samples @ expert)).min() / expert.norm()
    assert (path @ expert / expert.norm() >= t * gamma - 1e-9).all()
    assert (path.norm(dim=1) <= t.sqrt() * samples.norm(dim=1).max() + 1e-9).all()


def test_mistake_bound_is_reached_by_unit_vectors(device, dtype):
    for d in (1, 4, 9):
        x, y = torch.eye(d, device=device, dtype=dtype), torch.ones(d, device=device)
        bound = mistake_bound(x, y, 7 * torch.ones(d, device=device, dtype=dtype))
        assert bound.dtype == dtype and bound.device.type == device.type
        assert_close(bound.item(), float(d), rtol=1e-5, atol=0)
        assert len(fit_perceptron(x, y, fit_bias=False).updates) == d


def test_mistake_bound_with_a_bias_counts_the_constant_entry():
    x, y = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]), torch.tensor([1, 1, -1])
    # With the weights (2, 2) and the bias 1 the scores are 5, 5, -1; the vector (2, 2, 1) has length 3.
    assert_close(mistake_bound(x, y, torch.tensor([2.0, 2.0]), 1.0), torch.tensor(5 * 9.0))
    assert_close(mistake_bound(x, y, torch.tensor([2.0, 2.0]), torch.tensor(1.0)), torch.tensor(5 * 9.0))
    assert_close(mistake_bound(x, y, torch.tensor([1.0, 0.5])), torch.tensor(4 * 1.25))
    exact = mistake_bound(x.double(), y, torch.tensor([2.0, 2.0], dtype=F64), 0.1)  # 0.1 is no float32 number
    assert_close(exact, torch.tensor(5 * 8.01 / 1.9**2, dtype=F64), rtol=1e-12, atol=0)


# Errors


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("function", [half_space, signed_distance])
def test_errors_of_scores(function):
    with raises(ValueError, "expected x of shape (..., d) and weight of shape (d,), got (2, 3) and (2,)"):
        function(torch.ones(2, 3), torch.ones(2))
    with raises(ValueError, "expected x of shape (..., d) and weight of shape (d,), got (2, 3) and (3, 1)"):
        function(torch.ones(2, 3), torch.ones(3, 1))
    with raises(ValueError, "expected x of shape (..., d) and weight of shape (d,), got () and (3,)"):
        function(torch.tensor(1.0), torch.ones(3))
    with raises(TypeError, "expected x to be of floating type, got torch.int64"):
        function(torch.ones(2, 3, dtype=torch.long), torch.ones(3))
    with raises(TypeError, "expected weight to be of floating type, got torch.int64"):
        function(torch.ones(2, 3), torch.ones(3, dtype=torch.long))


@pytest.mark.usefixtures("unchecked")
def test_errors_of_samples():
    weight = torch.ones(2)
    for function in (
        lambda x, y: margin(x, y, weight),
        lambda x, y: mistake_bound(x, y, weight),
        lambda x, y: mistake_bound(x, y, weight, 1.0),
        fit_perceptron,
    ):
        shapes = "expected x of shape (m, d) and y of shape (m,), m at least 1, got "
        with raises(ValueError, shapes + "(4, 2) and (3,)"):
            function(AND, AND_LABELS[:3])
        with raises(ValueError, shapes + "(2,) and (2,)"):
            function(AND[0], AND_LABELS[:2])
        with raises(ValueError, shapes + "(0, 2) and (0,)"):
            function(AND[:0], AND_LABELS[:0])
        with raises(ValueError, "expected labels -1 or +1, got 0"):
            function(AND, torch.tensor([0, 1, 1, 1]))
        with raises(TypeError, "expected x to be of floating type, got torch.int64"):
            function(AND.long(), AND_LABELS)


def test_other_errors():
    with raises(ValueError, "expected weights that are not all 0, for they give no hyperplane"):
        signed_distance(AND, torch.zeros(2))
    with raises(ValueError, "expected a hyperplane that separates the samples, got the margin -0.0"):
        mistake_bound(AND[:1], AND_LABELS[:1], torch.tensor([0.0, 1.0]))
    with raises(ValueError, "expected a hyperplane that separates the samples, got the margin -1.0"):
        mistake_bound(AND, AND_LABELS, torch.tensor([1.0, 0.0]))
    with raises(ValueError, "expected max_updates of at least 0, got -1"):
        fit_perceptron(AND, AND_LABELS, max_updates=-1)
    with raises(ValueError, "expected x to be finite, got inf"):
        fit_perceptron(torch.tensor([[math.inf, 0.0]]), torch.tensor([1]))
