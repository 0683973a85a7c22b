r"""Piecewise linear functions of one variable in exact arithmetic, and the ReLU networks that compute them.

A ReLU network with one input is piecewise linear, and conversely. Its pieces can be counted without any tolerance,
because a floating-point number is a fraction, and sums, products and the ReLU of fractions are fractions.

.. math::

    f(x) = s_- x + c + \sum_{j=1}^{n} a_j \,\mathrm{ReLU}(x - t_j), \qquad t_1 < \dots < t_n, \quad a_j \ne 0

has n + 1 pieces. A network is a list of layers (W, b) with ReLU after all of them but the last.

Reference: M. Telgarsky, *Benefits of depth in neural networks*, Conference on Learning Theory 2016.
The book's chapter ``expressivity`` teaches this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from jaxtyping import Float
from torch import Tensor

from chainrule._validate import check_tensor

__all__ = [
    "PiecewiseLinear",
    "deep_to_shallow",
    "hat_network",
    "network_function",
    "num_neurons",
    "relu_network",
    "shallow_network",
    "shallow_to_deep",
]

Layers = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class PiecewiseLinear:
    r"""A continuous piecewise linear function of one variable, in lowest terms.

    .. math:: f(x) = s_- x + c + \sum_j a_j \,\mathrm{ReLU}(x - t_j)

    Args:
        slope: the slope :math:`s_-` left of all bends.
        offset: the constant c.
        bends: pairs (t, a) of a place and the change of slope there. They are sorted, those at one place are added up,
            and changes of 0 are dropped, so that equal functions have equal fields.

    Returns:
        The function; its values are exact fractions, and functions can be added, scaled, and composed.

    Raises:
        ValueError: if a number is not finite.

    Source: Telgarsky, section 2.

    >>> hat = PiecewiseLinear(0, 0, [(0, 2), (0.5, -4), (1, 2)])
    >>> hat.num_pieces, hat(Fraction(1, 4)), hat.compose(hat).num_pieces
    (4, Fraction(1, 2), 6)
    """

    slope: Fraction | float
    offset: Fraction | float
    bends: Sequence[tuple[Fraction | float, Fraction | float]] = ()

    def __post_init__(self) -> None:
        changes: dict[Fraction, Fraction] = {}
        for place, change in self.bends:
            place = _fraction(place)
            changes[place] = changes.get(place, Fraction(0)) + _fraction(change)
        kept = tuple(sorted((place, change) for place, change in changes.items() if change))
        object.__setattr__(self, "slope", _fraction(self.slope))
        object.__setattr__(self, "offset", _fraction(self.offset))
        object.__setattr__(self, "bends", kept)

    @property
    def num_pieces(self) -> int:
        """The number of maximal intervals on which the function is affine."""
        return len(self.bends) + 1

    def __call__(self, x: Fraction | float) -> Fraction:
        """The exact value at a number."""
        x = _fraction(x)
        return self.slope * x + self.offset + sum(a * (x - t) for t, a in self.bends if x > t)

    def __add__(self, other: PiecewiseLinear) -> PiecewiseLinear:
        return PiecewiseLinear(self.slope + other.slope, self.offset + other.offset, self.bends + other.bends)

    def scale(self, factor: Fraction | float) -> PiecewiseLinear:
        """The function times a number."""
        factor = _fraction(factor)
        bends = [(t, factor * a) for t, a in self.bends]
        return PiecewiseLinear(factor * self.slope, factor * self.offset, bends)

    def preimages(self, value: Fraction | float) -> tuple[Fraction, ...]:
        """Every place where the function crosses or touches a value with a slope that is not 0 on one side, sorted."""
        value = _fraction(value)
        found = set()
        for left, right, slope in self._pieces():
            if slope == 0:
                continue
            anchor = right if left is None else left
            anchor = Fraction(0) if anchor is None else anchor
            place = anchor + (value - self(anchor)) / slope
            if (left is None or place >= left) and (right is None or place <= right):
                found.add(place)
        return tuple(sorted(found))

    def relu(self) -> PiecewiseLinear:
        """The function's positive part, max(0, f)."""
        return PiecewiseLinear(0, 0, [(0, 1)]).compose(self)

    def compose(self, inner: PiecewiseLinear) -> PiecewiseLinear:
        """The function of another one, x -> self(inner(x)).

        Bends can arise only where the inner function bends, and where it reaches a bend of the outer one.
        """
        places = {t for t, _ in inner.bends}
        for t, _ in self.bends:
            places |= set(inner.preimages(t))
        return _through(lambda x: self(inner(x)), sorted(places))

    def _pieces(self) -> list[tuple[Fraction | None, Fraction | None, Fraction]]:
        """Left end, right end (None where there is none) and slope of each piece."""
        ends = [None, *(t for t, _ in self.bends), None]
        slopes = [self.slope]
        for _, change in self.bends:
            slopes.append(slopes[-1] + change)
        return list(zip(ends[:-1], ends[1:], slopes, strict=True))


def _fraction(x: Fraction | float) -> Fraction:
    if isinstance(x, float) and not abs(x) < float("inf"):
        raise ValueError(f"expected finite numbers, got {x}")
    return Fraction(x)


def _through(f, places: list[Fraction]) -> PiecewiseLinear:
    """The piecewise linear function that bends at most at these places, from its values."""
    if not places:
        return PiecewiseLinear(f(Fraction(1)) - f(Fraction(0)), f(Fraction(0)))
    knots = [places[0] - 1, *places, places[-1] + 1]
    values = [f(x) for x in knots]
    slopes = [(b - a) / (y - x) for x, y, a, b in zip(knots, knots[1:], values, values[1:], strict=False)]
    bends = [(t, after - before) for t, before, after in zip(places, slopes, slopes[1:], strict=False)]
    return PiecewiseLinear(slopes[0], values[0] - slopes[0] * knots[0], bends)


def relu_network(layers: Layers, x: Float[Tensor, "m d"]) -> Float[Tensor, "m k"]:
    r"""Evaluate a network with ReLU between its layers.

    .. math:: f(x) = W^{(L)} \,\mathrm{ReLU}\big(\cdots \mathrm{ReLU}(W^{(1)} x + b^{(1)}) \cdots\big) + b^{(L)}

    Args:
        layers: pairs (W, b) of a weight matrix and a bias vector; no ReLU follows the last.
        x: one input a row.

    Returns:
        One output a row.

    Raises:
        ValueError: if there is no layer or the sizes do not fit.

    Source: Goodfellow, Bengio and Courville, section 6.1.

    >>> relu_network(hat_network(1), torch.tensor([[0.0], [0.25], [0.5], [1.0]])).squeeze(1)
    tensor([0.0000, 0.5000, 1.0000, 0.0000])
    """
    check_tensor("x", x)
    _check_layers(layers, x.shape[-1])
    for weight, bias in layers[:-1]:
        x = torch.relu(x @ weight.to(x).T + bias.to(x))
    weight, bias = layers[-1]
    return x @ weight.to(x).T + bias.to(x)


def network_function(layers: Layers) -> PiecewiseLinear:
    """The exact function that a ReLU network with one input and one output computes.

    Args:
        layers: as for :func:`relu_network`, the first with one column, the last with one row.

    Returns:
        The function, with its bends in exact arithmetic.

    Raises:
        ValueError: if the network has more than one input or output, the sizes do not fit, or a number is not finite.

    Source: Telgarsky, section 2.

    >>> network_function(hat_network(3)).num_pieces
    10
    """
    _check_layers(layers, 1)
    if len(layers[-1][1]) != 1:
        raise ValueError(f"expected a network with one output, got {len(layers[-1][1])}")
    values = [PiecewiseLinear(1, 0)]
    for depth, (weight, bias) in enumerate(layers):
        after = []
        for row, constant in zip(weight.tolist(), bias.tolist(), strict=True):
            total = PiecewiseLinear(0, constant)
            for factor, value in zip(row, values, strict=True):
                total = total + value.scale(factor)
            after.append(total if depth == len(layers) - 1 else total.relu())
        values = after
    return values[0]


def hat_network(depth: int) -> list[tuple[Tensor, Tensor]]:
    r"""The hat function composed with itself, two neurons a layer.

    On [0, 1] the hat is :math:`h(x) = 2\,\mathrm{ReLU}(x) - 4\,\mathrm{ReLU}(x - \tfrac12)`, and its values stay there,
    so that two neurons suffice for each further hat. Outside [0, 1] the network is not a hat but goes on downwards.

    Args:
        depth: how many hats are composed, at least 1.

    Returns:
        The layers, float64: `depth` hidden layers of two neurons and the output.

    Raises:
        ValueError: if the depth is below 1.

    Source: Telgarsky, section 2.

    >>> [tuple(weight.shape) for weight, _ in hat_network(2)]
    [(2, 1), (2, 2), (1, 2)]
    """
    if depth < 1:
        raise ValueError(f"expected depth to be at least 1, got {depth}")
    first = torch.ones(2, 1, dtype=torch.float64)
    bias = torch.tensor([0.0, -0.5], dtype=torch.float64)
    tooth = torch.tensor([[2.0, -4.0]], dtype=torch.float64)
    inner = [(first @ tooth, bias) for _ in range(depth - 1)]
    return [(first, bias), *inner, (tooth, torch.zeros(1, dtype=torch.float64))]


def shallow_network(f: PiecewiseLinear) -> list[tuple[Tensor, Tensor]]:
    r"""A network with one hidden layer that computes a piecewise linear function on the whole line.

    The straight part :math:`s_- x` takes two neurons, :math:`s_-(\mathrm{ReLU}(x) - \mathrm{ReLU}(-x))`, where it is
    not 0, and each bend takes one.

    Args:
        f: the function.

    Returns:
        Two layers, float64; exact as far as the bends and slopes are float64 numbers.

    Raises:
        OverflowError: if a number is beyond float64.

    Source: Arora, Basu, Mianjy and Mukherjee, *Understanding deep neural networks with rectified linear units*, 2018.

    >>> num_neurons(shallow_network(PiecewiseLinear(0, 0, [(0, 2), (0.5, -4), (1, 2)])))
    3
    """
    units = [(1.0, -float(t), float(a)) for t, a in f.bends]
    if f.slope or not units:
        units += [(1.0, 0.0, float(f.slope)), (-1.0, 0.0, -float(f.slope))]
    weight, bias, out = torch.tensor(units, dtype=torch.float64).T
    return [(weight.unsqueeze(1), bias), (out.unsqueeze(0), torch.tensor([float(f.offset)], dtype=torch.float64))]


def deep_to_shallow(layers: Layers) -> list[tuple[Tensor, Tensor]]:
    r"""A network with one hidden layer that computes what a deep one with one input and one output does.

    Args:
        layers: the deep network.

    Returns:
        Two layers, with a neuron for each bend of the function, of which a network of L layers may have exponentially
        many in L.

    Raises:
        ValueError: as :func:`network_function`.

    Source: Arora and others, 2018, theorem 2.2.

    >>> num_neurons(hat_network(4)), num_neurons(deep_to_shallow(hat_network(4)))
    (8, 17)
    """
    return shallow_network(network_function(layers))


def shallow_to_deep(layers: Layers, bound: float) -> list[tuple[Tensor, Tensor]]:
    r"""A deep and narrow network that computes what a shallow one does, for inputs in [-bound, bound].

    Each neuron of the shallow network becomes a layer. Beside it one neuron carries the input on, as
    :math:`\mathrm{ReLU}(x + B)`, from which the next layer takes the B off again, and one accumulates the terms with
    positive coefficients. A fourth, for those with negative coefficients, is there only if one is needed.

    Args:
        layers: one hidden layer, one input and one output.
        bound: the size B of the largest input, positive.

    Returns:
        The layers: as many hidden ones as the shallow network had neurons, with three or four neurons each, and the
        output. Their sum is the same, term by term, up to rounding.

    Raises:
        ValueError: if the network has not exactly one hidden layer, one input and one output, or the bound is not
            finite and positive.

    Source: Hanin and Sellke, *Approximating continuous functions by ReLU nets of minimal width*, 2017.

    >>> shallow = shallow_network(PiecewiseLinear(0, 0, [(0, 2), (0.5, -4), (1, 2)]))
    >>> relu_network(shallow_to_deep(shallow, 3.0), torch.tensor([[0.25]], dtype=torch.float64)).item()
    0.5
    """
    _check_layers(layers, 1)
    if len(layers) != 2 or len(layers[1][1]) != 1:
        raise ValueError(f"expected one hidden layer and one output, got {len(layers)} layers")
    if not 0 < bound < float("inf"):
        raise ValueError(f"expected bound to be finite and positive, got {bound}")
    (weight, bias), (out, offset) = ((matrix.double(), vector.double()) for matrix, vector in layers)
    weight, out = weight[:, 0], out[0]
    width = 4 if (out < 0).any() else 3
    deep = []
    for j in range(len(weight)):
        # From (carried, unit, plus, minus) of the layer before; in the first layer only the input itself is there.
        matrix, vector = torch.zeros(width, width if j else 1, dtype=torch.float64), torch.zeros(width).double()
        shift = bound if j else 0.0  # carried = x + bound from the second layer on, and x >= -bound
        matrix[0, 0], vector[0] = 1.0, bound - shift
        matrix[1, 0], vector[1] = weight[j], bias[j] - weight[j] * shift
        if j:
            _accumulate(matrix, out[j - 1])
        deep.append((matrix, vector))
    row = torch.zeros(1, width, dtype=torch.float64)
    row[0, 1], row[0, 2:] = out[-1], torch.tensor([1.0, -1.0][: width - 2]).double()
    return [*deep, (row, offset.clone())]


def _accumulate(matrix: Tensor, coefficient: Tensor) -> None:
    """Let row 2 keep the sum of the positive terms and row 3 that of the negative ones, both without their signs."""
    matrix[2, 2] = 1.0
    if len(matrix) == 4:
        matrix[3, 3] = 1.0
    matrix[2 if coefficient >= 0 else 3, 1] = coefficient.abs()


def num_neurons(layers: Layers) -> int:
    """The number of hidden neurons of a network.

    Args:
        layers: pairs (W, b); the last is the output and does not count.

    Returns:
        The number.

    Raises:
        ValueError: if there is no layer.

    Source: Telgarsky, section 1.

    >>> num_neurons(hat_network(5))
    10
    """
    if not layers:
        raise ValueError("expected at least one layer, got none")
    return sum(len(bias) for _, bias in layers[:-1])


def _check_layers(layers: Layers, num_inputs: int) -> None:
    if not layers:
        raise ValueError("expected at least one layer, got none")
    for number, (weight, bias) in enumerate(layers, 1):
        if weight.dim() != 2 or weight.shape != (len(bias), num_inputs):
            raise ValueError(
                f"expected layer {number} to have weights of shape ({len(bias)}, {num_inputs}), "
                f"got {tuple(weight.shape)}"
            )
        num_inputs = len(bias)
