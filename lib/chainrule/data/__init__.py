"""Small data sets that need no network: each comes with a package that the plain installation already has.

Pages and exercises use them; no module that implements a method imports this one.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["sample_photograph"]


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
