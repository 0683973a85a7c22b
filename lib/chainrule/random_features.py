r"""Random features: a wide layer that is drawn once and never trained, with a linear map on top that is.

.. math:: \phi_j(x) = \frac{1}{\sqrt p}\, \sigma(\langle w_j, x \rangle + b_j), \qquad
    \hat y(x) = \sum_{j=1}^{p} a_j \phi_j(x)

Only :math:`a` is fitted, by least squares, so the best fit is found exactly at every width :math:`p`. That makes it the
smallest model in which the test error can be watched as the number of parameters passes the number of samples: it
falls, rises to a peak where the two are equal, and falls again.

Reference: A. Rahimi and B. Recht, *Random features for large-scale kernel machines*, NeurIPS 2007; M. Belkin, D. Hsu,
S. Ma and S. Mandal, *Reconciling modern machine-learning practice and the classical bias-variance trade-off*, PNAS
2019. The book's chapter ``learning-from-data`` teaches this module.
"""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chainrule._validate import check_tensor
from chainrule.linear_regression import ridge_regression

__all__ = ["RandomFeatures", "minimum_norm_risk", "width_curve"]


class RandomFeatures(nn.Module):
    r"""A layer of random features: ReLU units, or the cosines that approximate the Gaussian kernel.

    .. math:: \phi_j(x) = \sqrt{\frac{2}{p}}\, \max(0, \langle w_j, x \rangle)
        \qquad\text{or}\qquad \phi_j(x) = \sqrt{\frac{2}{p}}\, \cos(\langle w_j, x \rangle / h + b_j)

    with :math:`w_j` standard normal and :math:`b_j` uniform on :math:`[0, 2\pi)`. As :math:`p` grows,
    :math:`\langle \phi(x), \phi(x') \rangle` of the cosines tends to :math:`\exp(-\|x - x'\|^2 / (2 h^2))`, and
    :math:`\|\phi(x)\|^2` of the ReLU units to :math:`\|x\|^2`.

    Args:
        in_features: number d of inputs, at least 1.
        num_features: number p of features, at least 1.
        generator: the source of the random weights; its device is the device of the layer.
        kind: ``"relu"`` or ``"cosine"``.
        bandwidth: :math:`h` of the cosines, above 0.
        dtype: type of the weights; torch's default if not given.

    Returns:
        A module that maps samples ``(*batch, d)`` to features ``(*batch, p)``.

    Raises:
        ValueError: if a number is out of range or the kind unknown.

    Source: Rahimi and Recht, algorithm 1; Y. Cho and L. K. Saul, *Kernel methods for deep learning*, NeurIPS 2009.

    >>> layer = RandomFeatures(3, 8, torch.Generator().manual_seed(0))
    >>> layer(torch.ones(2, 3)).shape
    torch.Size([2, 8])
    """

    def __init__(
        self,
        in_features: int,
        num_features: int,
        generator: torch.Generator,
        *,
        kind: str = "relu",
        bandwidth: float = 1.0,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        for name, value in (("in_features", in_features), ("num_features", num_features)):
            if value < 1:
                raise ValueError(f"expected {name} of at least 1, got {value}")
        if kind not in ("relu", "cosine"):
            raise ValueError(f"expected kind 'relu' or 'cosine', got {kind!r}")
        if not 0 < bandwidth < math.inf:
            raise ValueError(f"expected a finite bandwidth above 0, got {bandwidth}")
        options = {"device": generator.device, "dtype": dtype}
        self.kind, self.bandwidth = kind, bandwidth
        # Buffers, not parameters: they move with the module and no optimizer trains them.
        self.register_buffer("weight", torch.randn(num_features, in_features, generator=generator, **options))
        self.register_buffer("phase", 2 * math.pi * torch.rand(num_features, generator=generator, **options))

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch p"]:
        """The features of each sample.

        Args:
            x: samples of d numbers.

        Returns:
            p features a sample.

        Raises:
            ValueError: if the samples have another number of features than the layer.
        """
        check_tensor("x", x)
        num_features, in_features = self.weight.shape
        if x.dim() == 0 or x.shape[-1] != in_features:
            raise ValueError(f"expected x of shape (..., {in_features}), got {tuple(x.shape)}")
        z = x @ self.weight.T
        units = torch.relu(z) if self.kind == "relu" else torch.cos(z / self.bandwidth + self.phase)
        return math.sqrt(2 / num_features) * units


def width_curve(
    features: Float[Tensor, "m p"],
    y: Float[Tensor, "m *k"],
    test_features: Float[Tensor, "n p"],
    test_y: Float[Tensor, "n *k"],
    widths: Iterable[int],
    *,
    penalty: float = 0.0,
) -> Float[Tensor, "widths 2"]:
    r"""Training and test error of the shortest least-squares fit on the first 1, 2, ... features.

    .. math:: E(p) = \frac{1}{n} \sum_{i=1}^{n} \|\hat y_p(x_i) - y_i\|^2, \qquad \hat y_p(x)
        = \sum_{j \le p} a_j \phi_j(x)

    Args:
        features: features of the m training samples.
        y: their labels, one or k a sample.
        test_features: features of the n test samples.
        test_y: their labels.
        widths: how many of the features to use, each in [1, p].
        penalty: penalty of a ridge regression, at least 0, scaled so that it means the same at every width: the first
            w of p features are multiplied by :math:`\sqrt{p / w}`, as a layer of w features would have been.

    Returns:
        A row for each width: squared error over the training samples, and over the test samples.

    Raises:
        ValueError: if a width lies outside [1, p], shapes do not fit, or a number is not finite.

    Source: Belkin, Hsu, Ma and Mandal, section "Random Fourier features".

    >>> x = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    >>> width_curve(x, torch.tensor([2.0, 0.0]), x, torch.tensor([2.0, 0.0]), [1, 2]).round()
    tensor([[1., 1.],
            [0., 0.]])
    """
    check_tensor("features", features)
    check_tensor("test_features", test_features)
    if features.dim() != 2 or test_features.dim() != 2 or features.shape[1] != test_features.shape[1]:
        got = f"{tuple(features.shape)} and {tuple(test_features.shape)}"
        raise ValueError(f"expected features of shapes (m, p) and (n, p), got {got}")
    if len(test_y) != len(test_features) or test_y.shape[1:] != y.shape[1:]:
        expected = (len(test_features), *y.shape[1:])
        raise ValueError(f"expected test_y of shape {expected}, got {tuple(test_y.shape)}")
    rows = []
    for width in widths:
        if not 1 <= width <= features.shape[1]:
            raise ValueError(f"expected widths in [1, {features.shape[1]}], got {width}")
        scale = math.sqrt(features.shape[1] / width)
        weights = ridge_regression(scale * features[:, :width], y, penalty)  # (width, *k)
        rows.append(
            [
                (scale * (inputs[:, :width] @ weights) - labels).square().sum() / len(labels)
                for inputs, labels in ((features, y), (test_features, test_y))
            ]
        )
    return features.new_tensor(rows).reshape(-1, 2)


def minimum_norm_risk(size: int, width: int, *, signal: float = 1.0, noise: float = 1.0) -> float:
    r"""Expected risk of the shortest least-squares fit to labels of a linear map on Gaussian data.

    For :math:`x` standard normal in :math:`\mathbb{R}^p` and :math:`y = \langle a, x \rangle + \sigma z`, with m
    samples,

    .. math:: \mathbb{E}\, L = \begin{cases}
        \sigma^2 + \dfrac{\sigma^2 p}{m - p - 1} & p \le m - 2, \\
        \sigma^2 + \|a\|^2 \Big(1 - \dfrac{m}{p}\Big) + \dfrac{\sigma^2 m}{p - m - 1} & p \ge m + 2, \end{cases}

    and infinite between, if there is noise.

    Args:
        size: number m of samples, at least 1.
        width: number p of features, at least 1.
        signal: :math:`\|a\|^2`, finite and at least 0.
        noise: :math:`\sigma^2`, finite and at least 0.

    Returns:
        The mean, over training sets, of the expected squared error on a new sample.

    Raises:
        ValueError: if an argument lies outside its range.

    Source: T. Hastie, A. Montanari, S. Rosset and R. J. Tibshirani, *Surprises in high-dimensional ridgeless least
    squares interpolation*, Annals of Statistics 2022; M. Belkin, D. Hsu and J. Xu, *Two models of double descent for
    weak features*, SIAM Journal on Mathematics of Data Science 2020.

    >>> minimum_norm_risk(20, 10, noise=0.9), minimum_norm_risk(20, 20), minimum_norm_risk(20, 41, noise=0.0)
    (1.9, inf, 0.5121951219512195)
    """
    for name, count in (("size", size), ("width", width)):
        if count < 1:
            raise ValueError(f"expected a {name} of at least 1, got {count}")
    for name, value in (("signal", signal), ("noise", noise)):
        if not 0 <= value < math.inf:
            raise ValueError(f"expected a finite {name} of at least 0, got {value}")
    missed = signal * max(0.0, 1 - size / width)  # the part of a that is orthogonal to all samples
    if noise == 0:
        return missed
    excess = abs(size - width) - 1
    return math.inf if excess < 1 else noise + missed + noise * min(size, width) / excess
