"""The wall: a pre-warmed process in which strangers' code runs, sees inputs only, and can do no harm.

Bubblewrap builds the room: the system's libraries, the interpreter and a few packages, all read-only; no network, no other
processes, an empty environment. Where the grader is root, the room is entered as an unprivileged user. Inside,
:mod:`chainrule.grading.inside` confines each submission once more. What comes back is bytes, and nobody here believes them.

Nothing falls back to less: where the room cannot be built, :class:`SandboxUnavailable` says what to install.
"""

import ast
import base64
import importlib.metadata
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from chainrule.grading.inside import wire

__all__ = ["Limits", "Outcome", "Sandbox", "SandboxUnavailable", "require_sandbox"]

INSIDE = Path(__file__).parent / "inside"
LIBRARY = Path(__file__).parents[1]
FIRST_USER = 61_000  # unprivileged ids that no distribution hands out; worker n runs as FIRST_USER + n when the grader is root
PACKAGES = ("torch", "numpy")


class SandboxUnavailable(RuntimeError):
    """Grading for marks is refused here; the message says why and what to do."""


@dataclass(frozen=True)
class Limits:
    """What one submission may use. Each limit that is hit is told to the student.

    Args:
        seconds: wall-clock time for the whole submission
        memory_megabytes: memory of all its processes together, beside what torch itself takes
        disk_megabytes: its temporary folder
        processes: processes and threads at a time
        result_bytes: size of what its functions return
        output_bytes: size of what it prints
    """

    seconds: float = 60.0
    memory_megabytes: int = 1024
    disk_megabytes: int = 64
    processes: int = 32
    result_bytes: int = 16_000_000
    output_bytes: int = 1_000_000

    def sentence(self, stopped: str) -> str:
        """Say to the student which limit stopped the submission.

        >>> Limits(seconds=5).sentence("time")
        'The notebook was stopped: it ran longer than 5 seconds.'
        """
        reasons = {
            "time": f"it ran longer than {self.seconds:g} seconds",
            "memory": f"it used more than {self.memory_megabytes} MB of memory",
            "processes": f"it started more than {self.processes} processes",
            "output": f"it printed more than {self.output_bytes / 1e6:g} MB",
            "result": f"its functions returned more than {self.result_bytes / 1e6:g} MB",
        }
        return f"The notebook was stopped: {reasons[stopped]}."


@dataclass(frozen=True)
class Outcome:
    """What came out of the sandbox, not yet believed.

    Args:
        messages: what the student's process wrote on its result channel, split into JSON objects
        printed: what it printed, cut at the limit
        stopped: the limit that was hit, or None
    """

    messages: list[dict]
    printed: str
    stopped: str | None


@cache
def require_sandbox() -> str:
    """Return the path of bubblewrap where it works.

    Raises:
        SandboxUnavailable: with one sentence on what is missing and how to get it.
    """
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        raise SandboxUnavailable(
            f"grading for marks runs strangers' code and needs Linux on x86_64 or aarch64 for its sandbox; this is {platform.system()} "
            f"on {platform.machine()}: use a Linux machine or virtual machine (self-checks with check(...) work everywhere)"
        )
    found = shutil.which("bwrap")
    if found is None:
        raise SandboxUnavailable(
            "grading for marks needs bubblewrap, which is not installed: run `apt-get install bubblewrap` (Debian, Ubuntu) or "
            "`dnf install bubblewrap` (Fedora)"
        )
    trial = subprocess.run(
        [found, "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "unshare", "--user", "true"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    if trial.returncode != 0:
        raise SandboxUnavailable(
            "bubblewrap is installed but may not create user namespaces here (" + trial.stderr.strip()[-200:] + "): allow them, on "
            "Ubuntu with `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, in a container with its seccomp profile"
        )
    return found


@cache
def _package_paths() -> tuple[Path, ...]:
    """Files and folders in site-packages that torch and numpy need, and nothing else: what is absent cannot be imported."""
    waiting, seen, paths = list(PACKAGES), set(), set()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a requirement of another platform
        for requirement in distribution.requires or []:
            if "extra ==" not in requirement:
                waiting.append(re.match(r"[A-Za-z0-9._-]+", requirement)[0])
        for file in distribution.files or []:
            top = file.parts[0]
            if top != ".." and not top.endswith((".pth", "__pycache__")):
                paths.add(Path(distribution.locate_file(top)))
    return tuple(sorted(path for path in paths if path.exists()))


def library_without(forbidden: frozenset[str]) -> list[Path]:
    """Modules of the library that neither are, hold nor import what is forbidden, so that a submission may see them.

    The services that the library draws, checks and grades with are left out in any case.
    """
    holding = {".".join(name.split(".")[:2]) for name in forbidden if name.startswith("chainrule.")}
    services = {"plots", "explore", "quiz", "checks", "grading", "quizzes"}
    imports = {}
    for path in LIBRARY.glob("*.py"):
        if path.stem in services or path.stem == "__init__":
            continue
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = {node.module for node in tree if isinstance(node, ast.ImportFrom) and node.module}
        imports[f"chainrule.{path.stem}"] = {name for name in names if name.startswith("chainrule.")}
    out = set(holding)
    while True:
        more = {name for name, uses in imports.items() if name not in out and uses & out}
        if not more:
            return [LIBRARY / f"{name.partition('.')[2]}.py" for name in sorted(imports) if name not in out]
        out |= more


class Sandbox:
    """One pre-warmed room that runs one submission after the other, each in walls of its own.

    Use it as a context manager, or call :meth:`close`.

    Args:
        worker: its number among the workers of this machine, from 0
        forbidden: full names that a submission must not find, for example ``chainrule.information.entropy``

    Raises:
        SandboxUnavailable: where the sandbox cannot be had; see :func:`require_sandbox`.
    """

    def __init__(self, worker: int = 0, forbidden: frozenset[str] = frozenset()):
        self.worker, self.forbidden = worker, forbidden
        self._process: subprocess.Popen | None = None
        self._socket: socket.socket | None = None
        self._log = tempfile.TemporaryFile()  # what the room's own processes complain of; a pipe that nobody reads would fill up

    def __enter__(self) -> "Sandbox":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _command(self, descriptor: int) -> list[str]:
        """The bubblewrap command: what the room holds."""
        interpreter, base = Path(sys.executable).resolve(), Path(sys.base_prefix).resolve()
        room = ["--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox", "--chdir", "/tmp"]
        for variable, value in {"PATH": "/usr/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}.items():
            room += ["--setenv", variable, value]
        room += ["--ro-bind", "/usr", "/usr"]
        for name in ("bin", "sbin", "lib", "lib32", "lib64"):
            link = Path("/", name)
            if link.is_symlink():
                room += ["--symlink", f"usr/{name}", f"/{name}"]
            elif link.is_dir():
                room += ["--ro-bind", f"/{name}", f"/{name}"]
        room += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
        if not base.is_relative_to("/usr"):
            for parent in [*reversed(base.parents)][1:]:
                room += ["--perms", "0755", "--dir", str(parent)]  # bubblewrap's own default would shut the student out
            room += ["--ro-bind", str(base), str(base)]
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        for packages in (base / "lib" / version / "site-packages", Path("/usr/lib/python3/dist-packages"), Path("/usr/local/lib") / version):
            if packages.is_dir():
                room += ["--tmpfs", str(packages), "--remount-ro", str(packages)]  # no package that we did not choose
        for folder in ("/sandbox", "/sandbox/site", "/sandbox/site/chainrule"):
            room += ["--perms", "0755", "--dir", folder]
        room += ["--ro-bind", str(INSIDE), "/sandbox/inside"]
        for path in _package_paths():
            room += ["--ro-bind", str(path), f"/sandbox/site/{path.name}"]
        for path in [LIBRARY / "__init__.py", *library_without(self.forbidden)]:
            room += ["--ro-bind", str(path), f"/sandbox/site/chainrule/{path.name}"]
        room += ["--dev", "/dev", "--proc", "/proc", "--perms", "1777", "--size", str(1 << 20), "--tmpfs", "/tmp"]
        run = [str(interpreter), "-I", "-S", "-B", "/sandbox/inside/server.py", str(descriptor)]
        if os.geteuid() != 0:
            return [require_sandbox(), "--unshare-all", *room, *run]
        # As root no user namespace is needed to build the room; its door is passed as an ordinary user, who can't go back.
        user = str(FIRST_USER + self.worker)
        drop = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
        spaces = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        return [require_sandbox(), *spaces, *room, *drop, *run]

    def start(self) -> None:
        """Build the room and wait until torch is imported in it."""
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                self._command(theirs.fileno()), pass_fds=(theirs.fileno(),), env={}, cwd="/",
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._log,
            )  # fmt: skip
        self._socket = ours
        ours.settimeout(120)
        try:
            wire.send(ours, {"forbidden": sorted(self.forbidden)})
            ready = wire.receive(ours)
        except (OSError, ValueError) as error:
            ready, problem = None, repr(error)
        else:
            problem = ""
        if ready != {"ready": True}:
            self.close()
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip()[-500:]
            raise SandboxUnavailable(f"the sandbox did not start: {said or problem or 'it ended without a word'}")

    def run(self, cells: list[str], exercises: list[dict], *, seed: int, limits: Limits) -> Outcome:
        """Run one submission: its cells, then each exercise on its encoded inputs.

        Args:
            cells: the sources of the notebook's code cells
            exercises: for each, ``name``, ``seconds`` and ``cases``, a list of lists of inputs from ``wire.encode``
            seed: seeds Python's, numpy's and torch's generators inside
            limits: what the submission may use

        Raises:
            SandboxUnavailable: where the room broke down twice, which no submission should be able to cause.
        """
        job = {"cells": cells, "exercises": exercises, "seed": seed, "limits": asdict(limits)}
        if self._socket is None:
            self.start()
        self._socket.settimeout(limits.seconds + 30)  # the warden keeps the limit; this is for the case that it cannot
        try:
            wire.send(self._socket, job)
            answer = wire.receive(self._socket)
        except TimeoutError:
            self.close()
            return Outcome([], "", "time")
        except (OSError, ValueError):
            answer = None
        if answer is None or "broken" in answer:
            self.close()
            raise SandboxUnavailable(f"the sandbox broke down: {answer or 'its process is gone'}")
        return Outcome(wire.unpack(base64.b64decode(answer["result"])), answer["printed"], answer["stopped"])

    def close(self) -> None:
        """End the room with everything in it."""
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.kill()  # bubblewrap's process 1 inside dies with it, and the namespace with that
            self._process.wait()
        self._process = self._socket = None
