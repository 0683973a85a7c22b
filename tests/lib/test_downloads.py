"""The data sets that are fetched: small files in the real formats, from a server on this machine."""

import functools
import gc
import gzip
import hashlib
import http.server
import io
import logging
import struct
import tarfile
import threading
import warnings

import numpy as np
import pytest
import torch

from chainrule.data import CIFAR10_CLASSES, FASHION_MNIST_CLASSES, _downloads, cifar10, fashion_mnist, mnist


def idx(array):
    """An array in the format of MNIST."""
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes(), mtime=0)


def tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


RANDOM = np.random.default_rng(0)
DIGITS = {"train": (RANDOM.integers(0, 256, (7, 28, 28)), RANDOM.integers(0, 10, 7))}
DIGITS["t10k"] = (RANDOM.integers(0, 256, (3, 28, 28)), np.array([9, 0, 5]))
RECORDS = [np.hstack([RANDOM.integers(0, 10, (2, 1)), RANDOM.integers(0, 256, (2, 3072))]) for _ in range(6)]
NAMES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that a local server offers, and a function that names a data set's files in it by their hashes."""
    logging.getLogger("pooch").setLevel(logging.WARNING)
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *arguments: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

        def offer(attribute, contents):
            for name, content in contents.items():
                (folder / name).write_bytes(content)
            hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
            source = _downloads._Source("small", f"http://127.0.0.1:{server.server_port}/", hashes)
            monkeypatch.setattr(_downloads, attribute, source)
            return folder

        yield offer
        server.shutdown()


def mnist_files(**changes):
    files = {}
    for part, (images, labels) in DIGITS.items():
        files |= {f"{part}-images-idx3-ubyte.gz": idx(images), f"{part}-labels-idx1-ubyte.gz": idx(labels)}
    return files | {name.replace("_", "-") + "-ubyte.gz": content for name, content in changes.items()}


@pytest.mark.parametrize("load, source", [(mnist, "_MNIST"), (fashion_mnist, "_FASHION_MNIST")])
@pytest.mark.parametrize("train, part", [(True, "train"), (False, "t10k")])
def test_files_in_the_format_of_mnist(site, tmp_path, load, source, train, part):
    site(source, mnist_files())
    images, labels = load(train=train, folder=tmp_path / "kept")
    assert images.dtype == torch.float32 and labels.dtype == torch.int64
    assert torch.allclose(images * 255, torch.from_numpy(DIGITS[part][0]).float(), atol=1e-4)
    assert labels.tolist() == DIGITS[part][1].tolist()
    assert images.max() <= 1 and images.min() >= 0


@pytest.mark.parametrize("train", [True, False])
def test_files_in_the_format_of_cifar(site, tmp_path, train):
    contents = dict(zip(NAMES, (r.astype(np.uint8).tobytes() for r in RECORDS), strict=True))
    site("_CIFAR10", {"cifar-10-binary.tar.gz": tar(contents)})
    images, labels = cifar10(train=train, folder=tmp_path / "kept")
    records = np.concatenate(RECORDS[:5] if train else RECORDS[5:])
    assert images.shape == (len(records), 3, 32, 32) and images.dtype == torch.float32
    assert labels.tolist() == records[:, 0].tolist() and labels.dtype == torch.int64
    # Of a record, the first 1024 bytes after the label are red, and each 32 of these are a row.
    assert images[1, 0, 2, 5] == torch.tensor(records[1, 1 + 2 * 32 + 5] / 255).float()
    assert images[0, 2, 31, 31] == torch.tensor(records[0, -1] / 255).float()
    assert torch.allclose(255 * images.flatten(1), torch.from_numpy(records[:, 1:]).float(), atol=1e-4)


def test_what_was_fetched_once_is_kept(site, tmp_path):
    folder = site("_MNIST", mnist_files())
    first = mnist(folder=tmp_path / "kept")
    assert {path.name for path in (tmp_path / "kept" / "small").iterdir()} == {
        "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
    }  # fmt: skip
    for path in folder.iterdir():
        path.unlink()  # nothing is offered any more
    assert all(torch.equal(a, b) for a, b in zip(mnist(folder=str(tmp_path / "kept")), first, strict=True))


def test_without_a_folder_the_users_cache_keeps_them(site, tmp_path, monkeypatch):
    site("_MNIST", mnist_files())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "cache"))
    mnist(train=False)
    (found,) = (tmp_path / "cache").rglob("t10k-labels-idx1-ubyte.gz")
    assert found.parts[-3:-1] == ("chainrule", "small")


@pytest.mark.parametrize("damage", [lambda b: b[:-5], lambda b: b"", lambda b: b[:20] + b"?" + b[21:]])
def test_a_damaged_copy_is_replaced(site, tmp_path, damage):
    site("_MNIST", mnist_files())
    first = mnist(folder=tmp_path)
    path = tmp_path / "small" / "train-images-idx3-ubyte.gz"
    good = path.read_bytes()
    path.write_bytes(damage(good))
    assert torch.equal(mnist(folder=tmp_path)[0], first[0])
    assert path.read_bytes() == good


def test_a_server_that_sends_something_else_is_named_and_nothing_is_kept(site, tmp_path):
    folder = site("_MNIST", mnist_files())
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"<html>Please log in</html>")
    expected = hashlib.sha256(mnist_files()["train-images-idx3-ubyte.gz"]).hexdigest()
    said = rf"expected train-images-idx3-ubyte.gz with the SHA-256 hash {expected}, got another file from http://127"
    with pytest.raises(ValueError, match=said):
        mnist(folder=tmp_path / "kept")
    assert not list((tmp_path / "kept").rglob("*.gz"))


def test_a_damaged_copy_that_cannot_be_replaced_is_named(site, tmp_path):
    folder = site("_MNIST", mnist_files())
    mnist(folder=tmp_path / "kept")
    copy = tmp_path / "kept" / "small" / "train-labels-idx1-ubyte.gz"
    copy.write_bytes(b"damaged")
    (folder / copy.name).unlink()
    with pytest.raises(ConnectionError) as caught:
        mnist(folder=tmp_path / "kept")
    assert str(caught.value).endswith(f"without a network, copy the file by hand to {copy}")
    with warnings.catch_warnings():  # pooch leaves the answer open where the server has no such page
        warnings.simplefilter("ignore", ResourceWarning)
        del caught
        gc.collect()


def test_without_a_server_the_message_says_what_to_do(site, tmp_path, monkeypatch):
    site("_MNIST", mnist_files())
    nowhere = _downloads._Source("small", "http://127.0.0.1:9/", _downloads._MNIST.hashes)
    monkeypatch.setattr(_downloads, "_MNIST", nowhere)
    with pytest.raises(ConnectionError, match=r"expected to fetch http://127.0.0.1:9/train-images.*copy the file by"):
        mnist(folder=tmp_path / "kept")
    (tmp_path / "kept" / "small").mkdir(parents=True, exist_ok=True)
    for name, content in mnist_files().items():  # by hand
        (tmp_path / "kept" / "small" / name).write_bytes(content)
    assert len(mnist(folder=tmp_path / "kept")[0]) == 7


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"train_images_idx3": gzip.compress(b"\0\0\x0d\x03" + bytes(12))}, "3 axes in .*begins with 00000d03"),
        ({"train_images_idx3": idx(DIGITS["train"][1])}, "bytes in 3 axes in .*idx3-ubyte.gz, got .*with 00000801"),
        ({"train_images_idx3": gzip.compress(b"\0\0\x08\x03\0\0")}, "begins with 00000803"),
        ({"train_images_idx3": gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", 7, 28, 28))}, r"\(7, 28, 28\).* 0 b"),
        ({"train_labels_idx1": idx(np.arange(6))}, "a label for each of 7 images in .*idx1-ubyte.gz, got 6"),
        ({"train_labels_idx1": idx(np.arange(7) + 4)}, "labels from 0 to 9 in .*idx1-ubyte.gz, got 10"),
    ],
)  # fmt: skip
def test_files_that_hold_something_else_are_named(site, tmp_path, changes, said):
    site("_MNIST", mnist_files(**changes))
    with pytest.raises(ValueError, match=said):
        mnist(folder=tmp_path)


@pytest.mark.parametrize(
    "members, said",
    [
        ({"data_batch_1.bin": bytes(3073)}, "expected data_batch_2.bin in the archive .*got none"),
        (dict.fromkeys(NAMES, bytes(3072)), r"records of 3073 bytes in data_batch_1.bin of .*got 3072 bytes"),
        (dict.fromkeys(NAMES, b""), r"got 0 bytes"),
        (dict.fromkeys(NAMES, bytes([10]) + bytes(3072)), "labels from 0 to 9 in .*got 10"),
    ],
)
def test_archives_that_hold_something_else_are_named(site, tmp_path, members, said):
    site("_CIFAR10", {"cifar-10-binary.tar.gz": tar(members)})
    with pytest.raises(ValueError, match=said):
        cifar10(folder=tmp_path)


def test_the_real_sources_have_a_name_an_address_and_full_hashes():
    for source in (_downloads._MNIST, _downloads._FASHION_MNIST, _downloads._CIFAR10):
        assert source.url.startswith("http") and source.url.endswith("/")
        assert all(len(value) == 64 and int(value, 16) for value in source.hashes.values())
    assert len({s.name for s in (_downloads._MNIST, _downloads._FASHION_MNIST, _downloads._CIFAR10)}) == 3
    assert len(set(FASHION_MNIST_CLASSES)) == len(set(CIFAR10_CLASSES)) == 10
