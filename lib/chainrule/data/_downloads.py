"""Data sets that are fetched once from where their makers offer them, checked by their hash, and kept on the disk."""

from __future__ import annotations

import gzip
import os
import struct
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

__all__ = ["CIFAR10_CLASSES", "FASHION_MNIST_CLASSES", "cifar10", "fashion_mnist", "mnist"]

FASHION_MNIST_CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class _Source:
    """Where the files of a data set lie, and the SHA-256 hash of each."""

    name: str
    url: str
    hashes: dict[str, str]


_MNIST = _Source(
    "mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)
_FASHION_MNIST = _Source(
    "fashion-mnist",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)
_CIFAR10 = _Source(  # its binary version: the version for Python is a pickle, and reading one runs what is in it
    "cifar-10",
    "https://www.cs.toronto.edu/~kriz/",
    {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
)


def mnist(
    *, train: bool = True, folder: str | os.PathLike | None = None
) -> tuple[Float[Tensor, "m 28 28"], Int64[Tensor, "m"]]:
    r"""Handwritten digits of the MNIST data base, $28\times28$ pixels; 11 MB to fetch at the first call.

    Args:
        train: the 60,000 training images, or the 10,000 test images.
        folder: where the files are kept; the user's cache folder unless given.

    Returns:
        The images, ink from 0 to 1, row first; and their labels, 0 to 9.

    Raises:
        ConnectionError: if a file is not there and can't be fetched; the message says where to put it by hand.
        ValueError: if what was fetched is not the file we know, or a file does not hold what it should.

    Source: Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits, 1998.
    """
    return _mnist_like(_MNIST, train, folder)


def fashion_mnist(
    *, train: bool = True, folder: str | os.PathLike | None = None
) -> tuple[Float[Tensor, "m 28 28"], Int64[Tensor, "m"]]:
    r"""Pictures of clothes in the form of MNIST, $28\times28$ pixels; 31 MB to fetch at the first call.

    Args:
        train: the 60,000 training images, or the 10,000 test images.
        folder: where the files are kept; the user's cache folder unless given.

    Returns:
        The images, from 0 (background) to 1, row first; and their labels, which count in
        :data:`FASHION_MNIST_CLASSES`.

    Raises:
        ConnectionError: if a file is not there and can't be fetched; the message says where to put it by hand.
        ValueError: if what was fetched is not the file we know, or a file does not hold what it should.

    Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST, arXiv:1708.07747.

    >>> FASHION_MNIST_CLASSES[9]
    'ankle boot'
    """
    return _mnist_like(_FASHION_MNIST, train, folder)


def cifar10(
    *, train: bool = True, folder: str | os.PathLike | None = None
) -> tuple[Float[Tensor, "m 3 32 32"], Int64[Tensor, "m"]]:
    r"""Small colour photographs of ten kinds of things, $32\times32$ pixels; 170 MB to fetch at the first call.

    Args:
        train: the 50,000 training images, or the 10,000 test images.
        folder: where the file is kept; the user's cache folder unless given.

    Returns:
        The images, red, green and blue from 0 to 1, colour first and then the row; and their labels, which count in
        :data:`CIFAR10_CLASSES`.

    Raises:
        ConnectionError: if the file is not there and can't be fetched; the message says where to put it by hand.
        ValueError: if what was fetched is not the file we know, or a file does not hold what it should.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.

    >>> CIFAR10_CLASSES[3]
    'cat'
    """
    path = _fetch(_CIFAR10, "cifar-10-binary.tar.gz", folder)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] if train else ["test_batch.bin"]
    records = []
    with tarfile.open(path) as archive:
        for name in names:
            try:
                content = archive.extractfile(f"cifar-10-batches-bin/{name}").read()
            except KeyError:
                raise ValueError(f"expected {name} in the archive {path}, got none") from None
            if not content or len(content) % 3073:  # a byte for the class, then 3 x 32 x 32 bytes
                raise ValueError(f"expected records of 3073 bytes in {name} of {path}, got {len(content)} bytes")
            records.append(np.frombuffer(content, dtype=np.uint8).reshape(-1, 3073))
    table = torch.from_numpy(np.concatenate(records))  # (m, 3073)
    return table[:, 1:].reshape(-1, 3, 32, 32) / 255, _labels(table[:, 0], path)


def _mnist_like(source: _Source, train: bool, folder: str | os.PathLike | None) -> tuple[Tensor, Tensor]:
    first = "train" if train else "t10k"
    images = _read_idx(_fetch(source, f"{first}-images-idx3-ubyte.gz", folder), 3)
    path = _fetch(source, f"{first}-labels-idx1-ubyte.gz", folder)
    labels = _read_idx(path, 1)
    if len(images) != len(labels):
        raise ValueError(f"expected a label for each of {len(images)} images in {path}, got {len(labels)}")
    return images / 255, _labels(labels, path)


def _read_idx(path: Path, dims: int) -> Tensor:
    """Read the format of MNIST: two zero bytes, 8 for bytes as entries, the number of axes, their lengths, the entries.

    Whole numbers have 4 bytes, the most significant first.
    """
    with gzip.open(path) as stream:
        content = stream.read()
    head = 4 + 4 * dims
    if content[:4] != bytes([0, 0, 8, dims]) or len(content) < head:
        raise ValueError(f"expected bytes in {dims} axes in {path}, got a file that begins with {content[:4].hex()}")
    shape = struct.unpack(f">{dims}I", content[4:head])
    if len(content) - head != np.prod(shape, dtype=int):
        raise ValueError(f"expected the entries of shape {shape} in {path}, got {len(content) - head} bytes")
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=head).reshape(shape).copy())


def _labels(values: Tensor, path: Path) -> Tensor:
    if len(values) and values.max() > 9:
        raise ValueError(f"expected labels from 0 to 9 in {path}, got {values.max().item()}")
    return values.long()


def _fetch(source: _Source, name: str, folder: str | os.PathLike | None) -> Path:
    """The path of a file with the right hash: one that is there already, or a fresh copy in place of a damaged one."""
    import pooch  # takes a while to import, which only these functions should cost
    from requests.exceptions import RequestException

    place = Path(pooch.os_cache("chainrule") if folder is None else folder) / source.name
    known, url = f"sha256:{source.hashes[name]}", source.url + name
    try:
        return Path(pooch.retrieve(url, known_hash=known, fname=name, path=place))
    except ValueError as error:  # pooch has removed the copy that it fetched
        raise ValueError(
            f"expected {name} with the SHA-256 hash {source.hashes[name]}, got another file from {url}; it was not kept"
        ) from error
    except RequestException as error:  # no network, no server, no such page
        raise ConnectionError(
            f"expected to fetch {url}, got no answer that helps ({error}); without a network, copy the file by hand to "
            f"{place / name}"
        ) from error
