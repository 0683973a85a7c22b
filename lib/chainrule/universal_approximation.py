r"""Networks with one or two hidden layers that approximate a given function, written down and not trained.

.. math::

    f(x) \approx c + \sum_{i=1}^{n} \alpha_i \,\sigma(w_i x + b_i)

A steep sigmoid is a step, the difference of two steps a bump, and a threshold on the sum of one bump a coordinate is a
tower over a box.

Reference: G. Cybenko, *Approximation by superpositions of a sigmoidal function*, 1989; M. Nielsen, *Neural Networks
and Deep Learning*, chapter 4, 2015.
The book's chapter ``expressivity`` teaches this module.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chainrule._validate import check_tensor

__all__ = ["OneHiddenLayer", "TowerNetwork", "bump", "num_squares", "relu_interpolation", "step_approximation", "tower"]


class OneHiddenLayer(nn.Module):
    r"""A network with one hidden layer whose weights are given.

    .. math:: f(x) = c + \sum_{i=1}^{n} \alpha_i \,\sigma(\langle w_i, x \rangle + b_i)

    Args:
        weight: the rows :math:`w_i`, shape (n, d).
        bias: the :math:`b_i`, shape (n,).
        coefficient: the :math:`\alpha_i`, shape (n,).
        offset: the constant c.
        activation: the function :math:`\sigma`, applied elementwise.

    Returns:
        For inputs of shape "*batch d" one value each, of shape "*batch".

    Raises:
        ValueError: if the shapes do not fit.

    Source: Cybenko 1989.

    >>> step = OneHiddenLayer(torch.tensor([[1e3]]), torch.tensor([-5e2]), torch.tensor([2.0]), 1.0, torch.sigmoid)
    >>> step(torch.tensor([[0.2], [0.8]]))
    tensor([1., 3.])
    """

    def __init__(
        self,
        weight: Float[Tensor, "n d"],
        bias: Float[Tensor, "n"],
        coefficient: Float[Tensor, "n"],
        offset: float,
        activation: Callable[[Tensor], Tensor],
    ):
        super().__init__()
        if weight.dim() != 2 or bias.shape != weight.shape[:1] or coefficient.shape != bias.shape:
            raise ValueError(
                "expected weight (n, d), bias (n,) and coefficient (n,), got "
                f"{tuple(weight.shape)}, {tuple(bias.shape)} and {tuple(coefficient.shape)}"
            )
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("coefficient", coefficient)
        self.offset, self.activation = offset, activation

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Evaluate the network."""
        return self.activation(x @ self.weight.T + self.bias) @ self.coefficient + self.offset


def bump(x: Float[Tensor, "*shape"], left: float, right: float, steepness: float) -> Float[Tensor, "*shape"]:
    r"""The difference of two sigmoids, near 1 between two places and near 0 elsewhere.

    .. math:: \sigma(k (x - a)) - \sigma(k (x - b))

    Args:
        x: where to evaluate.
        left: the place a of the rise.
        right: the place b of the fall, above a.
        steepness: the factor k, positive; for :math:`k \to \infty` the bump becomes the indicator of (a, b).

    Returns:
        The values, in (0, 1).

    Raises:
        ValueError: if right is not above left or the steepness is not positive.

    Source: Nielsen, chapter 4.

    >>> bump(torch.tensor([0.0, 0.5, 1.0]), 0.4, 0.6, 1000.0)
    tensor([0., 1., 0.])
    """
    check_tensor("x", x)
    if not left < right:
        raise ValueError(f"expected left below right, got {left} and {right}")
    _check_positive("steepness", steepness)
    return torch.sigmoid(steepness * (x - left)) - torch.sigmoid(steepness * (x - right))


def tower(
    x: Float[Tensor, "*#batch d"],
    lower: Float[Tensor, "*#batch d"],
    upper: Float[Tensor, "*#batch d"],
    steepness: float,
) -> Float[Tensor, "*batch"]:
    r"""A network with two hidden layers, near 1 in a box and near 0 elsewhere.

    The bumps of the coordinates sum to d in the box and to at most d - 1 outside, so the second layer asks for more
    than d - 1/2.

    .. math:: \sigma\Big(k \Big[\sum_{j=1}^{d} \mathrm{bump}_j(x_j) - (d - \tfrac12)\Big]\Big)

    Args:
        x: points.
        lower: the corner of the box with the least coordinates; both corners broadcast over the points.
        upper: the opposite corner.
        steepness: the factor k of both layers, positive.

    Returns:
        The values, in (0, 1).

    Raises:
        ValueError: if a side of the box is not positive or the steepness is not.

    Source: Nielsen, chapter 4.

    >>> tower(torch.tensor([[0.5, 0.5], [0.5, 0.9]]), torch.tensor([0.4, 0.4]), torch.tensor([0.6, 0.6]), 500.0)
    tensor([1., 0.])
    """
    check_tensor("x", x)
    if not (lower < upper).all():
        raise ValueError(f"expected lower below upper in each coordinate, got {lower.tolist()} and {upper.tolist()}")
    _check_positive("steepness", steepness)
    bumps = torch.sigmoid(steepness * (x - lower)) - torch.sigmoid(steepness * (x - upper))  # (*batch, d)
    return torch.sigmoid(steepness * (bumps.sum(dim=-1) - (x.shape[-1] - 0.5)))


def step_approximation(f: Callable[[Tensor], Tensor], width: int, steepness: float) -> OneHiddenLayer:
    r"""A staircase of sigmoids for a function on [0, 1].

    The interval is cut into `width` + 1 parts. On each the staircase has the value at the part's middle, and at each
    cut a sigmoid climbs to the next value.

    .. math::

        f(m_0) + \sum_{i=1}^{n} \big(f(m_i) - f(m_{i-1})\big)\,\sigma\Big(k \Big(x - \frac{i}{n+1}\Big)\Big), \qquad
        m_i = \frac{2i + 1}{2(n + 1)}

    With steps instead of sigmoids the error is at most L / (2 (n + 1)) for an L-Lipschitz function.

    Args:
        f: the function, from a tensor of places to the tensor of its values.
        width: the number n of hidden units, at least 1.
        steepness: the factor k, positive.

    Returns:
        The network, in float64.

    Raises:
        ValueError: if the width is below 1 or the steepness is not positive.

    Source: Cybenko 1989, for the theorem that this construction shows in one dimension.

    >>> network = step_approximation(torch.sin, width=99, steepness=1e5)
    >>> x = torch.linspace(0, 1, 1000, dtype=torch.float64)
    >>> bool((network(x[:, None]) - x.sin()).abs().max() < 0.0051)
    True
    """
    if width < 1:
        raise ValueError(f"expected width to be at least 1, got {width}")
    _check_positive("steepness", steepness)
    middles = (torch.arange(width + 1, dtype=torch.float64) + 0.5) / (width + 1)
    cuts = torch.arange(1, width + 1, dtype=torch.float64) / (width + 1)
    values = f(middles)
    weight = torch.full((width, 1), steepness, dtype=torch.float64)
    return OneHiddenLayer(weight, -steepness * cuts, values.diff(), values[0].item(), torch.sigmoid)


def relu_interpolation(knots: Float[Tensor, "n"], values: Float[Tensor, "n"]) -> OneHiddenLayer:
    r"""The ReLU network that goes straight from each of some points to the next.

    .. math::

        y_1 + \sum_{i=1}^{n-1} (s_i - s_{i-1})\,\mathrm{ReLU}(x - x_i), \qquad
        s_i = \frac{y_{i+1} - y_i}{x_{i+1} - x_i}, \quad s_0 = 0

    Args:
        knots: the places x, increasing, at least two.
        values: the values y there.

    Returns:
        The network, with n - 1 hidden units. Left of the first knot it is constant, right of the last it goes on with
        the last slope.

    Raises:
        ValueError: if there are fewer than two knots, they do not increase, or the sizes differ.

    Source: Arora, Basu, Mianjy and Mukherjee, 2018, theorem 2.2.

    >>> hat = relu_interpolation(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 1.0, 0.0]))
    >>> hat(torch.tensor([[0.25], [0.5], [0.75]]))
    tensor([0.5000, 1.0000, 0.5000])
    """
    check_tensor("knots", knots)
    if len(knots) < 2 or knots.shape != values.shape or not (knots.diff() > 0).all():
        raise ValueError(
            "expected at least two increasing knots and as many values, got "
            f"{tuple(knots.shape)} and {tuple(values.shape)}"
        )
    slopes = values.diff() / knots.diff()
    bends = torch.cat([slopes[:1], slopes.diff()])
    return OneHiddenLayer(torch.ones_like(knots[:-1, None]), -knots[:-1], bends, values[0].item(), torch.relu)


class TowerNetwork(nn.Module):
    r"""A checkerboard of towers for a function on the unit square.

    .. math:: f(x) \approx \sum_{i,j=1}^{K} f(m_{ij})\,\mathrm{tower}_{ij}(x)

    Args:
        f: the function, from points of shape (n, 2) to n values; it is asked at the middles of the squares.
        num_squares: the number K of squares along a side, at least 1.
        steepness: the factor of the sigmoids; several times K, for the edges take up 1 / steepness.

    Returns:
        For inputs of shape "m 2" one value each, of shape "m".

    Raises:
        ValueError: if there is no square or the steepness is not positive.

    Source: Nielsen, chapter 4.

    >>> network = TowerNetwork(lambda x: x.sum(dim=1), num_squares=4, steepness=1e4)
    >>> network(torch.tensor([[0.1, 0.9]], dtype=torch.float64))
    tensor([1.], dtype=torch.float64)
    """

    def __init__(self, f: Callable[[Tensor], Tensor], num_squares: int, steepness: float):
        super().__init__()
        if num_squares < 1:
            raise ValueError(f"expected num_squares to be at least 1, got {num_squares}")
        _check_positive("steepness", steepness)
        edges = torch.arange(num_squares, dtype=torch.float64) / num_squares
        lower = torch.cartesian_prod(edges, edges).reshape(-1, 2)
        # The outermost edges lie far outside, so that the border of the unit square is inside a square.
        upper = lower + 1 / num_squares
        self.register_buffer("heights", f((lower + upper) / 2))
        self.register_buffer("lower", torch.where(lower == 0, -1.0, lower))
        self.register_buffer("upper", torch.where(upper > 1 - 0.5 / num_squares, 2.0, upper))
        self.steepness = steepness

    def forward(self, x: Float[Tensor, "m 2"]) -> Float[Tensor, "m"]:
        """Evaluate the network."""
        return tower(x.unsqueeze(1), self.lower, self.upper, self.steepness) @ self.heights


def num_squares(lipschitz: float, error: float) -> int:
    r"""How many squares along a side suffice for towers of the middles' heights on the unit square.

    Within a square no point is farther than :math:`\sqrt2 / (2K)` from the middle, so that an L-Lipschitz function
    (in the Euclidean norm) moves by at most :math:`L / (\sqrt2 K)`.

    .. math:: K = \Big\lceil \frac{L}{\sqrt2\,\varepsilon} \Big\rceil

    Args:
        lipschitz: the constant L, positive.
        error: the largest error :math:`\varepsilon` that is allowed, positive.

    Returns:
        The least K for which the bound gives at most the error; none smaller serves every such function.

    Raises:
        ValueError: if an argument is not finite and positive.

    Source: the bound is proved on the book's page on towers.

    >>> num_squares(2.0, 0.1)
    15
    """
    _check_positive("lipschitz", lipschitz)
    _check_positive("error", error)
    return math.ceil(lipschitz / (math.sqrt(2) * error))


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"expected {name} to be finite and positive, got {value}")
