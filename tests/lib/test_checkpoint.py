"""The checkpoint file: whole at every moment, read without running code, and refused with a reason."""

import os
import re

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from chainrule import _checkpoint
from chainrule._checkpoint import read_checkpoint, write_checkpoint

SETTINGS = {"seed": 0}


def parts(size=2):
    model = nn.Linear(size, 1)
    return {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1 * size)}


def test_what_is_written_is_read(tmp_path):
    old, new = parts(), parts()
    write_checkpoint(tmp_path / "a.pt", SETTINGS, old, best={"w": torch.ones(3)}, epoch=4)
    others = read_checkpoint(str(tmp_path / "a.pt"), SETTINGS, new)
    assert others["epoch"] == 4 and torch.equal(others["best"]["w"], torch.ones(3)) and len(others) == 2
    assert_close(new["model"].state_dict(), old["model"].state_dict(), rtol=0, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("moment", ["save", "fsync", "replace"])
def test_a_failure_at_any_moment_leaves_the_old_file(tmp_path, monkeypatch, moment):
    path = tmp_path / "a.pt"
    write_checkpoint(path, SETTINGS, parts(), epoch=1)
    before = path.read_bytes()
    original = torch.save

    def half_save(content, file):
        original(content, file)
        file.truncate(100)
        raise OSError("disk full")

    def fail(*arguments):
        raise OSError("disk full")

    broken = {"save": (torch, "save", half_save), "fsync": (os, "fsync", fail), "replace": (os, "replace", fail)}
    monkeypatch.setattr(*broken[moment])
    with pytest.raises(OSError, match="disk full"):
        write_checkpoint(path, SETTINGS, parts(), epoch=2)
    monkeypatch.undo()
    assert path.read_bytes() == before
    write_checkpoint(path, SETTINGS, parts(), epoch=3)  # what was left beside it is no obstacle
    assert read_checkpoint(path, SETTINGS, parts())["epoch"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_the_content_is_on_the_disk_before_the_name_moves(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(_checkpoint.os, "fsync", lambda number: seen.append(os.fstat(number).st_size))
    replace = os.replace
    monkeypatch.setattr(_checkpoint.os, "replace", lambda a, b: seen.append("replace") or replace(a, b))
    write_checkpoint(tmp_path / "a.pt", SETTINGS, parts())
    assert seen == [(tmp_path / "a.pt").stat().st_size, "replace"]


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"no checkpoint"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "a.pt"
    write_checkpoint(path, SETTINGS, parts())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        ValueError, match=rf"expected a checkpoint at {re.escape(str(path))}, got a file that cannot be"
    ):
        read_checkpoint(path, SETTINGS, parts())


@pytest.mark.parametrize("content", [{"weights": 1}, [1, 2], 3.0])
def test_a_file_of_something_else_is_named(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="expected a checkpoint at .* cannot be read: "):
        read_checkpoint(tmp_path / "a.pt", SETTINGS, parts())


def test_code_in_a_file_is_not_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"settings": Harm()}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        read_checkpoint(tmp_path / "a.pt", SETTINGS, parts())
    assert not (tmp_path / "harm").exists()


def test_another_run_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    write_checkpoint(path, SETTINGS, parts())
    said = f"expected the run of {path} with {{'seed': 0}} and model, optimizer, got {{'seed': 1}} and model, optimizer"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        read_checkpoint(path, {"seed": 1}, parts())
    with pytest.raises(ValueError, match="and model, optimizer, got .* and model$"):
        read_checkpoint(path, SETTINGS, {"model": parts()["model"]})
    with pytest.raises(ValueError, match=f"expected the model that wrote {re.escape(str(path))}, got another: Error"):
        read_checkpoint(path, SETTINGS, parts(size=3))
    other = parts()
    other["optimizer"] = torch.optim.SGD([{"params": [p]} for p in other["model"].parameters()], lr=0.1)
    with pytest.raises(ValueError, match="expected the optimizer that wrote .*got another: loaded state dict"):
        read_checkpoint(path, SETTINGS, other)
