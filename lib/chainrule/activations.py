r"""Activation functions, their derivatives in closed form, and the units that learn or draw their slopes.

An activation turns the pre-activation z of a neuron into its output. Without it a stack of layers is one affine map.

.. math::

    \sigma(z) = \frac{1}{1 + e^{-z}}, \quad \tanh z = 2\sigma(2z) - 1, \quad \mathrm{ReLU}(z) = \max(0, z), \quad
    \mathrm{ELU}(z) = \begin{cases} z & z > 0 \\ \alpha (e^z - 1) & z \le 0 \end{cases}

Where a function has a kink at 0, its derivative there is the one from the left, as in torch. All functions keep the
device and the type of their input, pass on NaN, and can be differentiated twice.

Reference: I. Goodfellow, Y. Bengio and A. Courville, *Deep Learning*, MIT Press 2016, section 6.3.
The book's chapter ``neural-networks`` teaches this module.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from chainrule._validate import check_tensor

__all__ = [
    "Maxout",
    "PReLU",
    "RReLU",
    "dead_units",
    "derivative",
    "elu",
    "leaky_relu",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]


def sigmoid(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""The logistic function, which turns log-odds into a probability.

    .. math:: \sigma(x) = \frac{1}{1 + e^{-x}} \in (0, 1)

    Args:
        x: any numbers.

    Returns:
        The values, of the shape of ``x``; exact to rounding for every x, so also where they are tiny.

    Raises:
        TypeError: if ``x`` is no floating-point tensor.

    Source: Goodfellow, Bengio and Courville, section 3.10.

    >>> sigmoid(torch.tensor([-1000.0, 0.0, 1000.0]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    check_tensor("x", x)
    # 1 / (1 + exp(-x)) alone overflows inside for x < -88 in float32, and its gradient there is nan (inf / inf).
    right, left = torch.exp(-x.clamp(min=0)), torch.exp(x.clamp(max=0))
    return torch.where(x >= 0, 1 / (1 + right), left / (1 + left))


def tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""The hyperbolic tangent, a sigmoid stretched to be odd.

    .. math:: \tanh(x) = \frac{e^x - e^{-x}}{e^x + e^{-x}} = 2\sigma(2x) - 1 \in (-1, 1)

    Args:
        x: any numbers.

    Returns:
        The values, of the shape of ``x``.

    Raises:
        TypeError: if ``x`` is no floating-point tensor.

    Source: Goodfellow, Bengio and Courville, section 6.3.2.

    >>> tanh(torch.tensor([-1000.0, 0.0, 1000.0]))
    tensor([-1.,  0.,  1.])
    """
    check_tensor("x", x)
    # The quotient of exponentials overflows, and 2 sigmoid(2x) - 1 loses all digits of a small x; expm1 does neither.
    right, left = torch.expm1(-2 * x.clamp(min=0)), torch.expm1(2 * x.clamp(max=0))
    return torch.where(x >= 0, -right / (right + 2), left / (left + 2))


def relu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""The rectified linear unit.

    .. math:: \mathrm{ReLU}(x) = \max(0, x)

    Args:
        x: any numbers.

    Returns:
        The values, of the shape of ``x``. The derivative at 0 is taken to be 0.

    Raises:
        TypeError: if ``x`` is no floating-point tensor.

    Source: V. Nair and G. Hinton, Rectified linear units improve restricted Boltzmann machines, ICML 2010.

    >>> relu(torch.tensor([-2.0, 0.0, 3.0]))
    tensor([0., 0., 3.])
    """
    check_tensor("x", x)
    return torch.where(x <= 0, torch.zeros_like(x), x)


def leaky_relu(x: Float[Tensor, "*shape"], slope: float = 0.01) -> Float[Tensor, "*shape"]:
    r"""A rectified linear unit that lets a little through on the left.

    .. math:: f(x) = \begin{cases} x & x > 0 \\ \alpha x & x \le 0 \end{cases}

    Args:
        x: any numbers.
        slope: the slope :math:`\alpha` on the left; for :math:`\alpha \le 1` the value is :math:`\max(\alpha x, x)`.

    Returns:
        The values, of the shape of ``x``.

    Raises:
        TypeError: if ``x`` is no floating-point tensor.

    Source: A. Maas, A. Hannun and A. Ng, Rectifier nonlinearities improve neural network acoustic models, ICML 2013.

    >>> leaky_relu(torch.tensor([-2.0, 3.0]))
    tensor([-0.0200,  3.0000])
    """
    check_tensor("x", x)
    return torch.where(x > 0, x, slope * x)


def elu(x: Float[Tensor, "*shape"], alpha: float = 1.0) -> Float[Tensor, "*shape"]:
    r"""The exponential linear unit, smooth at 0 for :math:`\alpha = 1` and never below :math:`-\alpha`.

    .. math:: \mathrm{ELU}(x) = \begin{cases} x & x > 0 \\ \alpha (e^x - 1) & x \le 0 \end{cases}

    Args:
        x: any numbers.
        alpha: the depth :math:`\alpha` to which it saturates on the left.

    Returns:
        The values, of the shape of ``x``.

    Raises:
        TypeError: if ``x`` is no floating-point tensor.

    Source: D. Clevert, T. Unterthiner and S. Hochreiter, Fast and accurate deep network learning by exponential
    linear units, ICLR 2016.

    >>> elu(torch.tensor([-1.0, 3.0]))
    tensor([-0.6321,  3.0000])
    """
    check_tensor("x", x)
    # The clamp keeps exp(x) of the branch not taken from overflowing, which would make the gradient 0 * inf = nan.
    return torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))


def softmax(x: Float[Tensor, "*shape"], dim: int = -1) -> Float[Tensor, "*shape"]:
    r"""Scores turned into a probability distribution.

    .. math:: p_i = \frac{e^{x_i}}{\sum_j e^{x_j}}

    Args:
        x: scores.
        dim: the dimension over which the probabilities sum to 1.

    Returns:
        The probabilities, of the shape of ``x``. A constant added to all scores changes nothing.

    Raises:
        TypeError: if ``x`` is no floating-point tensor.

    Source: Goodfellow, Bengio and Courville, section 6.2.2.3.

    >>> softmax(torch.tensor([1e4, 1e4, 0.0]))
    tensor([0.5000, 0.5000, 0.0000])
    """
    check_tensor("x", x)
    # exp overflows for x > 88 in float32. The largest exponent here is 0; the shift cancels from the derivative too.
    exponentials = torch.exp(x - x.detach().amax(dim=dim, keepdim=True))
    return exponentials / exponentials.sum(dim=dim, keepdim=True)


def _sigmoid_derivative(x: Tensor) -> Tensor:
    return sigmoid(x) * sigmoid(-x)  # 1 - sigmoid(x) would round to 0 from x = 17 on in float32


def _tanh_derivative(x: Tensor) -> Tensor:
    return 4 * sigmoid(2 * x) * sigmoid(-2 * x)  # equal to 1 - tanh(x)^2, without the cancellation


def _leaky_relu_derivative(x: Tensor, slope: float = 0.01) -> Tensor:
    return torch.where(x > 0, torch.ones_like(x), torch.full_like(x, slope))


def _relu_derivative(x: Tensor) -> Tensor:
    return _leaky_relu_derivative(x, 0.0)


def _elu_derivative(x: Tensor, alpha: float = 1.0) -> Tensor:
    return torch.where(x > 0, torch.ones_like(x), alpha * torch.exp(x.clamp(max=0)))


_DERIVATIVES = {
    sigmoid: _sigmoid_derivative,
    tanh: _tanh_derivative,
    relu: _relu_derivative,
    leaky_relu: _leaky_relu_derivative,
    elu: _elu_derivative,
}


def derivative(activation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    r"""The derivative of one of this module's elementwise functions, in closed form.

    .. math:: \sigma' = \sigma (1 - \sigma), \quad \tanh' = 1 - \tanh^2, \quad \mathrm{ReLU}'(x) = [x > 0],
        \quad \mathrm{ELU}'(x) = \alpha e^x \text{ for } x \le 0

    Args:
        activation: ``sigmoid``, ``tanh``, ``relu``, ``leaky_relu`` or ``elu`` of this module.

    Returns:
        A function of the same arguments. At a kink it takes the value from the left.

    Raises:
        ValueError: for any other function.

    Source: Goodfellow, Bengio and Courville, section 6.3.

    >>> derivative(sigmoid)(torch.tensor([0.0, 10.0]))
    tensor([2.5000e-01, 4.5396e-05])
    """
    if activation not in _DERIVATIVES:
        names = ", ".join(function.__name__ for function in _DERIVATIVES)
        raise ValueError(f"expected one of {names} of this module, got {activation!r}")
    return _DERIVATIVES[activation]


def dead_units(pre_activations: Float[Tensor, "m n"]) -> Bool[Tensor, "n"]:
    r"""Which rectified units are off for every input, so that no gradient reaches their weights.

    .. math:: \text{unit } j \text{ is dead} \iff z_{ij} \le 0 \text{ for all } i = 1, \dots, m

    Args:
        pre_activations: for each of the m inputs what the n units receive, before the activation.

    Returns:
        True for each dead unit.

    Raises:
        ValueError: if there is no input.
        TypeError: if ``pre_activations`` is no floating-point tensor.

    Source: Maas, Hannun and Ng, section 2.

    >>> dead_units(torch.tensor([[-1.0, 2.0], [-3.0, -1.0]]))
    tensor([ True, False])
    """
    check_tensor("pre_activations", pre_activations)
    if pre_activations.dim() != 2 or len(pre_activations) == 0:
        raise ValueError(f"expected pre_activations of shape (m, n) with m > 0, got {tuple(pre_activations.shape)}")
    return (pre_activations <= 0).all(dim=0)


class PReLU(nn.Module):
    r"""A leaky rectified unit that learns its slope on the left.

    .. math:: f(x) = \begin{cases} x & x > 0 \\ \alpha x & x \le 0 \end{cases}, \qquad
        \frac{\partial f}{\partial \alpha} = x\,[x \le 0]

    Args:
        num_slopes: 1 for one slope shared by all units, or the number n of units, each with its own.
        start: the slope before training.

    Returns:
        A module that maps ``"*batch n"`` to the same shape.

    Raises:
        ValueError: if there is no slope, or the last axis of an input does not fit.

    Source: K. He et al., Delving deep into rectifiers, ICCV 2015. The slope is free, it may exceed 1.

    >>> PReLU()(torch.tensor([[-2.0, 3.0]])).tolist()
    [[-0.5, 3.0]]
    """

    def __init__(self, num_slopes: int = 1, start: float = 0.25):
        super().__init__()
        if num_slopes < 1:
            raise ValueError(f"expected at least one slope, got {num_slopes}")
        self.slope = nn.Parameter(torch.full((num_slopes,), start))

    def forward(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """The values, of the shape of ``x``."""
        if len(self.slope) not in (1, x.shape[-1]):
            raise ValueError(f"expected inputs with {len(self.slope)} units in the last axis, got {tuple(x.shape)}")
        return torch.where(x > 0, x, self.slope * x)


class RReLU(nn.Module):
    r"""A leaky rectified unit that draws its slope anew for each number while training.

    .. math:: f(x) = \begin{cases} x & x > 0 \\ \alpha x & x \le 0 \end{cases}, \qquad
        \alpha \sim U(a, b) \text{ in training}, \quad \alpha = \tfrac{a + b}{2} \text{ at test time}

    Args:
        lower: the least slope a.
        upper: the largest slope b, at least a.
        generator: the source of the slopes.

    Returns:
        A module that maps a tensor to one of the same shape.

    Raises:
        ValueError: unless ``lower`` is at most ``upper``.

    Source: B. Xu et al., Empirical evaluation of rectified activations in convolutional network, 2015.

    >>> RReLU(0.1, 0.3, generator=torch.Generator()).eval()(torch.tensor([-1.0, 1.0])).tolist()
    [-0.20000000298023224, 1.0]
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, *, generator: torch.Generator):
        super().__init__()
        if not lower <= upper:
            raise ValueError(f"expected lower <= upper, got {lower} and {upper}")
        self.lower, self.upper, self.generator = lower, upper, generator

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The values, of the shape of ``x``; random where ``x`` is negative, in training mode."""
        if not self.training:
            return leaky_relu(x, (self.lower + self.upper) / 2)
        share = torch.rand(x.shape, generator=self.generator, dtype=x.dtype, device=self.generator.device)
        slope = self.lower + (self.upper - self.lower) * share.to(x.device)
        return torch.where(x > 0, x, slope * x)


class Maxout(nn.Module):
    r"""A layer in which each unit takes the largest of k affine functions of its input.

    .. math:: f_j(x) = \max_{i = 1, \dots, k} \left( w_{ij}^\top x + b_{ij} \right)

    Convex and piecewise linear in x. With two pieces, one of them 0, a unit is a ReLU of an affine function.

    Args:
        in_features: the number d of inputs.
        out_features: the number n of units.
        num_pieces: the number k of affine functions of a unit.
        generator: the source of the first weights and biases, uniform within :math:`\pm 1 / \sqrt d`.

    Returns:
        A module that maps ``"*batch d"`` to ``"*batch n"``; its parameters are ``weight`` of shape (k, n, d) and
        ``bias`` of shape (k, n).

    Raises:
        ValueError: if one of the sizes is below 1, or the last axis of an input is not ``in_features``.

    Source: I. Goodfellow et al., Maxout networks, ICML 2013.

    >>> Maxout(5, 3, generator=torch.Generator().manual_seed(0))(torch.ones(2, 5)).shape
    torch.Size([2, 3])
    """

    def __init__(self, in_features: int, out_features: int, num_pieces: int = 2, *, generator: torch.Generator):
        super().__init__()
        if min(in_features, out_features, num_pieces) < 1:
            raise ValueError(f"expected sizes of at least 1, got {in_features}, {out_features} and {num_pieces}")
        bound = 1 / math.sqrt(in_features)
        self.weight = nn.Parameter(torch.empty(num_pieces, out_features, in_features, device=generator.device))
        self.bias = nn.Parameter(torch.empty(num_pieces, out_features, device=generator.device))
        for parameter in (self.weight, self.bias):
            nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch n"]:
        """The values of the units."""
        pieces, out_features, in_features = self.weight.shape
        if x.shape[-1] != in_features:
            raise ValueError(f"expected inputs with {in_features} features, got shape {tuple(x.shape)}")
        z = nn.functional.linear(x, self.weight.flatten(0, 1), self.bias.flatten())  # (*batch, k n)
        return z.unflatten(-1, (pieces, out_features)).max(dim=-2).values  # (*batch, n)
