"""Data sets: small ones that need no network, and well-known large ones that are fetched at the first call.

The small ones come with packages that the plain installation already has; the pages use these. The large ones (MNIST,
Fashion-MNIST and CIFAR-10) are fetched from where their makers offer them, checked by their hash and kept on the disk.
Pages and exercises use this module; no module that implements a method imports it.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from chainrule.data._downloads import CIFAR10_CLASSES, FASHION_MNIST_CLASSES, cifar10, fashion_mnist, mnist

__all__ = [
    "CIFAR10_CLASSES",
    "FASHION_MNIST_CLASSES",
    "cifar10",
    "digits",
    "fashion_mnist",
    "mnist",
    "sample_photograph",
    "sample_photographs",
]


def digits() -> tuple[Float[Tensor, "1797 8 8"], Int64[Tensor, "1797"]]:
    r"""Handwritten digits with their labels, 1797 images of $8\times8$ pixels from scikit-learn's sample data.

    Each pixel counts the ink in a $4\times4$ block of a $32\times32$ scan, so it is a multiple of $\tfrac1{16}$.
    Thirteen people wrote them, and the images of one writer stand together: in this order they are not independent.

    Returns:
        The images, ink from 0 (paper) to 1 (black), row first; and their labels, 0 to 9.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository 1998
    (its test set).

    >>> images, labels = digits()
    >>> images.shape, images.dtype, labels[:5].tolist()
    (torch.Size([1797, 8, 8]), torch.float32, [0, 1, 2, 3, 4])
    """
    from sklearn.datasets import load_digits  # takes a second to import, which only this function should cost

    bunch = load_digits()
    return torch.from_numpy(bunch.images).float() / 16, torch.from_numpy(bunch.target).long()


def sample_photograph() -> Float[Tensor, "300 256"]:
    r"""A grey photograph: the computer scientist Grace Hopper, from matplotlib's sample data (public domain).

    The file is a JPEG image. Each grey value is the mean over $2\times2$ of its pixels, which removes most traces of
    that compression, and is rounded to a multiple of $\tfrac1{255}$, as a camera would store it.

    Returns:
        Grey values from 0 (black) to 1 (white), the row first.

    Raises:
        FileNotFoundError: if matplotlib was installed without its sample data.

    >>> photograph = sample_photograph()
    >>> photograph.shape, photograph.dtype
    (torch.Size([300, 256]), torch.float32)
    """
    from PIL import Image  # matplotlib depends on Pillow; only this function needs it

    path = files("matplotlib") / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    if not path.is_file():
        raise FileNotFoundError(
            "expected the photograph grace_hopper.jpg in matplotlib's sample data, but this matplotlib was installed "
            "without it; install it again with: pip install --force-reinstall matplotlib"
        )
    with path.open("rb") as stream, Image.open(stream) as image:
        grey = torch.from_numpy(np.asarray(image.convert("L"), dtype=np.float32))  # (600, 512), 0 to 255
    blocks = grey.reshape(300, 2, 256, 2)
    return blocks.mean(dim=(1, 3)).round() / 255  # (300, 256)


def sample_photographs() -> Float[Tensor, "2 3 427 640"]:
    r"""Two colour photographs from scikit-learn's sample data: a Chinese temple and a dahlia in flower.

    Both are under a Creative Commons licence (CC BY 2.0): the temple by danielbuechele, the flower by vultilion.

    Returns:
        Red, green and blue from 0 to 1, the temple first; axes are photograph, colour, row, column.

    >>> china, flower = sample_photographs()
    >>> china.shape, china.dtype
    (torch.Size([3, 427, 640]), torch.float32)
    """
    from sklearn.datasets import load_sample_image  # as slow to import as above

    photographs = np.stack([load_sample_image(name) for name in ("china.jpg", "flower.jpg")])  # (2, 427, 640, 3)
    return torch.from_numpy(photographs).permute(0, 3, 1, 2).contiguous().float() / 255  # (2, 3, 427, 640)
