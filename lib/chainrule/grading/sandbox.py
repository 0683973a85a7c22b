"""The wall: a pre-warmed process in which strangers' code runs, sees inputs only, and can do no harm.

Bubblewrap builds the room: the system's libraries, the interpreter and a few packages, all read-only; no network, no
other processes, an empty environment. Where the grader is root, the room is entered as an unprivileged user. Inside,
:mod:`chainrule.grading.inside` confines each submission once more. What comes back is bytes, and nobody here believes
them.

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
from typing import IO

from chainrule.grading.inside import wire

__all__ = ["Limits", "Outcome", "Sandbox", "SandboxUnavailable", "plain_text", "require_sandbox"]

INSIDE = Path(__file__).parent / "inside"
LIBRARY = Path(__file__).parents[1]
# When the grader is root, worker n runs as FIRST_USER + n % USERS: ids that neither distributions nor systemd hand out.
# Rooms that share one, in many processes, have nothing else in common: files, processes and counts are each room's own.
FIRST_USER, USERS = 60_710, 470
PACKAGES = ("torch", "numpy")
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


class SandboxUnavailable(RuntimeError):  # noqa: N818  it is a state of the machine, and its message says so
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


def plain_text(text: str) -> str:
    r"""A stranger's text as every file, database and page can hold it.

    No half characters, no control characters but ends of lines and tabs, none that turn the direction of the text.

    >>> plain_text("a\x00b\ud800\n")
    'a\ufffdb\ufffd\n'
    """
    return UNPRINTABLE.sub("\ufffd", text)


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


def _dropping(worker: int) -> list[str]:
    """The command that turns root into an ordinary user for good, to be followed by what that user runs."""
    user = str(FIRST_USER + worker % USERS)
    drop = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    return [*drop, "--no-new-privs"]


def _spaces() -> list[str]:
    """The namespaces that bubblewrap opens; as root no user namespace, so that inside there is none to be root of."""
    if os.geteuid() != 0:
        return ["--unshare-all"]
    return ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]


@cache
def require_sandbox() -> str:
    """Return the path of bubblewrap where it works.

    Raises:
        SandboxUnavailable: with one sentence on what is missing and how to get it.
    """
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        raise SandboxUnavailable(
            f"grading for marks runs strangers' code and needs Linux on x86_64 or aarch64 for its sandbox; "
            f"this is {platform.system()} on {platform.machine()}: use a Linux machine or virtual machine "
            "(self-checks with check(...) work everywhere)"
        )
    found = shutil.which("bwrap")
    if found is None:
        raise SandboxUnavailable(
            "grading for marks needs bubblewrap, which is not installed: run `apt-get install bubblewrap` "
            "(Debian, Ubuntu) or `dnf install bubblewrap` (Fedora)"
        )
    drop = _dropping(0) if os.geteuid() == 0 else []
    inner = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--net", "--fork", "true"]
    room = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    try:
        trial = subprocess.run(
            [found, *_spaces(), *room, *drop, *inner],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxUnavailable(f"bubblewrap is installed and does not run: {error}") from None
    if trial.returncode != 0:
        raise SandboxUnavailable(
            "bubblewrap is installed but may not create user namespaces here ("
            + trial.stderr.strip()[-200:]
            + "): allow them, on "
            "Ubuntu with `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, in a container with its "
            "seccomp profile"
        )
    return found


@cache
def _package_paths() -> tuple[Path, ...]:
    """Files and folders in site-packages that torch and numpy need; what is absent cannot be imported."""
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
        self._log: IO[bytes] | None = None

    def __enter__(self) -> "Sandbox":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _command(self, descriptor: int) -> list[str]:
        """The bubblewrap command: what the room holds."""
        interpreter, base = Path(sys.executable).resolve(), Path(sys.base_prefix).resolve()
        room = ["--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox", "--chdir", "/tmp"]
        # The seed of Python's hashes decides the order of sets: a mark must not depend on it.
        variables = {"PATH": "/usr/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
        for variable, value in {**variables, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}.items():
            room += ["--setenv", variable, value]
        room += ["--perms", "0755", "--dir", "/usr", "--perms", "0755", "--dir", "/etc"]
        made = {Path("/"), Path("/usr")}

        def bind(folder: Path) -> None:
            if (
                not folder.is_dir()
                or folder.is_relative_to("/usr/bin")
                or any(f.is_relative_to("/usr/lib") for f in folder.parents)
            ):
                return
            for parent in reversed(folder.parents):
                if parent not in made:
                    made.add(parent)
                    room.extend(
                        ["--perms", "0755", "--dir", str(parent)]
                    )  # bubblewrap's own default would shut the student out
            room.extend(["--ro-bind", str(folder), str(folder)])

        # Of the system only programs and libraries: /usr also holds what people install, check out and keep.
        for name in ("bin", "lib", "lib32", "lib64"):
            usr, link = Path("/usr", name), Path("/", name)
            if usr.is_dir():
                room += ["--ro-bind", str(usr), str(usr)]
            if link.is_symlink():
                room += ["--symlink", f"usr/{name}", f"/{name}"]
            elif link.is_dir():
                room += ["--ro-bind", f"/{name}", f"/{name}"]
        room += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
        if base != Path("/usr"):
            for name in ("bin", "lib", "lib64"):
                bind(base / name)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        for library in {
            base / "lib" / version,
            Path("/usr/lib") / version,
            Path("/usr/lib/python3"),
            *Path("/usr/lib").glob("python3.*"),
        }:
            for packages in (library / "site-packages", library / "dist-packages"):
                if packages.is_dir():
                    # No package that we did not choose.
                    room += ["--tmpfs", str(packages), "--remount-ro", str(packages)]
        for folder in ("/sandbox", "/sandbox/site", "/sandbox/site/chainrule"):
            room += ["--perms", "0755", "--dir", folder]
        room += ["--ro-bind", str(INSIDE), "/sandbox/inside"]
        for path in _package_paths():
            room += ["--ro-bind", str(path), f"/sandbox/site/{path.name}"]
        for path in [LIBRARY / "__init__.py", *library_without(self.forbidden)]:
            room += ["--ro-bind", str(path), f"/sandbox/site/chainrule/{path.name}"]
        room += ["--proc", "/proc", "--perms", "1777", "--size", str(1 << 20), "--tmpfs", "/tmp"]
        # Where bubblewrap runs as an ordinary user, that user owns these two: what one submission left there, the next
        # would find.
        room += ["--dev", "/dev", "--remount-ro", "/dev", "--remount-ro", "/"]
        run = [str(interpreter), "-P", "-s", "-S", "-B", "/sandbox/inside/server.py", str(descriptor)]
        drop = _dropping(self.worker) if os.geteuid() == 0 else []  # root leaves itself behind at the door
        return [require_sandbox(), *_spaces(), *room, *drop, *run]

    def start(self) -> None:
        """Build the room and wait until torch is imported in it."""
        require_sandbox()
        self.close()
        # What the room's own processes complain of; an unread pipe would fill up.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by close()
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
            self._process.kill()
            self._process.wait()
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip()[-500:]
            self.close()
            raise SandboxUnavailable(f"the sandbox did not start: {said or problem or 'it ended without a word'}")
        trial = self.run(
            ["import os\npid = os.fork()\nif pid: print(os.waitpid(pid, 0)[1])\nelse: os._exit(0)"],
            [],
            seed=0,
            limits=Limits(),
        )
        if trial != Outcome([{"done": True}], "0\n", None):  # better no mark than one that a wall of our own has spoilt
            self.close()
            raise SandboxUnavailable(
                f"the sandbox started, but a submission that only starts a process failed in it: {trial}"
            )

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
        return Outcome(
            wire.unpack(base64.b64decode(answer["result"])), plain_text(answer["printed"]), answer["stopped"]
        )

    def close(self) -> None:
        """End the room with everything in it."""
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.kill()  # bubblewrap's process 1 inside dies with it, and the namespace with that
            self._process.wait()
        if self._log is not None:
            self._log.close()
        self._process = self._socket = self._log = None
