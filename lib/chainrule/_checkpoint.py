"""The file from which an interrupted run goes on: written in one atomic move, read with errors that name the cause.

Private to the library: :mod:`chainrule.training` uses it.
"""

import os
import pickle
from pathlib import Path
from typing import Any

import torch

__all__ = ["read_checkpoint", "write_checkpoint"]


def write_checkpoint(path: str | os.PathLike, settings: dict[str, Any], parts: dict[str, Any], **others: Any) -> None:
    """Replace the file in one move: a reader finds the old one or the new one, whenever this process is killed.

    Args:
        path: the file.
        settings: what must be equal where the run goes on.
        parts: objects whose ``state_dict()`` is stored, by name.
        **others: further plain data.
    """
    target = Path(path)
    beside = target.with_name(target.name + ".part")  # in the same folder, since a move between disks is not atomic
    states = {name: part.state_dict() for name, part in parts.items()}
    with beside.open("wb") as file:
        torch.save({"settings": settings, "states": states, "others": others}, file)
        file.flush()
        os.fsync(file.fileno())  # else a power cut could leave the new name with no content
    os.replace(beside, target)


def read_checkpoint(path: str | os.PathLike, settings: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """Give the parts their stored states, and return the further data.

    Raises:
        ValueError: if the file cannot be read, comes from a run with other settings, or a state does not fit its part.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)  # data only: no code of the file is run
        written, states, others = content["settings"], content["states"], content["others"]
    except (EOFError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise ValueError(f"expected a checkpoint at {path}, got a file that cannot be read: {error}") from error
    if written != settings or states.keys() != parts.keys():
        got = f"{settings} and {', '.join(parts)}"
        raise ValueError(f"expected the run of {path} with {written} and {', '.join(states)}, got {got}")
    for name, part in parts.items():
        try:
            part.load_state_dict(states[name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"expected the {name} that wrote {path}, got another: {error}") from error
    return others
