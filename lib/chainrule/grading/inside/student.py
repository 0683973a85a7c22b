"""The student's process: the notebook's cells, then each exercise on its inputs. Everything here is at the student's mercy."""

import contextlib
import json
import os
import signal
import sys
import time
import traceback

from wire import decode, encode, frame

__all__ = ["run"]


def block(names: list[str]) -> None:
    """Make what an exercise names as its answer raise, with a sentence, wherever Python code can reach it.

    A function is replaced in every module that holds it and as a method of tensors. For an operator of torch the kernel in the
    dispatcher is replaced too, which covers `torch.ops` and whatever calls it from C++.
    """
    import torch

    kernels = torch.library.Library("aten", "IMPL")
    _kept.append(kernels)  # torch takes the replacement back when the library object dies
    for name in names:
        for module in [loaded for loaded in sys.modules if loaded == name or loaded.startswith(f"{name}.")]:
            sys.modules[module] = None  # a module cannot be imported any more
        owner, _, attribute = name.rpartition(".")
        original = getattr(sys.modules.get(owner), attribute, None)
        if original is None:
            continue

        def refuse(*_, _name=name, **__):
            raise RuntimeError(f"{_name} is the answer to an exercise of this sheet, so grading blocks it: write it yourself")

        for module in list(sys.modules.values()):
            with contextlib.suppress(Exception):  # some modules compute their attributes, and fail at it
                if vars(module).get(attribute) is original:
                    setattr(module, attribute, refuse)
        if owner.startswith("torch"):
            with contextlib.suppress(AttributeError, TypeError):
                if hasattr(torch.Tensor, attribute):
                    setattr(torch.Tensor, attribute, refuse)
            for operator in (attribute, f"special_{attribute}", f"_{attribute}"):
                packet = getattr(torch.ops.aten, operator, None)
                for overload in packet.overloads() if packet is not None else []:
                    with contextlib.suppress(RuntimeError):
                        kernels.impl(f"{operator}.{overload}" if overload != "default" else operator, refuse, "CPU")


_kept: list = []


def _say(pipe, message: dict) -> None:
    with contextlib.suppress(BrokenPipeError):
        pipe.write(frame(json.dumps(message).encode()))
        pipe.flush()


def _explain(error: BaseException) -> str:
    """The error in one or two lines, with the line of the student's own cell."""
    places = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("<cell")]
    where = f" ({places[-1].filename[1:-1]}, line {places[-1].lineno})" if places else ""
    if isinstance(error, SyntaxError) and (error.filename or "").startswith("<cell"):
        where = f" ({error.filename[1:-1]}, line {error.lineno})"
    return f"{type(error).__name__}: {str(error)[:500]}{where}"


def run(job: dict, pipe) -> None:
    """Run the cells of the notebook, then each exercise on its inputs in a process of its own, and say what came back."""
    import random

    import numpy
    import torch

    sys.stdout.reconfigure(line_buffering=True)  # the process may be ended before it could flush
    random.seed(job["seed"]), numpy.random.seed(job["seed"] % 2**32), torch.manual_seed(job["seed"])  # noqa: NPY002
    space = {"__name__": "__main__", "__builtins__": __builtins__}
    for index, source in enumerate(job["cells"], start=1):
        name = f"<cell {index}>"
        try:
            exec(compile(source, name, "exec", dont_inherit=True), space)  # noqa: S102  that is what a sandbox is for
        except BaseException as error:  # noqa: BLE001  a failed cell, sys.exit included, must not hide the others
            _say(pipe, {"cell": index, "error": _explain(error)})
    for exercise in job["exercises"]:
        pid = os.fork()  # a crash or a hang in one exercise leaves the others alone
        if pid == 0:
            with contextlib.suppress(BaseException):
                _answer(exercise, space, pipe)
            os._exit(0)
        deadline = time.monotonic() + exercise["seconds"]
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                _say(pipe, {"exercise": exercise["name"], "limit": f"stopped after {exercise['seconds']} seconds"})
                break
            time.sleep(0.001)
    _say(pipe, {"done": True})


def _answer(exercise: dict, space: dict, pipe) -> None:
    name = exercise["name"]
    function = space.get(name)
    if not callable(function):
        _say(pipe, {"exercise": name, "missing": True})
        return
    for index, inputs in enumerate(exercise["cases"]):
        try:
            value = encode(function(*[decode(item) for item in inputs]))
            _say(pipe, {"exercise": name, "case": index, "value": value})
        except BaseException as error:  # noqa: BLE001  sys.exit and KeyboardInterrupt are answers too, wrong ones
            _say(pipe, {"exercise": name, "case": index, "error": _explain(error)})
