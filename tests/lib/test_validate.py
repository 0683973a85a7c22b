"""The checks at the public edge: what they let pass, what they refuse, and in which words."""

import math

import pytest
import torch

from chainrule._validate import (
    check_base,
    check_distribution,
    check_finite,
    check_positive,
    check_same_outcomes,
    check_tensor,
)

from .reference import raises


def test_types_of_tensors():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        check_tensor("x", torch.zeros(2, dtype=dtype))
        with raises(TypeError, f"expected x to be of integer type, got {dtype}"):
            check_tensor("x", torch.zeros(2, dtype=dtype), integer=True)
    for dtype in (torch.uint8, torch.int16, torch.int64):
        check_tensor("x", torch.zeros(2, dtype=dtype), integer=True)
        with raises(TypeError, f"expected x to be of floating type, got {dtype}"):
            check_tensor("x", torch.zeros(2, dtype=dtype))
    for dtype in (torch.bool, torch.complex64):
        with raises(TypeError, f"expected y to be of floating type, got {dtype}"):
            check_tensor("y", torch.zeros(2, dtype=dtype))
        with raises(TypeError, f"expected y to be of integer type, got {dtype}"):
            check_tensor("y", torch.zeros(2, dtype=dtype), integer=True)
    with raises(TypeError, "expected x to be a torch.Tensor of floating type, got a float"):
        check_tensor("x", 0.5)
    with raises(TypeError, "expected x to be a torch.Tensor of integer type, got a list"):
        check_tensor("x", [1], integer=True)


def test_bases():
    for base in (2, math.e, 10, 256, 1 + 1e-9, 1e300):
        check_base(base)
    for base in (1, 0.5, 0, -2, math.inf, math.nan):
        with raises(ValueError, f"expected base to be a finite number above 1, got {base}"):
            check_base(base)


def test_finite_and_positive_numbers():
    check_finite("x", torch.tensor([-1.0, 0.0, 3e38]))
    check_finite("x", torch.tensor([]))
    check_positive("x", torch.tensor([1e-45, 3e38]))
    check_positive("x", torch.tensor([]))
    for check in (check_finite, check_positive):
        with raises(ValueError, "expected x to be finite, got -inf"):
            check("x", torch.tensor([[1.0, -math.inf], [math.nan, 2.0]]))
        with raises(ValueError, "expected x to be finite, got nan"):
            check("x", torch.tensor(math.nan))
    with raises(ValueError, "expected x to be positive, got -2.0"):
        check_positive("x", torch.tensor([0.0, -2.0, 1.0]))
    with raises(ValueError, "expected x to be positive, got 0.0"):
        check_positive("x", torch.tensor(0.0))


def test_distributions_that_pass(device, dtype):
    check_distribution("p", torch.tensor([0.25, 0.75, 0.0], dtype=dtype, device=device))
    check_distribution("p", torch.ones(2, 3, 1, dtype=dtype, device=device))
    check_distribution("p", torch.ones(0, 1, dtype=dtype, device=device))
    check_distribution("p", torch.full((2, 2, 2), 0.25, dtype=dtype, device=device), num_dims=2)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2**-11.5), (torch.float64, 1e-6), (torch.bfloat16, 2**-3.5)]
)
def test_tolerance_of_the_sum_follows_the_type(dtype, tolerance):
    for sign in (-1, 1):
        check_distribution("p", torch.tensor([1 + sign * 0.9 * tolerance], dtype=dtype))
        with pytest.raises(ValueError, match="expected p to sum to 1, got a sum of"):
            check_distribution("p", torch.tensor([1 + sign * 1.1 * tolerance], dtype=dtype))


@pytest.mark.parametrize(
    ("p", "message"),
    [
        ([0.5, 0.25], "expected p to sum to 1, got a sum of 0.75"),
        ([[1.0, 0.25], [1.0, 0.0], [0.25, 0.0]], "expected p to sum to 1, got a sum of 0.25"),  # the worst of three
        ([], "expected p to sum to 1, got a sum of 0.0"),
        ([1.5, -0.5], "expected p to be non-negative, got -0.5"),
        ([0.5, math.nan], "expected p to be finite, got nan"),
        ([0.5, math.inf], "expected p to be finite, got inf"),
        (1.0, "expected p to have at least 1 dimension(s), got shape ()"),
    ],
)
def test_distributions_that_do_not(p, message):
    with raises(ValueError, message):
        check_distribution("p", torch.tensor(p))


def test_joint_distributions_that_do_not():
    with raises(ValueError, "expected joint to have at least 2 dimension(s), got shape (2,)"):
        check_distribution("joint", torch.tensor([0.5, 0.5]), num_dims=2)
    with raises(ValueError, "expected joint to sum to 1, got a sum of 2.0"):
        check_distribution("joint", torch.full((2, 2), 0.5), num_dims=2)
    with raises(TypeError, "expected p to be of floating type, got torch.int64"):
        check_distribution("p", torch.tensor([1]))


def test_outcomes_of_two_distributions():
    check_same_outcomes(torch.ones(3, 1, 2), torch.ones(4, 2))
    with raises(ValueError, "expected p and q over the same outcomes, got 2 and 1"):
        check_same_outcomes(torch.ones(3, 2), torch.ones(3, 1))
    with raises(ValueError, "expected batch shapes that broadcast, got (3,) and (4,)"):
        check_same_outcomes(torch.ones(3, 2), torch.ones(4, 2))
