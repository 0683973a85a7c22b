"""Losses against torch's own, their gradients against closed forms and finite differences, and their limits."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from chainrule import losses
from chainrule.losses import (
    absolute_error_loss,
    binary_cross_entropy_loss,
    categorical_cross_entropy_loss,
    huber_loss,
    multiclass_hinge_loss,
    project_to_unit_circle,
    softmax_cross_entropy_loss,
    squared_error_loss,
    zero_one_loss,
)

from .reference import raises

M, K = 7, 5


@pytest.fixture
def scores(generator, device, dtype):
    return (3 * torch.randn(M, K, generator=generator)).to(device, dtype)


@pytest.fixture
def labels(generator, device):
    return torch.randint(0, K, (M,), generator=generator).to(device)


def distributions(scores):
    """Rows that are distributions, one of them with zeros."""
    targets = torch.softmax(scores.flip(1), dim=1)
    targets[0] = torch.eye(K, device=scores.device, dtype=scores.dtype)[2]
    return targets


# Classification


def test_zero_one_loss_counts_the_mistakes(scores, labels):
    wrong = sum(int(row.argmax()) != int(label) for row, label in zip(scores, labels, strict=True))
    loss = zero_one_loss(scores, labels)
    assert_close(loss, torch.tensor(wrong / M, dtype=scores.dtype, device=scores.device))
    assert 0 < wrong < M
    assert zero_one_loss(torch.zeros(1, 2), torch.tensor([0])) == 0  # of equal scores the first


def test_binary_cross_entropy_agrees_with_torch(scores, generator):
    s = scores.flatten()
    y = torch.rand(M * K, generator=generator).to(s)
    y[0], y[1] = 0, 1
    assert_close(binary_cross_entropy_loss(s, y), F.binary_cross_entropy_with_logits(s, y))


def test_gradient_of_binary_cross_entropy_is_the_residual(scores, generator):
    s = scores.flatten().requires_grad_()
    y = torch.randint(0, 2, (M * K,), generator=generator).to(s)
    (gradient,) = torch.autograd.grad(binary_cross_entropy_loss(s, y), s)
    assert_close(gradient, (torch.sigmoid(s) - y).detach() / (M * K))


def test_binary_cross_entropy_at_scores_that_overflow(dtype):
    s = torch.tensor([1e4, -1e4, 1e4, -1e4], dtype=dtype, requires_grad=True)
    y = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=dtype)
    loss = binary_cross_entropy_loss(s, y)
    (gradient,) = torch.autograd.grad(loss, s)
    assert_close(loss.detach(), torch.tensor(5e3, dtype=dtype))
    assert_close(gradient, torch.tensor([0.0, 0.0, 0.25, -0.25], dtype=dtype))
    tiny = binary_cross_entropy_loss(torch.tensor([40.0], dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    assert tiny.item() == pytest.approx(math.exp(-40), rel=1e-12)  # log(1 + e^-40) alone would be 0


def test_softmax_cross_entropy_agrees_with_torch(scores, labels):
    assert_close(softmax_cross_entropy_loss(scores, labels), F.cross_entropy(scores, labels))
    assert_close(softmax_cross_entropy_loss(scores, labels.to(torch.int32)), F.cross_entropy(scores, labels))
    targets = distributions(scores)
    assert_close(softmax_cross_entropy_loss(scores, targets), F.cross_entropy(scores, targets))


def test_gradient_of_softmax_cross_entropy_is_the_residual(scores, labels):
    s = scores.requires_grad_()
    (gradient,) = torch.autograd.grad(softmax_cross_entropy_loss(s, labels), s)
    assert_close(gradient, (torch.softmax(s, 1).detach() - F.one_hot(labels, K)) / M)


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=6), st.floats(-1e4, 1e4), st.data())
def test_softmax_cross_entropy_does_not_change_with_a_constant(row, constant, data):
    s = torch.tensor([row], dtype=torch.float64)
    y = torch.tensor([data.draw(st.integers(0, len(row) - 1))])
    loss = softmax_cross_entropy_loss(s, y)
    assert loss >= 0 and loss.isfinite()
    assert_close(softmax_cross_entropy_loss(s + constant, y), loss, rtol=1e-9, atol=1e-9)


def test_a_fresh_network_pays_the_logarithm_of_the_number_of_classes():
    for k in (2, 10, 1000):
        loss = softmax_cross_entropy_loss(torch.zeros(3, k), torch.tensor([0, 1, k - 1]))
        assert loss.item() == pytest.approx(math.log(k), rel=1e-6)


def test_two_classes_are_the_binary_case(scores):
    s, y = scores.flatten(), (torch.arange(M * K, device=scores.device) % 3 == 0).to(scores.dtype)
    two = torch.stack([torch.zeros_like(s), s], dim=1)
    assert_close(softmax_cross_entropy_loss(two, y.long()), binary_cross_entropy_loss(s, y))


def test_categorical_cross_entropy_agrees_with_torch(scores, labels):
    log_probs = torch.log_softmax(scores, dim=1)
    one_hot = F.one_hot(labels, K).to(scores.dtype)
    assert_close(categorical_cross_entropy_loss(log_probs, one_hot), F.nll_loss(log_probs, labels))
    targets = distributions(scores)
    assert_close(categorical_cross_entropy_loss(log_probs, targets), softmax_cross_entropy_loss(scores, targets))


def test_categorical_cross_entropy_at_probability_zero():
    log_probs = torch.tensor([[0.0, -math.inf]], requires_grad=True)
    loss = categorical_cross_entropy_loss(log_probs, torch.tensor([[1.0, 0.0]]))
    (gradient,) = torch.autograd.grad(loss, log_probs)
    assert loss == 0 and gradient.tolist() == [[-1.0, 0.0]]
    assert categorical_cross_entropy_loss(log_probs.detach(), torch.tensor([[0.5, 0.5]])) == math.inf


def test_multiclass_hinge_agrees_with_torch(scores, labels):
    # torch divides by the number of classes
    assert_close(multiclass_hinge_loss(scores, labels), F.multi_margin_loss(scores, labels) * K)
    wide = multiclass_hinge_loss(scores, labels, margin=2.5)
    assert_close(wide, F.multi_margin_loss(scores, labels, margin=2.5) * K)


def test_gradient_of_the_hinge_counts_the_violations(scores, labels):
    s = scores.requires_grad_()
    (gradient,) = torch.autograd.grad(multiclass_hinge_loss(s, labels), s)
    true = s.detach().gather(1, labels[:, None])
    violated = ((s.detach() - true + 1 > 0) & (F.one_hot(labels, K) == 0)).to(s.dtype)
    expected = violated - F.one_hot(labels, K) * violated.sum(dim=1, keepdim=True)
    assert_close(gradient, expected / M)


def test_sanity_values_of_the_hinge():
    assert multiclass_hinge_loss(torch.zeros(4, 10), torch.arange(4)) == 9
    assert multiclass_hinge_loss(torch.tensor([[5.0, 4.0, 3.0]]), torch.tensor([0])) == 0


# Regression


@pytest.mark.parametrize("shape", [(M,), (M, 1), (M, 3), (M, 2, 4)])
def test_regression_losses_agree_with_torch(shape, generator, device, dtype):
    a, b = (3 * torch.randn(2, *shape, generator=generator)).to(device, dtype)
    assert_close(squared_error_loss(a, b), F.mse_loss(a, b, reduction="sum") / M)
    assert_close(absolute_error_loss(a, b), F.l1_loss(a, b, reduction="sum") / M)
    for threshold in (0.3, 1.0, 4.0):
        expected = F.huber_loss(a, b, reduction="sum", delta=threshold) / M
        assert_close(huber_loss(a, b, threshold=threshold), expected)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=9), st.floats(-100, 100))
def test_no_constant_beats_the_mean_and_the_median(numbers, constant):
    y = torch.tensor(numbers, dtype=torch.float64)
    other = torch.full_like(y, constant)
    assert squared_error_loss(y.mean().expand_as(y), y) <= squared_error_loss(other, y) + 1e-9
    assert absolute_error_loss(y.median().expand_as(y), y) <= absolute_error_loss(other, y) + 1e-9


@pytest.mark.parametrize("loss", [squared_error_loss, absolute_error_loss, huber_loss])
def test_a_column_against_a_row_is_refused(loss, unchecked):
    message = "expected prediction and target of the same shape, got (4, 1) and (4,)"
    with raises(ValueError, message):
        loss(torch.zeros(4, 1), torch.zeros(4))
    with raises(ValueError, "expected at least one sample, got shape (0,)"):
        loss(torch.zeros(0), torch.zeros(0))
    with raises(TypeError, "expected target to be of floating type, got torch.int64"):
        loss(torch.zeros(2), torch.zeros(2, dtype=torch.long))


# Projection


@given(st.floats(0, 2 * math.pi), st.sampled_from([1e-30, 1e-3, 1.0, 1e6, 1e30]))
def test_a_ray_has_one_point_on_the_circle(angle, distance):
    point = distance * torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float32)
    expected = torch.tensor([[math.cos(angle), math.sin(angle)]])
    assert_close(project_to_unit_circle(point), expected)


def test_gradient_of_the_projection(generator):
    x = torch.randn(4, 3, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(project_to_unit_circle, x)


def test_the_origin_has_no_direction():
    with raises(ValueError, "expected the distances of outputs from the origin to be positive, got 0.0"):
        project_to_unit_circle(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    with raises(ValueError, "expected the distances of outputs from the origin to be finite, got inf"):
        project_to_unit_circle(torch.tensor([[math.inf, 0.0]]))


# Bad input


@pytest.mark.parametrize("name", ["zero_one_loss", "softmax_cross_entropy_loss", "multiclass_hinge_loss"])
def test_scores_and_labels_must_fit(name, unchecked):
    loss = getattr(losses, name)
    with raises(ValueError, "expected labels of shape (3,), got (2,)"):
        loss(torch.zeros(3, 4), torch.tensor([0, 1]))
    with raises(ValueError, "expected labels in [0, 4), got 4"):
        loss(torch.zeros(2, 4), torch.tensor([0, 4]))
    with raises(ValueError, "expected labels in [0, 4), got -1"):
        loss(torch.zeros(2, 4), torch.tensor([-1, 4]))
    for shape in ((3,), (0, 4), (3, 0)):
        with raises(ValueError, f"expected scores of shape (m, k), neither of them 0, got {shape}"):
            loss(torch.zeros(shape), torch.zeros(shape[:1], dtype=torch.long))


def test_targets_must_be_distributions(unchecked):
    for loss in (softmax_cross_entropy_loss, categorical_cross_entropy_loss):
        for row, total in (([0.5, 0.4], 0.9), ([1.5, -0.5], 1.0)):
            message = f"got a sum of {torch.tensor(row).sum().item()} or a negative entry"
            assert torch.tensor(row).sum().item() == pytest.approx(total)
            with raises(ValueError, f"expected a distribution in each row of the target, {message}"):
                loss(torch.zeros(1, 2), torch.tensor([row]))
        with raises(ValueError, "expected scores of shape (m, k), got (2,)"):
            loss(torch.zeros(2), torch.tensor([0.5, 0.5]))


def test_binary_labels_must_be_probabilities():
    for bad in (-0.5, 2.0, math.nan):
        with raises(ValueError, f"expected labels in [0, 1], got {bad}"):
            binary_cross_entropy_loss(torch.zeros(2), torch.tensor([1.0, bad]))


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_widths_must_be_positive(bad):
    with raises(ValueError, f"expected margin to be finite and positive, got {bad}"):
        multiclass_hinge_loss(torch.zeros(1, 2), torch.tensor([0]), margin=bad)
    with raises(ValueError, f"expected threshold to be finite and positive, got {bad}"):
        huber_loss(torch.zeros(2), torch.zeros(2), threshold=bad)


def test_a_margin_kept_exactly_pushes_no_more():
    scores = torch.tensor([[5.0, 4.0, 3.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(multiclass_hinge_loss(scores, torch.tensor([0])), scores)
    assert not gradient.any()
