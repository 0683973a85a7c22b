r"""Features of photographs from before they were learned: colour histograms, oriented gradients, visual words.

Each of them counts something over the image and forgets where, or nearly where, it was: the share of pixels of each
colour; the strength of edges of each direction in each small cell; the share of patches that look like each word of a
codebook,

.. math:: h_j = \frac{1}{n} \sum_{i=1}^{n} [c_i = j].

Images are tensors whose last two axes are rows and columns, before them three colours where there is colour; values
lie in [0, 1].

Reference: M. J. Swain and D. H. Ballard, Color indexing, IJCV 7, 1991; N. Dalal and B. Triggs, Histograms of oriented
gradients for human detection, CVPR 2005; J. Sivic and A. Zisserman, Video Google, ICCV 2003.
The book's chapter ``learning-from-data`` teaches this module.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from chainrule._validate import check_finite, check_tensor
from chainrule.clustering import nearest_center

__all__ = [
    "bag_of_visual_words",
    "colour_histogram",
    "grey",
    "hog",
    "image_gradients",
    "orientation_histogram",
    "patches",
]

_LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue of one strength appear (ITU-R BT.601)
_EPSILON = 1e-3  # added to a block's norm, so that a flat block stays 0 and noise is not blown up


def grey(images: Float[Tensor, "*batch 3 height width"]) -> Float[Tensor, "*batch height width"]:
    r"""Brightness of a colour image, with the usual weights of the colours.

    .. math:: 0.299\, R + 0.587\, G + 0.114\, B

    Args:
        images: colours in [0, 1].

    Returns:
        Grey values in [0, 1].

    Raises:
        ValueError: if the third axis from the end is not of length 3.

    Source: Recommendation ITU-R BT.601.

    >>> grey(torch.ones(3, 1, 2))
    tensor([[1., 1.]])
    """
    _check_colour(images)
    weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device)
    return (images * weights[:, None, None]).sum(dim=-3)


def colour_histogram(
    images: Float[Tensor, "*batch 3 height width"], bins: int = 4
) -> Float[Tensor, "*batch bins bins bins"]:
    r"""The share of pixels in each box of the colour cube.

    .. math:: h_{rgb} = \frac{1}{\text{number of pixels}} \sum_{\text{pixels}}
        [\lfloor n R \rfloor = r]\,[\lfloor n G \rfloor = g]\,[\lfloor n B \rfloor = b]

    Args:
        images: colours in [0, 1]; the value 1 counts to the last bin.
        bins: n, the number of intervals of each colour, at least 1.

    Returns:
        Shares that sum to 1; axes are red, green, blue.

    Raises:
        ValueError: if the colours are not three or lie outside [0, 1], there is no pixel, or bins is below 1.

    Source: Swain and Ballard 1991.

    >>> image = torch.tensor([[1.0, 0.0], [0.2, 0.0], [0.0, 0.9]]).reshape(3, 1, 2)
    >>> colour_histogram(image, bins=2).nonzero().tolist()
    [[0, 0, 1], [1, 0, 0]]
    """
    _check_colour(images)
    if images.shape[-1] == 0 or images.shape[-2] == 0:
        raise ValueError(f"expected at least one pixel, got shape {tuple(images.shape)}")
    if bins < 1:
        raise ValueError(f"expected bins of at least 1, got {bins}")
    if not ((images >= 0) & (images <= 1)).all():
        raise ValueError(f"expected colours in [0, 1], got {images.min().item()} to {images.max().item()}")
    level = (images * bins).long().clamp(max=bins - 1).flatten(-2)  # (*batch, 3, pixels)
    box = (level[..., 0, :] * bins + level[..., 1, :]) * bins + level[..., 2, :]  # (*batch, pixels)
    counts = images.new_zeros(*box.shape[:-1], bins**3).scatter_add_(-1, box, torch.ones_like(box, dtype=images.dtype))
    return (counts / box.shape[-1]).unflatten(-1, (bins, bins, bins))


def image_gradients(
    images: Float[Tensor, "*batch height width"],
) -> tuple[Float[Tensor, "*batch height width"], Float[Tensor, "*batch height width"]]:
    r"""Strength and direction of the change of brightness at each pixel, by central differences.

    .. math:: g_x = \tfrac12 \bigl(I(r, c + 1) - I(r, c - 1)\bigr), \quad
        g_y = \tfrac12 \bigl(I(r + 1, c) - I(r - 1, c)\bigr), \quad
        \text{angle} = \operatorname{atan2}(g_y, g_x) \bmod 180

    Args:
        images: grey values; beyond the border they continue with the value at the border.

    Returns:
        The magnitude and the angle in degrees, in [0, 180): a dark-to-light edge counts as its reverse. Rows run
        downwards, so that an angle turns clockwise on the screen; 0 is an upright edge.

    Raises:
        ValueError: if there are no two axes of pixels, or one of them is empty.

    Source: Dalal and Triggs 2005, section 6.2.

    >>> magnitude, angle = image_gradients(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]))
    >>> magnitude[0], angle[0]
    (tensor([0.0000, 0.5000, 0.5000]), tensor([0., 0., 0.]))
    """
    _check_grey(images)
    flat = images.reshape(-1, 1, *images.shape[-2:])
    padded = F.pad(flat, (1, 1, 1, 1), mode="replicate").reshape(
        *images.shape[:-2], images.shape[-2] + 2, images.shape[-1] + 2
    )
    g_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    g_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    angle = torch.rad2deg(torch.atan2(g_y, g_x)) % 180
    # A direction just below 0 is rounded up to 180 itself.
    return torch.hypot(g_x, g_y), torch.where(angle < 180, angle, torch.zeros_like(angle))


def orientation_histogram(
    magnitude: Float[Tensor, "*batch n"], angle: Float[Tensor, "*batch n"], bins: int = 9
) -> Float[Tensor, "*batch bins"]:
    r"""Votes for directions, each gradient's magnitude split between the two bins next to its angle.

    With the bin width :math:`\delta = 180 / \text{bins}` and the bins at :math:`0, \delta, 2 \delta, \dots`, a gradient
    of magnitude g at the angle a gives

    .. math:: g \Bigl(1 - \frac{a - \delta j}{\delta}\Bigr) \text{ to bin } j = \lfloor a / \delta \rfloor, \qquad
        g\, \frac{a - \delta j}{\delta} \text{ to bin } j + 1,

    where the bin after the last is the first one, for 180 degrees are 0 degrees.

    Args:
        magnitude: strengths, at least 0.
        angle: directions in degrees, in [0, 180).
        bins: number of directions, at least 1.

    Returns:
        The votes; they sum to the sum of the magnitudes.

    Raises:
        ValueError: if the shapes differ, a magnitude is negative, an angle lies outside [0, 180), or bins is below 1.

    Source: Dalal and Triggs 2005, section 6.3.

    >>> orientation_histogram(torch.tensor([10.0, 1.0]), torch.tensor([50.0, 165.0]))
    tensor([0.2500, 0.0000, 5.0000, 5.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.7500])
    """
    check_tensor("magnitude", magnitude)
    check_tensor("angle", angle)
    if magnitude.dim() == 0 or magnitude.shape != angle.shape:
        got = f"{tuple(magnitude.shape)} and {tuple(angle.shape)}"
        raise ValueError(f"expected magnitude and angle of one shape (..., n), got {got}")
    if bins < 1:
        raise ValueError(f"expected bins of at least 1, got {bins}")
    if not (magnitude >= 0).all():
        raise ValueError(f"expected magnitudes of at least 0, got {magnitude.min().item()}")
    if not ((angle >= 0) & (angle < 180)).all():
        raise ValueError(f"expected angles in [0, 180), got {angle.min().item()} to {angle.max().item()}")
    position = angle * bins / 180
    low = position.floor()
    share = position - low  # of the upper bin
    index = low.long() % bins  # rounding may put an angle just below 180 at the end
    votes = magnitude.new_zeros(*magnitude.shape[:-1], bins)
    votes = votes.scatter_add(-1, index, magnitude * (1 - share))
    return votes.scatter_add(-1, (index + 1) % bins, magnitude * share)


def hog(
    images: Float[Tensor, "*batch height width"], *, cell: int = 8, bins: int = 9, block: int = 2
) -> Float[Tensor, "*batch block_rows block_columns features"]:
    r"""Histogram of oriented gradients: directions of edges in cells, normalized in blocks of cells.

    .. math:: v \mapsto \frac{v}{\sqrt{\lVert v \rVert^2 + \varepsilon^2}} \qquad
        \text{for the vector } v \text{ of the histograms in each block}

    Blocks overlap: they start at every cell. Unlike in the paper, a pixel votes in its own cell only, and no window
    weights the pixels of a block.

    Args:
        images: grey values, whole cells in both directions and at least one block.
        cell: side of a cell in pixels, at least 1.
        bins: number of directions, at least 1.
        block: side of a block in cells, at least 1.

    Returns:
        For each block its block * block * bins numbers, the cells row by row.

    Raises:
        ValueError: if the image is no whole number of cells or smaller than a block, or a size is below 1.

    Source: Dalal and Triggs 2005.

    >>> hog(torch.rand(32, 64)).shape
    torch.Size([3, 7, 36])
    """
    for name, value in (("cell", cell), ("bins", bins), ("block", block)):
        if value < 1:
            raise ValueError(f"expected {name} of at least 1, got {value}")
    _check_grey(images)
    height, width = images.shape[-2:]
    if height % cell or width % cell or min(height, width) < cell * block:
        side = cell * block
        message = f"whole cells of {cell} pixels and at least one block of {side}"
        raise ValueError(f"expected images of {message}, got {height} x {width} pixels")
    magnitude, angle = (_tiles(value, cell) for value in image_gradients(images))  # (*batch, rows, columns, pixels)
    cells = orientation_histogram(magnitude, angle, bins)  # (*batch, rows, columns, bins)
    rows, columns = height // cell - block + 1, width // cell - block + 1
    views = [cells[..., r : r + rows, c : c + columns, :] for r in range(block) for c in range(block)]
    blocks = torch.cat(views, dim=-1)  # (*batch, block_rows, block_columns, block * block * bins)
    return blocks / (blocks.square().sum(dim=-1, keepdim=True) + _EPSILON**2).sqrt()


def patches(images: Float[Tensor, "*batch height width"], size: int, stride: int) -> Float[Tensor, "*batch n pixels"]:
    r"""Square pieces of an image on a regular grid, each made a row of numbers.

    .. math:: n = \Bigl(\Bigl\lfloor \frac{H - s}{t} \Bigr\rfloor + 1\Bigr)
        \Bigl(\Bigl\lfloor \frac{W - s}{t} \Bigr\rfloor + 1\Bigr)

    Args:
        images: grey values, H rows and W columns.
        size: side s of a patch in pixels, from 1 to the smaller side of the image.
        stride: distance t of the grid, at least 1.

    Returns:
        The patches row by row, each with its size * size pixels.

    Raises:
        ValueError: if the size does not fit the image or the stride is below 1.

    Source: Sivic and Zisserman 2003 use regions of interest; a regular grid is the simpler choice.

    >>> patches(torch.arange(12.0).reshape(3, 4), size=2, stride=2)
    tensor([[0., 1., 4., 5.],
            [2., 3., 6., 7.]])
    """
    _check_grey(images)
    if not 1 <= size <= min(images.shape[-2:]):
        height, width = images.shape[-2:]
        raise ValueError(f"expected a size of patches that fits {height} x {width} pixels, got {size}")
    if stride < 1:
        raise ValueError(f"expected a stride of at least 1, got {stride}")
    grid = images.unfold(-2, size, stride).unfold(-2, size, stride)  # (*batch, rows, columns, size, size)
    return grid.flatten(-2).flatten(-3, -2)


def bag_of_visual_words(
    words: Float[Tensor, "*batch n d"], codebook: Float[Tensor, "k d"]
) -> Float[Tensor, "*batch k"]:
    r"""The share of patches that are nearest to each entry of a codebook.

    .. math:: h_j = \frac{1}{n} \sum_{i=1}^{n} [c_i = j], \qquad
        c_i = \operatorname*{argmin}_j \lVert p_i - \mu_j \rVert

    Args:
        words: n patches, or descriptors of them, of each image.
        codebook: the visual words, for example centres of :func:`chainrule.clustering.k_means`.

    Returns:
        Shares that sum to 1.

    Raises:
        ValueError: if there is no patch, or the numbers do not fit those of the codebook or are not finite.

    Source: Sivic and Zisserman 2003, section 2.

    >>> bag_of_visual_words(torch.tensor([[0.1], [0.9], [0.8], [0.2]]), torch.tensor([[0.0], [1.0], [9.0]]))
    tensor([0.5000, 0.5000, 0.0000])
    """
    check_tensor("words", words)
    if words.dim() < 2 or words.shape[-2] == 0:
        raise ValueError(f"expected words of shape (..., n, d), n at least 1, got {tuple(words.shape)}")
    index = nearest_center(words.reshape(-1, words.shape[-1]), codebook).reshape(words.shape[:-1])  # (*batch, n)
    ones = torch.ones_like(index, dtype=words.dtype)
    return words.new_zeros(*index.shape[:-1], len(codebook)).scatter_add_(-1, index, ones) / index.shape[-1]


def _tiles(images: Tensor, side: int) -> Tensor:
    """Tiles that do not overlap: (..., H, W) -> (..., H / side, W / side, side * side)."""
    split = images.unflatten(-1, (-1, side)).unflatten(-3, (-1, side))  # (..., rows, side, columns, side)
    return split.transpose(-3, -2).flatten(-2)


def _check_colour(images: Tensor) -> None:
    check_tensor("images", images)
    if images.dim() < 3 or images.shape[-3] != 3:
        raise ValueError(f"expected images of shape (..., 3, height, width), got {tuple(images.shape)}")
    check_finite("images", images)


def _check_grey(images: Tensor) -> None:
    check_tensor("images", images)
    if images.dim() < 2 or 0 in images.shape[-2:]:
        raise ValueError(f"expected images of shape (..., height, width), none of them 0, got {tuple(images.shape)}")
    check_finite("images", images)
