"""Norms, angles and orthogonal matrices against torch, SciPy and NumPy, and at the edges of floating point."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from chainrule.linear_algebra import (
    angle,
    cosine_similarity,
    euclidean_norm,
    frobenius_norm,
    gram_schmidt,
    orthogonality_error,
    random_orthogonal,
    rotation_matrix,
    spectral_norm,
)

from .reference import raises

F64 = torch.float64
vectors = st.lists(st.floats(-100, 100), min_size=3, max_size=3).map(lambda v: torch.tensor(v, dtype=F64))
directions = vectors.filter(lambda v: v.norm() > 1e-3)


# Norms


def test_norms_agree_with_torch(generator, device, dtype):
    x = torch.randn(2, 4, 5, generator=generator).to(device, dtype)
    for result, expected in (
        (euclidean_norm(x), x.norm(dim=-1)),
        (frobenius_norm(x), torch.linalg.matrix_norm(x)),
        (spectral_norm(x), torch.linalg.matrix_norm(x, 2)),
    ):
        assert result.dtype == dtype and result.device.type == device.type
        assert_close(result, expected)
    assert_close(frobenius_norm(x).square(), torch.linalg.svdvals(x).square().sum(dim=-1))


def test_norms_at_the_edges_of_the_range(dtype):
    info = torch.finfo(dtype)
    for scale in (info.max / 8, info.tiny):
        x = torch.tensor([3.0, -4.0], dtype=dtype) * scale
        assert_close(euclidean_norm(x), torch.tensor(5.0, dtype=dtype) * scale)
        assert_close(frobenius_norm(x.unsqueeze(0)), torch.tensor(5.0, dtype=dtype) * scale)
    assert euclidean_norm(torch.zeros(3, dtype=dtype)) == 0
    assert euclidean_norm(torch.zeros(2, 0, dtype=dtype)).tolist() == [0, 0]
    assert frobenius_norm(torch.zeros(2, 0, dtype=dtype)) == 0
    assert spectral_norm(torch.zeros(0, 2, 2, dtype=dtype)).shape == (0,)
    both = torch.tensor([[3.0, 4.0], [3e-30, 4e-30]], dtype=dtype) * 1e10  # each vector has a scale of its own
    assert_close(euclidean_norm(both), torch.tensor([5e10, 5e-20], dtype=dtype), atol=0, rtol=1e-6)


def test_gradients_of_norms(generator):
    x = torch.randn(3, 4, dtype=F64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(euclidean_norm, x) and torch.autograd.gradcheck(frobenius_norm, x)
    zero = torch.zeros(4, requires_grad=True)
    euclidean_norm(zero).backward()
    assert zero.grad.tolist() == [0, 0, 0, 0]


@given(vectors, vectors, st.floats(-10, 10))
def test_norm_is_a_norm(x, y, c):
    assert euclidean_norm(x + y) <= euclidean_norm(x) + euclidean_norm(y) + 1e-12
    assert_close(euclidean_norm(c * x), abs(c) * euclidean_norm(x))


def test_spectral_norm_bounds_every_stretch(generator):
    m = torch.randn(6, 4, dtype=F64, generator=generator)
    x = torch.randn(1000, 4, dtype=F64, generator=generator)
    stretch = euclidean_norm(x @ m.T) / euclidean_norm(x)
    assert stretch.max() <= spectral_norm(m) < 1.2 * stretch.max()
    assert spectral_norm(m) <= frobenius_norm(m) <= 2 * spectral_norm(m)  # rank 4


# Angles


def test_cosine_agrees_with_torch(generator, device, dtype):
    x = torch.randn(5, 1, 7, generator=generator).to(device, dtype)
    y = torch.randn(3, 7, generator=generator).to(device, dtype)
    result = cosine_similarity(x, y)
    assert result.shape == (5, 3) and result.dtype == dtype and result.device.type == device.type
    assert_close(result, F.cosine_similarity(x, y, dim=-1))
    assert_close(angle(x, y), result.acos())


@given(directions, directions, st.floats(0.01, 100))
def test_angles_are_symmetric_and_ignore_lengths(x, y, c):
    assert_close(angle(x, y), angle(y, x))
    assert_close(angle(c * x, y), angle(x, y))
    assert_close(angle(-x, y), math.pi - angle(x, y), atol=1e-9, rtol=0)
    assert 0 <= angle(x, y) <= math.pi
    assert -1 <= cosine_similarity(x, y) <= 1
    assert_close(cosine_similarity(c * x, y), cosine_similarity(x, y))


def test_small_angles_and_parallel_vectors(generator):
    for size in (1e-3, 1e-6, 1e-12):
        for base in (0.3, 2.0):
            x, y = (torch.tensor([math.cos(t), math.sin(t)], dtype=F64) for t in (base, base + size))
            assert angle(x, y).item() == pytest.approx(size, rel=1e-3)
            assert angle(x, -y).item() == pytest.approx(math.pi - size, abs=1e-15)
    x = torch.randn(2000, 3, generator=generator)
    assert (cosine_similarity(x, 3 * x) <= 1).all() and (cosine_similarity(x, -x) >= -1).all()
    assert (angle(x, 3 * x) < 1e-6).all()
    assert_close(angle(torch.tensor([1e30, 0.0]), torch.tensor([1e-30, 1e-30])), torch.tensor(math.pi / 4))


# Orthogonal matrices


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_rotations_add_up(a, b):
    a, b = torch.tensor(a, dtype=F64), torch.tensor(b, dtype=F64)
    assert_close(rotation_matrix(a) @ rotation_matrix(b), rotation_matrix(a + b))
    assert orthogonality_error(rotation_matrix(a)) < 1e-15


def test_rotation_is_counterclockwise(device, dtype):
    theta = torch.tensor([[0.0, 0.3], [1.0, -2.0]], dtype=dtype, device=device)
    turned = rotation_matrix(theta)
    assert turned.shape == (2, 2, 2, 2) and turned.dtype == dtype and turned.device.type == device.type
    z = torch.polar(torch.ones_like(theta), theta) * (2 + 1j)
    assert_close(turned @ torch.tensor([2.0, 1.0], dtype=dtype, device=device), torch.view_as_real(z))


def test_gram_schmidt_agrees_with_qr(generator, device, dtype):
    for a, b in ((5, 5), (6, 3), (4, 1), (3, 0)):
        matrix = torch.randn(a, b, generator=generator).to(device, dtype)
        result = gram_schmidt(matrix)
        assert result.dtype == dtype and result.device.type == device.type and result.shape == (a, b)
        q, r = torch.linalg.qr(matrix)
        assert_close(result, q * r.diagonal().sign())


def test_gram_schmidt_of_an_ill_conditioned_matrix():
    matrix = torch.tensor(scipy.linalg.hilbert(9))  # condition number 5e11
    assert orthogonality_error(gram_schmidt(matrix)) < 1e-14
    assert orthogonality_error(gram_schmidt(1e-300 * matrix)) < 1e-14


def test_gram_schmidt_refuses_dependent_columns(generator):
    a = torch.randn(4, 2, dtype=F64, generator=generator)
    message = "expected independent columns, but column 2 depends on those before it"
    for third in (a[:, 0] - 2 * a[:, 1], torch.zeros(4, dtype=F64)):
        with raises(ValueError, message):
            gram_schmidt(torch.column_stack([a, third]))
    nearly = torch.column_stack([a, a[:, 0] + 1e-12 * torch.randn(4, dtype=F64, generator=generator)])
    assert orthogonality_error(gram_schmidt(nearly)) < 1e-14


def test_random_orthogonal_matrices_are_orthogonal(device, dtype):
    source = torch.Generator(device).manual_seed(0)
    for d in (1, 2, 7):
        q = random_orthogonal(d, source, dtype=dtype)
        assert q.dtype == dtype and q.device.type == device.type and q.shape == (d, d)
        assert orthogonality_error(q) < 100 * torch.finfo(dtype).eps
    assert random_orthogonal(2, source).dtype == F64
    again = [random_orthogonal(3, torch.Generator(device).manual_seed(5)) for _ in range(2)]
    assert torch.equal(*again)


def test_random_orthogonal_matrices_have_no_preferred_direction():
    source = torch.Generator().manual_seed(1)
    many = torch.stack([random_orthogonal(2, source) for _ in range(400)])
    turn = torch.atan2(many[:, 1, 0], many[:, 0, 0]) / (2 * math.pi) + 0.5
    assert scipy.stats.kstest(turn.numpy(), "uniform").pvalue > 0.01
    assert abs((torch.linalg.det(many) > 0).double().mean() - 0.5) < 0.1
    assert {float(random_orthogonal(1, source)) for _ in range(20)} == {-1.0, 1.0}


def test_orthogonality_error_finds_each_kind_of_failure(device, dtype):
    eye = torch.eye(3, dtype=dtype, device=device)
    assert orthogonality_error(eye) == 0 and orthogonality_error(eye[:, :2]) == 0
    scaled, skewed = eye.clone(), eye.clone()
    scaled[1, 1], skewed[0, 2] = 0.5, -0.25
    assert orthogonality_error(scaled) == 0.75 and orthogonality_error(skewed) == 0.25
    batch = orthogonality_error(torch.stack([eye, scaled, skewed]))
    assert batch.tolist() == [0, 0.75, 0.25] and batch.dtype == dtype and batch.device.type == device.type
    tall = torch.stack([eye, scaled])[:, :, :2]
    assert orthogonality_error(tall).tolist() == [0, 0.75]
    assert orthogonality_error(eye.bfloat16()).dtype == torch.bfloat16
    wide = torch.tensor(np.eye(2, 3))  # orthonormal rows are not orthonormal columns
    assert orthogonality_error(wide) == 1


@pytest.mark.usefixtures("unchecked")
def test_errors():
    ones, nan = torch.ones(3), torch.tensor([1.0, math.nan])
    for function, name in ((frobenius_norm, "matrix"), (spectral_norm, "matrix"), (gram_schmidt, "matrix"),
                           (orthogonality_error, "matrix")):  # fmt: skip
        with raises(ValueError, f"expected {name} to have at least 2 axes, got shape (3,)"):
            function(ones)
        with raises(ValueError, f"expected {name} to be finite, got nan"):
            function(nan.view(2, 1))
        with raises(TypeError, f"expected {name} to be of floating type, got torch.int64"):
            function(torch.ones(2, 2, dtype=torch.long))
    with raises(ValueError, "expected x to have at least 1 axes, got shape ()"):
        euclidean_norm(torch.tensor(1.0))
    with raises(ValueError, "expected x to be finite, got nan"):
        euclidean_norm(nan)
    with raises(ValueError, "expected theta to be finite, got nan"):
        rotation_matrix(nan)
    with raises(TypeError, "expected theta to be of floating type, got torch.int64"):
        rotation_matrix(torch.tensor(1))
    for shape in ((0, 2), (2, 0)):
        with raises(ValueError, f"expected a matrix with at least one entry, got shape {shape}"):
            spectral_norm(torch.zeros(shape))
    with raises(ValueError, "expected a matrix with at least one column, got shape (2, 0)"):
        orthogonality_error(torch.zeros(2, 0))
    with raises(ValueError, "expected a matrix with at least one column, got shape (2, 3, 0)"):
        orthogonality_error(torch.zeros(2, 3, 0))
    assert orthogonality_error(torch.zeros(0, 1)) == 1
    for shape in ((2, 3), (1, 2, 2)):
        with raises(ValueError, f"expected a matrix with at most as many columns as rows, got shape {shape}"):
            gram_schmidt(torch.ones(shape))
    with raises(ValueError, "expected a size of at least 1, got 0"):
        random_orthogonal(0, torch.Generator())
    for function in (cosine_similarity, angle):
        with raises(ValueError, "expected x and y of equal length, got 3 and 2"):
            function(ones, ones[:2])
        with raises(ValueError, "expected x to have a direction, got a vector of zeros"):
            function(0 * ones, ones)
        with raises(ValueError, "expected y to have a direction, got a vector of zeros"):
            function(ones, torch.stack([ones, 0 * ones]))
        with raises(ValueError, "expected x to be finite, got nan"):
            function(nan, ones[:2])
        with raises(ValueError, "expected y to be finite, got nan"):
            function(ones[:2], nan)
        with raises(ValueError, "expected x to have at least 1 axes, got shape ()"):
            function(torch.tensor(1.0), ones)
        with raises(ValueError, "expected y to have at least 1 axes, got shape ()"):
            function(ones, torch.tensor(1.0))
