"""The exercises of the chapter on mathematical tools, in the order of its exercise page."""

import torch
from torch import Tensor

from chainrule.checks._record import Exercise, Mistake, Output

__all__ = ["EXERCISES"]

CHAPTER = "mathematical-tools"


def _vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _whole(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def _between(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# broadcast_shape: implement


def _broadcast_shape(a: list[int], b: list[int]) -> list[int]:
    try:
        return list(torch.broadcast_shapes(a, b))
    except RuntimeError:
        return [-1]


def _fit(a: list[int], b: list[int], *, left: bool = False, strict: bool = True, ones: bool = True) -> list[int]:
    """The rule of broadcasting with a part of it wrong: aligned at the left, without an error, or without the ones."""
    axes = max(len(a), len(b))
    pad_a, pad_b = [1] * (axes - len(a)), [1] * (axes - len(b))
    pairs = list(zip(a + pad_a if left else pad_a + a, b + pad_b if left else pad_b + b, strict=True))
    if strict and any(i != j and not (ones and 1 in (i, j)) for i, j in pairs):
        return [-1]
    return [max(pair) for pair in pairs]


def _draw_shapes(generator: torch.Generator) -> tuple[list[int], list[int]]:
    shape = [_whole(2, 6, generator) for _ in range(_whole(1, 4, generator))]
    a, b = ([1 if _whole(0, 2, generator) == 0 else size for size in shape] for _ in range(2))
    b = b[_whole(0, len(b), generator) :]
    if _whole(0, 2, generator) == 0:
        a[_whole(0, len(a) - 1, generator)] += 1
    return (a, b) if _whole(0, 1, generator) else (b, a)


broadcast_shape = Exercise(
    name="broadcast_shape",
    chapter=CHAPTER,
    title="The shape of a sum",
    points=3,
    page="mathematical-tools/tensors",
    start="two shapes of equal length, one column at a time; then give the shorter shape ones in front",
    reference=_broadcast_shape,
    output=Output("numbers", "the shape"),
    public=(
        ([4, 3], [4, 3]),
        ([4, 1], [4]),
        ([5, 2, 3], [2, 1]),
        ([4, 3], [4]),
        ([2, 3], []),
        ([2], [2, 5]),
    ),
    draw=_draw_shapes,
    mistakes=(
        Mistake(
            lambda a, b: _fit(a, b, left=True),
            "Shapes are compared from the right: the last axes stand in one column, and the ones are added in front.",
        ),
        Mistake(
            lambda a, b: _fit(a, b, strict=False),
            "Two sizes that differ fit only if one of them is 1. Else the sum is an error, for which we return [-1].",
        ),
        Mistake(
            lambda a, b: _fit(a, b, ones=False),
            "An axis of size 1 fits every size: its single entry is used again and again.",
        ),
        Mistake(
            lambda a, b: _broadcast_shape(a, b) if len(a) == len(b) else [-1],
            "The numbers of axes may differ. A missing axis on the left counts as one of size 1.",
        ),
    ),
    forbidden=(
        "torch.broadcast_shapes",
        "torch.broadcast_tensors",
        "torch.functional.broadcast_shapes",
        "torch.functional.broadcast_tensors",
        "numpy.broadcast_shapes",
        "numpy.broadcast_arrays",
        "numpy.broadcast",
    ),
)

EXERCISES = (broadcast_shape,)
