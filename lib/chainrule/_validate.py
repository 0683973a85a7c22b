"""Checks at the public edge of the library: each raises before any harm, naming what was expected and what came.

Private to the library. The messages are part of its behaviour and are tested.
"""

import math

import torch
from torch import Tensor

__all__ = ["check_base", "check_distribution", "check_finite", "check_positive", "check_same_outcomes", "check_tensor"]


def check_tensor(name: str, value: object, *, integer: bool = False) -> None:
    """Raise TypeError unless ``value`` is a tensor of floating (or integer) type."""
    kind = "integer" if integer else "floating"
    if not isinstance(value, Tensor):
        raise TypeError(f"expected {name} to be a torch.Tensor of {kind} type, got a {type(value).__name__}")
    is_integer = not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    if not (is_integer if integer else value.is_floating_point()):
        raise TypeError(f"expected {name} to be of {kind} type, got {value.dtype}")


def check_base(base: float) -> None:
    """Raise ValueError unless ``base`` can be the base of a logarithm that measures information."""
    if not 1 < base < math.inf:
        raise ValueError(f"expected base to be a finite number above 1, got {base}")


def check_finite(name: str, value: Tensor) -> None:
    """Raise ValueError if ``value`` holds an infinity or a NaN."""
    bad = ~torch.isfinite(value)
    if bad.any():
        raise ValueError(f"expected {name} to be finite, got {value[bad][0].item()}")


def check_positive(name: str, value: Tensor) -> None:
    """Raise ValueError unless every element is finite and above zero."""
    check_finite(name, value)
    if (value <= 0).any():
        raise ValueError(f"expected {name} to be positive, got {value.min().item()}")


def check_distribution(name: str, p: Tensor, *, num_dims: int = 1) -> None:
    """Raise unless the last ``num_dims`` dimensions of ``p`` hold probability distributions.

    The sum may miss 1 by the square root of the type's machine epsilon (3.5e-4 for float32), and by 1e-6 at least, so
    that a float32 distribution converted to float64 stays one.
    """
    check_tensor(name, p)
    if p.dim() < num_dims:
        raise ValueError(f"expected {name} to have at least {num_dims} dimension(s), got shape {tuple(p.shape)}")
    total = p.sum(dim=tuple(range(-num_dims, 0)))
    error = (total - 1).abs()
    tolerance = max(torch.finfo(p.dtype).eps ** 0.5, 1e-6)
    if ((p >= 0).all() & (error <= tolerance).all()).item():  # one look at the device; false for inf and NaN too
        return
    check_finite(name, p)
    if (p < 0).any():
        raise ValueError(f"expected {name} to be non-negative, got {p.min().item()}")
    raise ValueError(f"expected {name} to sum to 1, got a sum of {total.flatten()[error.argmax()].item()}")


def check_same_outcomes(p: Tensor, q: Tensor) -> None:
    """Raise ValueError unless ``p`` and ``q`` have the same outcomes and batch shapes that broadcast."""
    if p.shape[-1] != q.shape[-1]:
        raise ValueError(f"expected p and q over the same outcomes, got {p.shape[-1]} and {q.shape[-1]}")
    if p.dim() == 1 or q.dim() == 1 or p.shape == q.shape:
        return  # the common cases; torch's own check is slow, and imports a computer algebra system at its first call
    try:
        torch.broadcast_shapes(p.shape, q.shape)
    except RuntimeError:
        message = f"expected batch shapes that broadcast, got {tuple(p.shape[:-1])} and {tuple(q.shape[:-1])}"
        raise ValueError(message) from None
