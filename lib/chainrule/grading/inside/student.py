"""The student's process: the notebook's cells, then each exercise. All of this is at the student's mercy."""

import contextlib
import ctypes
import errno
import json
import os
import re
import select
import signal
import sys
import time
import traceback
import types
import warnings

from wire import decode, encode, frame

__all__ = ["block", "run", "seed_generators"]

# Where torch keeps functions that are operators of the same name, and often methods of tensors too.
OPERATORS = ("torch", "torch.special", "torch.nn.functional", "torch.linalg", "torch.fft", "torch.functional")
# A first line that hands the cell to IPython and leaves its code Python; under any other %% it is some other language.
STILL_PYTHON = ("%%time", "%%timeit", "%%capture", "%%prun")


class Blocked(types.ModuleType):
    """Stands where a module was that gives an exercise away, and says so to whoever takes something from it."""

    def __init__(self, name: str, words: str):
        super().__init__(name)
        self.__dict__["__words"] = words

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(self.__dict__["__words"])

    def __call__(self, *_, **__):
        raise RuntimeError(self.__dict__["__words"])


def block(names: list[str]) -> list[str]:
    """Make what an exercise names as its answer raise, with a sentence, wherever Python code is likely to reach it.

    A function or module is replaced in every module that holds it, a method in its class. For an operator of torch the
    kernel in the dispatcher is replaced too, which covers ``torch.ops``, tensors' methods and whatever calls it from
    C++.

    This keeps an honest student honest. Code in the same process that sets out to undo it will find a way.

    Returns:
        Files and folders of the blocked modules, for ``confine.confine`` to cover up.
    """
    import torch

    replaced, hidden, methods, operators = {}, [], [], []
    for name in names:
        why = "is the answer to an exercise of this sheet, or gives it away, so grading blocks it: write it yourself"
        words = f"{name} {why}"

        def refuse(*_, _words=words, **__):
            raise RuntimeError(_words)

        if isinstance(sys.modules.get(name), types.ModuleType):
            file = getattr(sys.modules[name], "__file__", None) or ""
            hidden.append(os.path.dirname(file) if os.path.basename(file) == "__init__.py" else file)
            for loaded in [other for other in sys.modules if other == name or other.startswith(f"{name}.")]:
                stand_in = Blocked(loaded, words)
                replaced[id(sys.modules[loaded])] = (sys.modules[loaded], stand_in)
                sys.modules[loaded] = stand_in
            continue
        owner, _, attribute = name.rpartition(".")
        holder = sys.modules.get(owner)
        if holder is None and owner.rpartition(".")[0] in sys.modules:
            holder = getattr(sys.modules[owner.rpartition(".")[0]], owner.rpartition(".")[2], None)
        original = getattr(holder, attribute, None)
        if original is None:
            continue  # what does not exist here needs no blocking
        replaced[id(original)] = (original, refuse)
        if isinstance(holder, type):
            methods.append((holder, attribute, refuse))
        elif owner in OPERATORS:
            if callable(getattr(torch.Tensor, attribute, None)):
                methods.append((torch.Tensor, attribute, refuse))
            operators += [(operator, refuse) for operator in (attribute, f"special_{attribute}", f"_{attribute}")]
    for module in list(sys.modules.values()):
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            original, stand_in = replaced.get(id(value), (None, None))
            if original is value and original is not None:
                with contextlib.suppress(Exception):  # some modules do not let themselves be written to
                    setattr(module, attribute, stand_in)
    for holder, attribute, refuse in methods:
        with contextlib.suppress(AttributeError, TypeError):
            setattr(holder, attribute, refuse)
    _replace_kernels(operators)
    return sorted({path for path in hidden if path.startswith("/sandbox/site/")})


def _replace_kernels(operators: list) -> None:
    import torch

    # Not torch.library.Library: that object lies about where anyone finds it, and takes the replacements back when it
    # is told to.
    kernels = torch._C._dispatch_library("IMPL", "aten", "CPU", __file__, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that something is overridden is meant
        for operator, refuse in operators:
            packet = getattr(torch.ops.aten, operator, None)
            for overload in packet.overloads() if packet is not None else []:
                with contextlib.suppress(RuntimeError):
                    kernels.impl(f"{operator}.{overload}" if overload != "default" else operator, "CPU", refuse)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(kernels))  # never freed, and no name leads to it


def _say(pipe, message: dict) -> None:
    with contextlib.suppress(BrokenPipeError):
        pipe.write(frame(json.dumps(message).encode()))
        pipe.flush()


def _explain(error: BaseException, limits: dict) -> str:
    """The error in one or two lines, with the line of the student's own cell, and the limit that it comes from."""
    places = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("<cell")]
    where = f" ({places[-1].filename[1:-1]}, line {places[-1].lineno})" if places else ""
    if isinstance(error, SyntaxError) and (error.filename or "").startswith("<cell"):
        where = f" ({error.filename[1:-1]}, line {error.lineno})"
    number = error.errno if isinstance(error, OSError) else None
    why = ""
    if isinstance(error, MemoryError) or number == errno.ENOMEM or "can't allocate memory" in str(error):
        why = f"; a submission may use {limits['memory_megabytes']} MB of memory"
    elif number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        why = f"; its temporary folder holds {limits['disk_megabytes']} MB"
    elif number == errno.EAGAIN or "can't start new thread" in str(error):
        why = f"; a submission may have {limits['processes']} processes and threads at a time"
    elif number == errno.EMFILE:
        why = "; a submission may have 128 files open at a time"
    elif number in (errno.EPERM, errno.EACCES, errno.EROFS):
        why = "; a submission may write in /tmp only, and has no network"
    elif isinstance(error, ModuleNotFoundError) and not (error.name or "chainrule").startswith("chainrule"):
        why = "; while a submission is graded there are only torch, numpy, their requirements and Python's own library"
    return f"{type(error).__name__}: {str(error)[:500]}{why}{where}"


def _code(source: str, name: str):
    """Compile a cell; where it is no Python as it stands, once more without what only a notebook understands."""
    try:
        return compile(source, name, "exec", dont_inherit=True)
    except SyntaxError as problem:
        plain = re.sub(r"^([ \t]*)([%!?])", r"\1pass  # \2", source, flags=re.MULTILINE)
        plain = re.sub(r"^([ \t]*)([\w.]+\?{1,2}[ \t]*)$", r"\1pass  # \2", plain, flags=re.MULTILINE)
        first = source.lstrip().split(maxsplit=1)[:1]
        if first and first[0].startswith("%%") and first[0] not in STILL_PYTHON:
            plain = ""
        if plain == source:
            raise
        try:
            return compile(plain, name, "exec", dont_inherit=True)
        except SyntaxError:
            raise problem from None


def seed_generators(seed: int) -> None:
    """Seed every generator of random numbers that a submission can use without making its own."""
    import random

    import numpy
    import torch

    random.seed(seed), numpy.random.seed(seed % 2**32), torch.manual_seed(seed)


def run(job: dict, pipe) -> None:
    """Run the cells of the notebook, then the exercises in a further process, and say what came back."""
    import random

    import numpy
    import torch

    limits = job["limits"]
    sys.stdout.reconfigure(line_buffering=True)  # the process may be ended before it could flush
    seed_generators(job["seed"])
    space = {"__name__": "__main__", "__builtins__": __builtins__}
    for index, source in enumerate(job["cells"], start=1):
        try:
            exec(_code(source, f"<cell {index}>"), space)
        except BaseException as error:
            _say(pipe, {"cell": index, "error": _explain(error, limits)})
    # Each exercise begins with the generators as the cells left them, whatever the others did. Python's own would be
    # seeded anew from chance in every process that is forked.
    python, arrays, tensors = random.getstate(), numpy.random.get_state(), torch.get_rng_state()

    def restore() -> None:
        random.setstate(python), numpy.random.set_state(arrays), torch.set_rng_state(tensors)

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    waiting = list(job["exercises"])
    while waiting:  # one child answers them all; if it crashes or hangs in one, another goes on with those after it
        started, stopped = _answer_all(waiting, space, pipe, limits, restore)
        if stopped:
            _say(pipe, {"exercise": stopped["name"], "limit": f"stopped after {stopped['seconds']:g} seconds"})
        waiting = waiting[max(1, started) :]
    _say(pipe, {"done": True})


def _answer_all(exercises: list[dict], space: dict, pipe, limits: dict, restore) -> tuple[int, dict | None]:
    """Answer in a child until it or an exercise's time ends: how many it began, and which one was stopped."""
    begun_read, begun_write = os.pipe()
    # A crash or a hang in one exercise leaves the others alone, and a fork with torch in it is not cheap.
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            for exercise in exercises:
                os.write(begun_write, b".")
                restore()
                _answer(exercise, space, pipe, limits)
        os._exit(0)
    os.close(begun_write)
    ended = os.pidfd_open(pid)
    started, stopped, watched = 0, None, [begun_read, ended]
    deadline = time.monotonic() + exercises[0]["seconds"]
    while True:
        ready, _, _ = select.select(watched, [], [], max(0.0, deadline - time.monotonic()))
        if begun_read in ready:
            news = len(os.read(begun_read, 4096))
            if not news:
                watched = [ended]
            else:
                started = min(started + news, len(exercises))
                deadline = time.monotonic() + exercises[started - 1]["seconds"]
        elif ended in ready:
            break
        elif not ready:
            os.kill(pid, signal.SIGKILL)
            stopped = exercises[max(1, started) - 1]
            break
    os.waitpid(pid, 0)
    os.close(begun_read)
    os.close(ended)
    return started, stopped


def _answer(exercise: dict, space: dict, pipe, limits: dict) -> None:
    name = exercise["name"]
    function = space.get(name)
    if not callable(function):
        _say(pipe, {"exercise": name, "missing": True})
        return
    for index, inputs in enumerate(exercise["cases"]):
        try:
            value = encode(function(*[decode(item) for item in inputs]))
            _say(pipe, {"exercise": name, "case": index, "value": value})
        except BaseException as error:
            _say(pipe, {"exercise": name, "case": index, "error": _explain(error, limits)})
