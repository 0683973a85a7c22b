r"""Generalized linear models: a distribution, a linear function of the features, and the link between the two.

Given the features, the response y follows an exponential family in canonical form, whose natural parameter is linear,

.. math:: p(y \mid x) = h(y)\, e^{y\eta - A(\eta)}, \qquad \eta = \langle w, x \rangle + b .

The log-partition A decides everything else: the mean is :math:`\mu = A'(\eta)` (the activation function, or inverse
link), the canonical link is the inverse function :math:`\eta = g(\mu)`, and the loss is the negative log-likelihood,
whose slope in :math:`\eta` is the residual :math:`\mu - y`. The families here are ``"gaussian"`` (of variance 1),
``"bernoulli"`` and ``"poisson"``: linear, logistic and Poisson regression. Softmax regression is the case of k classes.

Reference: J. A. Nelder and R. W. M. Wedderburn, "Generalized linear models", Journal of the Royal Statistical Society
A 135, 1972; P. McCullagh and J. A. Nelder, *Generalized Linear Models*, 2nd edition, Chapman and Hall 1989.
The book's chapter ``neural-networks`` teaches this module.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer, Shaped
from torch import Tensor

from chainrule._validate import check_finite, check_tensor

__all__ = [
    "fit_glm",
    "fit_softmax_regression",
    "glm_link",
    "glm_log_partition",
    "glm_mean",
    "glm_negative_log_likelihood",
    "glm_variance",
]

_PRECISION = 1e-7  # of the last Newton step's change of eta; the error after it is about the square of this
_FLATTEST = 1e-14  # a curvature this much below the largest is no curvature


class _Family(NamedTuple):
    log_partition: Callable[[Tensor], Tensor]
    mean: Callable[[Tensor], Tensor]
    variance: Callable[[Tensor], Tensor]
    residual: Callable[[Tensor, Tensor], Tensor]  # mean - y, with all its digits
    link: Callable[[Tensor], Tensor]
    log_base: Callable[[Tensor], Tensor]  # log h(y)
    means: tuple[float, float]  # the open interval of the means
    is_outcome: Callable[[Tensor], Tensor]
    outcomes: str


_FAMILIES = {
    "gaussian": _Family(
        lambda eta: eta.square() / 2,
        lambda eta: eta,
        torch.ones_like,
        torch.sub,
        lambda mean: mean,
        lambda y: -y.square() / 2 - math.log(2 * math.pi) / 2,
        (-math.inf, math.inf),
        torch.isfinite,
        "finite numbers",
    ),
    "bernoulli": _Family(
        F.softplus,  # log(1 + exp(eta)) overflows from eta = 710 on in float64, from 89 on in float32
        torch.sigmoid,
        lambda eta: torch.sigmoid(eta) * torch.sigmoid(-eta),  # 1 - sigmoid(eta) is 0 from eta = 37 on
        lambda eta, y: (1 - 2 * y) * torch.sigmoid((1 - 2 * y) * eta),  # sigmoid(eta) - 1 is 0 from eta = 37 on
        torch.logit,
        torch.zeros_like,
        (0.0, 1.0),
        lambda y: (y == 0) | (y == 1),
        "0 or 1",
    ),
    "poisson": _Family(
        torch.exp,
        torch.exp,
        torch.exp,
        lambda eta, y: eta.exp() - y,
        torch.log,
        lambda y: -torch.lgamma(y + 1),
        (0.0, math.inf),
        lambda y: (y >= 0) & (y == y.round()) & y.isfinite(),
        "whole numbers of at least 0",
    ),
}


def glm_log_partition(eta: Float[Tensor, "*shape"], family: str) -> Float[Tensor, "*shape"]:
    r"""The log-partition function of a family, from which all else follows.

    .. math:: A(\eta) = \tfrac12 \eta^2, \qquad \log(1 + e^\eta), \qquad e^\eta

    Args:
        eta: natural parameters.
        family: ``"gaussian"``, ``"bernoulli"`` or ``"poisson"``, in the order of the formulas.

    Returns:
        A at each natural parameter; its derivatives are the mean and the variance.

    Raises:
        ValueError: if there is no such family.

    Source: McCullagh and Nelder, section 2.2.

    >>> glm_log_partition(torch.tensor([0.0, 1000.0]), "bernoulli")
    tensor([6.9315e-01, 1.0000e+03])
    """
    return _family("eta", eta, family).log_partition(eta)


def glm_mean(eta: Float[Tensor, "*shape"], family: str) -> Float[Tensor, "*shape"]:
    r"""The mean of the response, by the inverse of the canonical link; a network calls it the activation function.

    .. math:: \mu = A'(\eta) = \eta, \qquad \frac{1}{1 + e^{-\eta}}, \qquad e^\eta

    Args:
        eta: natural parameters.
        family: ``"gaussian"``, ``"bernoulli"`` or ``"poisson"``, in the order of the formulas.

    Returns:
        The means.

    Raises:
        ValueError: if there is no such family.

    Source: McCullagh and Nelder, section 2.2.

    >>> glm_mean(torch.tensor([0.0]), "bernoulli"), glm_mean(torch.tensor([0.0]), "poisson")
    (tensor([0.5000]), tensor([1.]))
    """
    return _family("eta", eta, family).mean(eta)


def glm_variance(eta: Float[Tensor, "*shape"], family: str) -> Float[Tensor, "*shape"]:
    r"""The variance of the response.

    .. math:: A''(\eta) = 1, \qquad \mu (1 - \mu), \qquad \mu

    Args:
        eta: natural parameters.
        family: ``"gaussian"``, ``"bernoulli"`` or ``"poisson"``, in the order of the formulas.

    Returns:
        The variances, which are also the slopes of the mean.

    Raises:
        ValueError: if there is no such family.

    Source: McCullagh and Nelder, section 2.2.

    >>> glm_variance(torch.tensor([0.0]), "bernoulli")
    tensor([0.2500])
    """
    return _family("eta", eta, family).variance(eta)


def glm_link(mean: Float[Tensor, "*shape"], family: str) -> Float[Tensor, "*shape"]:
    r"""The canonical link, which leads from the mean back to the natural parameter.

    .. math:: \eta = g(\mu) = \mu, \qquad \log\frac{\mu}{1 - \mu}, \qquad \log\mu

    Args:
        mean: means: any number, in (0, 1), or positive.
        family: ``"gaussian"``, ``"bernoulli"`` or ``"poisson"``, in the order of the formulas.

    Returns:
        The natural parameters.

    Raises:
        ValueError: if there is no such family, or a number is not the mean of one of its members.

    Source: McCullagh and Nelder, section 2.2.

    >>> glm_link(glm_mean(torch.tensor([-2.0, 0.5]), "bernoulli"), "bernoulli")
    tensor([-2.0000,  0.5000])
    """
    which = _family("mean", mean, family)
    low, high = which.means
    bad = ~((mean > low) & (mean < high))
    if bad.any():
        raise ValueError(f"expected means of the {family} family, in ({low:g}, {high:g}), got {mean[bad][0].item()}")
    return which.link(mean)


def glm_negative_log_likelihood(
    eta: Float[Tensor, "*shape"], y: Shaped[Tensor, "*shape"], family: str
) -> Float[Tensor, ""]:
    r"""Mean negative log-likelihood of responses, the loss of the family.

    .. math:: \frac{1}{m} \sum_{i=1}^{m} \bigl(A(\eta_i) - y_i \eta_i - \log h(y_i)\bigr)

    It is half the squared error, the binary cross entropy, and the Poisson loss, each with its constant.

    Args:
        eta: natural parameters.
        y: responses: finite numbers, 0 or 1, or counts.
        family: ``"gaussian"``, ``"bernoulli"`` or ``"poisson"``.

    Returns:
        The mean in nats. Its derivative in :math:`\eta_i` is the residual :math:`(\mu_i - y_i) / m`.

    Raises:
        ValueError: if there is no such family, the shapes differ, there are no responses, or one is none of its
            outcomes.

    Source: McCullagh and Nelder, section 2.2.

    >>> glm_negative_log_likelihood(torch.tensor([0.0, 0.0]), torch.tensor([1, 0]), "bernoulli")
    tensor(0.6931)
    """
    which = _family("eta", eta, family)
    if eta.shape != y.shape or y.numel() == 0:
        raise ValueError(f"expected eta and y of one shape, not empty, got {tuple(eta.shape)} and {tuple(y.shape)}")
    _check_outcomes(y, family)
    y = y.to(eta.dtype)
    return (which.log_partition(eta) - y * eta - which.log_base(y)).mean()


def fit_glm(
    x: Float[Tensor, "m d"],
    y: Shaped[Tensor, "m"],
    family: str,
    *,
    fit_bias: bool = True,
    ridge: float = 0.0,
    max_steps: int = 100,
) -> tuple[Float[Tensor, "d"], Float[Tensor, ""]]:
    r"""Maximum likelihood for a generalized linear model with its canonical link, by Newton's method.

    The loss is convex, with the gradient :math:`\frac1m X^\top(\mu - y)` and the Hessian
    :math:`\frac1m X^\top \operatorname{diag}(A''(\eta))\, X`. A Newton step that does not lower it is halved.

    .. math:: \min_{w,b}\; \frac1m \sum_{i=1}^{m} \bigl(A(\eta_i) - y_i\eta_i\bigr)
        + \frac{\lambda}{2} \lVert w \rVert^2

    Args:
        x: samples, as rows.
        y: their responses: finite numbers, 0 or 1, or counts.
        family: ``"gaussian"``, ``"bernoulli"`` or ``"poisson"``.
        fit_bias: whether to fit b.
        ridge: :math:`\lambda`, at least 0; b is not penalized.
        max_steps: the most Newton steps, at least 1.

    Returns:
        The weights and the bias (0 if it is not fitted), in the type of x. The computation is in float64.

    Raises:
        ValueError: if there is no such family, the shapes do not fit, a number is out of range, or the likelihood has
            no maximum: with dependent features, with classes that a hyperplane separates (the weights would grow
            without bound), or where all counts are 0. A positive ridge helps the first two.

    Source: McCullagh and Nelder, section 2.5.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> weight, bias = fit_glm(x, torch.tensor([1, 1, 4, 9]), "poisson")
    >>> weight, bias
    (tensor([0.8615]), tensor(-0.3931))
    """
    which = _family("x", x, family)
    _check_data(x, y)
    _check_outcomes(y, family)
    _check_settings(ridge, max_steps)
    features = torch.cat([x, x.new_ones(len(x), 1)], dim=1).double() if fit_bias else x.double()  # (m, d+1)
    target = y.double()
    penalty = torch.full_like(features[0], ridge)
    if fit_bias:
        penalty[-1] = 0

    def loss(w: Tensor) -> Tensor:
        eta = features @ w
        return (which.log_partition(eta) - target * eta).mean() + (penalty * w.square()).sum() / 2

    w = torch.zeros_like(features[0])
    for _ in range(max_steps):
        eta = features @ w
        slope = features.T @ which.residual(eta, target) / len(x) + penalty * w  # (d+1,)
        curvature = features.T @ (features * which.variance(eta).unsqueeze(1)) / len(x) + penalty.diag()
        scale = curvature.diagonal().sqrt()
        if not (scale > 0).all() or torch.linalg.eigvalsh(curvature / torch.outer(scale, scale))[0] < _FLATTEST:
            raise ValueError(_no_maximum(family))
        step = -torch.linalg.solve(curvature, slope)
        # Not the decrease of the loss: towards a maximum at infinity it vanishes too, while the steps stay long.
        last = (features @ step).abs().max() <= _PRECISION * (1 + eta.abs().max())
        while not (last or loss(w + step) <= loss(w)):
            step = step / 2
        w = w + step
        if last:
            break
    else:
        raise ValueError(_no_maximum(family))
    w = w.to(x.dtype)
    return w[: x.shape[1]], w[-1] if fit_bias else w.new_zeros(())


def fit_softmax_regression(
    x: Float[Tensor, "m d"], labels: Integer[Tensor, "m"], num_classes: int, *, ridge: float = 0.0, max_steps: int = 500
) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k"]]:
    r"""Softmax regression (multinomial logistic regression) by L-BFGS on the mean cross entropy.

    .. math:: p(y = c \mid x) = \frac{e^{\langle w_c, x \rangle + b_c}}{\sum_j e^{\langle w_j, x \rangle + b_j}},
        \qquad \min_{W,b}\; -\frac1m \sum_{i=1}^{m} \log p(y_i \mid x_i) + \frac{\lambda}{2} \lVert W \rVert^2

    Args:
        x: samples, as rows.
        labels: their classes, integers in [0, k).
        num_classes: k, at least 2.
        ridge: :math:`\lambda`, at least 0. With 0 the weights are not unique: the same vector added to all rows of W
            changes no probability. And if the classes can be separated they grow until the steps are used up.
        max_steps: the most steps, at least 1.

    Returns:
        The weights, a row for each class, and the biases, in the type of x. The computation is in float64.

    Raises:
        ValueError: if the shapes do not fit, or a number is out of range.

    Source: McCullagh and Nelder, section 5.2.

    >>> x, labels = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([0, 1, 2])
    >>> weight, bias = fit_softmax_regression(x, labels, 3, ridge=0.01)
    >>> (x @ weight.T + bias).argmax(dim=1)
    tensor([0, 1, 2])
    """
    check_tensor("x", x)
    _check_data(x, labels)
    check_tensor("labels", labels, integer=True)
    if num_classes < 2:
        raise ValueError(f"expected num_classes of at least 2, got {num_classes}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(f"expected labels in [0, {num_classes}), got {low if low < 0 else high}")
    _check_settings(ridge, max_steps)
    features, target = x.detach().double(), labels.long()
    with torch.enable_grad():
        weight = features.new_zeros(num_classes, x.shape[1]).requires_grad_()
        bias = features.new_zeros(num_classes).requires_grad_()
        settings = {"tolerance_grad": 1e-8, "tolerance_change": 1e-14, "line_search_fn": "strong_wolfe"}
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=max_steps, **settings)

        def loss() -> Tensor:
            value = F.cross_entropy(features @ weight.T + bias, target) + ridge / 2 * weight.square().sum()
            weight.grad, bias.grad = torch.autograd.grad(value, [weight, bias])
            return value

        optimizer.step(loss)
    return weight.detach().to(x.dtype), bias.detach().to(x.dtype)


def _family(name: str, value: Tensor, family: str) -> _Family:
    check_tensor(name, value)
    if family not in _FAMILIES:
        raise ValueError(f"expected a family of {', '.join(_FAMILIES)}, got {family!r}")
    return _FAMILIES[family]


def _check_outcomes(y: Tensor, family: str) -> None:
    bad = ~_FAMILIES[family].is_outcome(y)
    if bad.any():
        raise ValueError(f"expected responses that are {_FAMILIES[family].outcomes}, got {y[bad][0].item()}")


def _check_data(x: Tensor, y: Tensor) -> None:
    if x.dim() != 2 or y.shape != x.shape[:1] or x.numel() == 0:
        got = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise ValueError(f"expected x of shape (m, d), not empty, and one label or response for each row, got {got}")
    check_finite("x", x)


def _check_settings(ridge: float, max_steps: int) -> None:
    if not 0 <= ridge < math.inf:
        raise ValueError(f"expected a ridge of at least 0, finite, got {ridge}")
    if max_steps < 1:
        raise ValueError(f"expected max_steps of at least 1, got {max_steps}")


def _no_maximum(family: str) -> str:
    causes = {
        "gaussian": "features that are linearly dependent",
        "bernoulli": "classes that a hyperplane separates, or features that are linearly dependent",
        "poisson": "counts that are 0 on one side of a hyperplane, or features that are linearly dependent",
    }
    return f"expected data whose likelihood has one maximum, got {causes[family]}; try a positive ridge"
