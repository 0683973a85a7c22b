"""Kernels against scikit-learn and against their feature maps; the kernel machine against SVC."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import pairwise
from sklearn.svm import SVC
from torch.testing import assert_close

from chainrule.kernels import (
    fit_kernel_svm,
    kernel_scores,
    polynomial_kernel,
    quadratic_features,
    rbf_features,
    rbf_kernel,
)
from chainrule.support_vector_machine import fit_linear_svm

from .reference import raises

F64 = torch.float64


def points(seed, m, d):
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_kernels_agree_with_scikit_learn(generator, device, dtype):
    a, b = (torch.randn(n, 4, generator=generator).to(device, dtype) for n in (6, 3))
    p, q = a.cpu().numpy(), b.cpu().numpy()
    for result, expected in (
        (rbf_kernel(a, b, gamma=0.3), pairwise.rbf_kernel(p, q, gamma=0.3)),
        (rbf_kernel(a, b), pairwise.rbf_kernel(p, q, gamma=1.0)),
        (polynomial_kernel(a, b), pairwise.polynomial_kernel(p, q, degree=2, gamma=1, coef0=1)),
        (polynomial_kernel(a, b, 3, 0.5), pairwise.polynomial_kernel(p, q, degree=3, gamma=1, coef0=0.5)),
        (polynomial_kernel(a, b, 1, 0.0), p @ q.T),
    ):
        assert result.dtype == dtype and result.device.type == device.type
        assert_close(result.cpu(), torch.from_numpy(expected).to(dtype), atol=1e-5, rtol=1e-5)


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_gram_matrices_are_symmetric_and_positive(seed, gamma):
    x = points(seed, 8, 3)
    for gram in (rbf_kernel(x, x, gamma), polynomial_kernel(x, x, 3)):
        assert_close(gram, gram.T)
        assert torch.linalg.eigvalsh(gram).min() > -1e-8 * gram.diagonal().max()
    assert (rbf_kernel(x, x, gamma).diagonal() == 1).all()


def test_rbf_of_equal_points_is_one_far_from_the_origin():
    x = 1000 + torch.randn(30, 5)
    assert (rbf_kernel(x, x, 5.0).diagonal() == 1).all()


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_quadratic_features_have_the_polynomial_kernel(seed, d):
    a, b = points(seed, 4, d), points(seed + 1, 5, d)
    assert quadratic_features(a).shape == (4, (d + 1) * (d + 2) // 2)
    assert_close(quadratic_features(a) @ quadratic_features(b).T, polynomial_kernel(a, b))


def test_quadratic_features_of_batches(device, dtype):
    x = torch.randn(2, 3, 4).to(device, dtype)
    features = quadratic_features(x)
    assert features.shape == (2, 3, 15) and features.dtype == dtype and features.device.type == device.type
    assert_close(features[1, 2], quadratic_features(x[1, 2]))
    assert_close(quadratic_features(torch.tensor([3.0])), torch.tensor([1.0, 3 * math.sqrt(2), 9.0]))


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=6), st.floats(0.05, 2))
def test_rbf_features_have_the_rbf_kernel(numbers, gamma):
    x = torch.tensor(numbers, dtype=F64)
    phi = rbf_features(x, gamma, 90)
    assert_close(phi @ phi.T, rbf_kernel(x[:, None], x[:, None], gamma), atol=1e-10, rtol=0)


def test_rbf_features_by_their_formula(device, dtype):
    x = torch.tensor([[0.5, -1.0], [0.0, 1.5]], device=device, dtype=dtype)
    phi = rbf_features(x, 0.7, 6)
    assert phi.shape == (2, 2, 6) and phi.dtype == dtype and phi.device.type == device.type
    for n in range(6):
        expected = torch.exp(-0.7 * x**2) * math.sqrt(1.4**n / math.factorial(n)) * x**n
        assert_close(phi[..., n], expected)
    assert_close(rbf_features(x, 0.7, 1)[..., 0], torch.exp(-0.7 * x**2))
    assert torch.isfinite(rbf_features(x, 3.0, 400)).all()  # 399! overflows


def rings(seed, m=60):
    generator = torch.Generator().manual_seed(seed)
    y = torch.where(torch.arange(m) % 2 == 0, 1, -1)
    radius = torch.where(y > 0, 1.0, 2.0) + 0.25 * torch.randn(m, generator=generator)
    angle = 6.2832 * torch.rand(m, generator=generator)
    return (radius * torch.stack([angle.cos(), angle.sin()])).T.double().contiguous(), y


@pytest.mark.parametrize("penalty", [0.5, 100.0])
@pytest.mark.parametrize("seed", range(3))
def test_kernel_machine_agrees_with_scikit_learn(seed, penalty):
    x, y = rings(seed)
    queries = points(seed, 30, 2)
    reference = SVC(C=penalty, kernel="rbf", gamma=0.8, tol=1e-8).fit(x.numpy(), y.numpy())
    machine = fit_kernel_svm(x, y, lambda a, b: rbf_kernel(a, b, 0.8), penalty, tolerance=1e-8)
    expected = torch.from_numpy(reference.decision_function(queries.numpy()))
    assert_close(kernel_scores(machine, queries), expected, atol=1e-4, rtol=0)
    assert len(machine.support_vectors) == len(machine.coefficients) == len(reference.support_)


def test_kernel_machine_is_the_linear_machine_of_the_features():
    x, y = rings(0)
    features = quadratic_features(x)
    linear = fit_linear_svm(features, y, 10.0, tolerance=1e-9)
    machine = fit_kernel_svm(x, y, polynomial_kernel, 10.0, tolerance=1e-9)
    queries = points(1, 20, 2)
    assert_close(
        kernel_scores(machine, queries), quadratic_features(queries) @ linear.weight + linear.bias, atol=1e-6, rtol=0
    )


def test_hard_machine_separates_and_follows_the_type(device, dtype):
    x, y = rings(4)
    x, y = x.to(device, dtype), y.to(device)
    machine = fit_kernel_svm(x, y, lambda a, b: rbf_kernel(a, b, 5.0))
    scores = kernel_scores(machine, x)
    assert (scores * y > 0.99).all() and scores.dtype == dtype and scores.device.type == device.type
    with pytest.raises(ValueError, match="expected to be done after 3 steps"):
        fit_kernel_svm(x, y, rbf_kernel, max_steps=3)


def test_errors(unchecked):
    x = torch.zeros(3, 2)
    for kernel in (rbf_kernel, polynomial_kernel, lambda a, b: fit_kernel_svm(a, torch.ones(3), rbf_kernel)):
        with raises(ValueError, "expected points as rows of a matrix, got shape (3,)"):
            kernel(torch.zeros(3), x)
        with raises(ValueError, "expected points to be finite, got nan"):
            kernel(x * math.nan, x)
        with raises(TypeError, "expected points to be of floating type, got torch.int64"):
            kernel(x.long(), x)
    for kernel in (rbf_kernel, polynomial_kernel):
        with raises(ValueError, "expected points with the same number of features, got 2 and 3"):
            kernel(x, torch.zeros(1, 3))
    for gamma in (0.0, -1.0, math.inf, math.nan):
        with raises(ValueError, f"expected gamma to be positive and finite, got {gamma}"):
            rbf_kernel(x, x, gamma)
        with raises(ValueError, f"expected gamma to be positive and finite, got {gamma}"):
            rbf_features(x, gamma, 3)
    with raises(ValueError, "expected a degree of at least 1, got 0"):
        polynomial_kernel(x, x, 0)
    with raises(ValueError, "expected an offset of at least 0, got -1.0"):
        polynomial_kernel(x, x, 2, -1.0)
    with raises(ValueError, "expected num_features of at least 1, got 0"):
        rbf_features(x, 1.0, 0)
    with raises(ValueError, "expected x with a last axis of features, got shape ()"):
        quadratic_features(torch.tensor(1.0))
    with raises(TypeError, "expected x to be of floating type, got torch.int64"):
        quadratic_features(x.long())
    with raises(TypeError, "expected x to be of floating type, got torch.int64"):
        rbf_features(x.long(), 1.0, 2)
