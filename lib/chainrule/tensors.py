r"""Two helpers for work with tensors: say what shapes you expect, and find the fastest device at hand.

A wrong shape seldom stops a program. By the rule of broadcasting an axis of size 1 fits any size, so

.. math:: (p_i)_{m \times 1} - (y_j)_{m} = (p_i - y_j)_{m \times m}

is computed without a complaint where :math:`(p_i - y_i)_m` was meant. :func:`check_shapes` states in one line what was
meant, and stops where it is not so.

Reference: C. R. Harris et al., Array programming with NumPy, *Nature* 585 (2020), 357-362, on broadcasting.
The book's chapter ``mathematical-tools`` teaches this module.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["best_device", "check_shapes"]


def check_shapes(shapes: str, *tensors: Tensor) -> dict[str, int]:
    r"""Compare the shapes of tensors with a pattern in which one letter means one size.

    Args:
        shapes: for each tensor the names of its axes, separated by spaces; tensors are separated by commas. A name
            stands for the same size wherever it occurs, a whole number for itself, and ``...`` in front for any number
            of axes that are not compared. Nothing between two commas is the shape of a single number, ().
        tensors: as many tensors as patterns.

    Returns:
        The size that each name stands for.

    Raises:
        ValueError: if a shape differs from its pattern, a name would stand for two sizes, the numbers of patterns and
            tensors differ, or ``...`` is not in front.

    Source: the shape strings of einsum (A. Einstein, Annalen der Physik 354, 1916, section 5: one letter, one index).

    >>> check_shapes("m d, d, m", torch.zeros(5, 3), torch.zeros(3), torch.zeros(5))
    {'m': 5, 'd': 3}
    >>> check_shapes("m, m", torch.zeros(5, 1).squeeze(), torch.zeros(5, 1))
    Traceback (most recent call last):
    ValueError: expected tensor 2 of shape (m) with m=5, got (5, 1)
    """
    patterns = [pattern.split() for pattern in shapes.split(",")]
    if len(patterns) != len(tensors):
        raise ValueError(f"expected as many tensors as patterns, {len(patterns)}, got {len(tensors)}")
    sizes: dict[str, int] = {}
    for number, (pattern, tensor) in enumerate(zip(patterns, tensors, strict=True), 1):
        if "..." in pattern[1:]:
            raise ValueError(f"expected ... in front only, got {' '.join(pattern)!r}")
        names = pattern[1:] if pattern[:1] == ["..."] else pattern
        shape = tuple(tensor.shape)
        last = shape[len(shape) - len(names) :] if len(shape) > len(names) and len(names) < len(pattern) else shape
        fits = len(last) == len(names)
        # A name seen for the first time takes the size it meets; after that the two must agree.
        for name, size in zip(names, last, strict=False):
            wanted = int(name) if name.isdigit() else sizes.get(name, size)
            fits &= size == wanted
        if not fits:
            known = ", ".join(f"{name}={sizes[name]}" for name in dict.fromkeys(names) if name in sizes)
            where = f" with {known}" if known else ""
            raise ValueError(f"expected tensor {number} of shape ({' '.join(pattern)}){where}, got {shape}")
        for name, size in zip(names, last, strict=True):
            if not name.isdigit() and sizes.setdefault(name, size) != size:  # a letter that occurs twice in one pattern
                meant = " ".join(pattern)
                raise ValueError(f"expected tensor {number} of shape ({meant}) with one {name}, got {shape}")
    return sizes


def best_device(order: Sequence[str] = ("cuda", "mps", "cpu")) -> torch.device:
    r"""The first kind of device, in order of preference, that this machine offers.

    Args:
        order: kinds to look for: ``cuda`` (an NVIDIA or AMD GPU), ``mps`` (an Apple GPU), ``cpu`` (the processor).

    Returns:
        The device; by default a GPU where there is one, and else the processor.

    Raises:
        ValueError: if the machine offers none of them, or a kind is unknown.

    Source: the documentation of ``torch.cuda.is_available`` and ``torch.backends.mps.is_available``.

    >>> best_device(["cpu"])
    device(type='cpu')
    """
    found = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available, "cpu": lambda: True}
    for kind in order:
        if kind not in found:
            raise ValueError(f"expected a kind of device among {', '.join(found)}, got {kind!r}")
        if found[kind]():
            return torch.device(kind)
    raise ValueError(f"expected one of {', '.join(order)} on this machine, got none")
