"""What the tests of grading share: real sandboxes, entered as root and as an ordinary user, and a sheet with its right
solution.

Where bubblewrap is missing these tests fail, in a sentence: a grader whose walls nobody has tested is no grader.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import pytest

from chainrule.checks import Exercise, exercises
from chainrule.grading.inside import wire
from chainrule.grading.judge import encode_case, judge
from chainrule.grading.results import ExerciseResult
from chainrule.grading.sandbox import Limits, Outcome, Sandbox, SandboxUnavailable, require_sandbox
from tests.lib.modules import code_cells

ROOT = Path(__file__).parents[2]
CHAPTER = "information-theory"
ORDINARY = "60600"  # the id that the tests become, where they run as root, to try what an ordinary user's grader does
MODES = ["root", "ordinary"] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["ordinary"]
SMALL = Limits(
    seconds=12, memory_megabytes=512, disk_megabytes=16, processes=16, result_bytes=2_000_000, output_bytes=200_000
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of one room one after the other, since a room takes seconds to start."""
    here = str(Path(__file__).parent)
    mine = [item for item in items if str(item.path).startswith(here)]
    order = {
        id(item): MODES.index(item.callspec.params["room"])
        for item in mine
        if "room" in getattr(getattr(item, "callspec", None), "params", {})
    }
    ranked = iter(sorted(mine, key=lambda item: order.get(id(item), -1)))
    items[:] = [next(ranked) if str(item.path).startswith(here) else item for item in items]


@pytest.fixture(scope="session", autouse=True)
def _bubblewrap() -> None:
    try:
        require_sandbox()
    except SandboxUnavailable as error:
        pytest.fail(f"these tests run hostile code in the real sandbox, and there is none: {error}", pytrace=False)


class Sheet:
    """The chapter's exercises with inputs from a seed, and marks for what comes back."""

    def __init__(self, seed: int = 7):
        self.seed = seed
        self.exercises: tuple[Exercise, ...] = exercises(CHAPTER)
        self.cases = [one.cases(seed) for one in self.exercises]
        self.points = [float(one.points) for one in self.exercises]
        self.maximum = sum(self.points)
        self.forbidden = frozenset(name for one in self.exercises for name in one.blocked)

    def asked(self, seconds: float = 3.0) -> list[dict]:
        """What the sandbox is told of the exercises."""
        pairs = zip(self.exercises, self.cases, strict=True)
        return [
            {"name": one.name, "seconds": seconds, "cases": [encode_case(case) for case in cases]}
            for one, cases in pairs
        ]

    def marks(self, outcome: Outcome, limits: Limits = SMALL) -> tuple[tuple[ExerciseResult, ...], tuple[str, ...]]:
        """The judge's results and sentences."""
        return judge(self.exercises, self.points, self.cases, outcome, limits)

    @cached_property
    def solution(self) -> list[str]:
        """The cells of the book's own solutions."""
        return code_cells((ROOT / "solutions" / f"{CHAPTER}.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def sheet() -> Sheet:
    return Sheet()


class Room:
    """One warm sandbox of this process."""

    mode = "root" if os.geteuid() == 0 else "ordinary"

    def __init__(self, forbidden: frozenset[str]):
        self._sandbox = Sandbox(0, forbidden)
        self._sandbox.start()

    @property
    def pid(self) -> int:
        """The process outside that holds the room."""
        return self._sandbox._process.pid

    def run(self, cells: list[str], asked: list[dict], *, seed: int = 7, limits: Limits = SMALL) -> Outcome:
        """Run one submission."""
        return self._sandbox.run(cells, asked, seed=seed, limits=limits)

    def close(self) -> None:
        """End it."""
        self._sandbox.close()


class DroppedRoom(Room):
    """One warm sandbox of a grader that runs as an ordinary user: the tests' own root gives itself up first."""

    mode = "ordinary"

    def __init__(self, forbidden: frozenset[str]):
        self._process = subprocess.Popen(
            as_ordinary_user(Path(__file__).with_name("driver.py")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        answer = self._ask(sorted(forbidden))
        assert answer == {"ready": True}, answer

    def _ask(self, question) -> dict:
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the driver has ended"
        return json.loads(line)

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, cells: list[str], asked: list[dict], *, seed: int = 7, limits: Limits = SMALL) -> Outcome:
        answer = self._ask({"cells": cells, "exercises": asked, "seed": seed, "limits": asdict(limits)})
        if "unavailable" in answer:
            raise SandboxUnavailable(answer["unavailable"])
        return Outcome(wire.unpack(base64.b64decode(answer["stream"])), answer["printed"], answer["stopped"])

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)


def as_ordinary_user(script: Path, *arguments: str) -> list[str]:
    """The command that runs a script with this interpreter and these packages as an ordinary user, from root.

    A folder that only root may enter, root's home for instance, is covered by an empty one into which bubblewrap binds
    just the interpreter and the packages, under their own names.
    """
    library, tests = ROOT / "lib", Path(__file__).parent
    packages = [Path(entry) for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
    needed = [Path(sys.base_prefix).resolve(), *packages, library, tests]
    view, covered = ["--dev-bind", "/", "/"], []
    for path in needed:
        closed = next(
            (folder for folder in reversed([path, *path.parents]) if folder.stat().st_mode & 0o005 != 0o005), None
        )
        if closed is None:
            continue
        if closed not in covered:
            covered.append(closed)
            view += ["--perms", "0755", "--tmpfs", str(closed)]
        for parent in [*reversed(path.parents)]:
            if parent.is_relative_to(closed) and parent != closed:
                view += ["--perms", "0755", "--dir", str(parent)]
        view += ["--ro-bind", str(path), str(path)]
    drop = [
        "setpriv",
        "--reuid",
        ORDINARY,
        "--regid",
        ORDINARY,
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
    ]
    clean = [
        "env",
        "-i",
        "PATH=/usr/bin:/bin",
        "HOME=/tmp",
        "LANG=C.UTF-8",
        "OMP_NUM_THREADS=1",
        f"PYTHONPATH={':'.join(map(str, [library, *packages]))}",
    ]
    return ["bwrap", *view, *drop, *clean, str(Path(sys.executable).resolve()), str(script), *arguments]


@pytest.fixture(scope="session", params=MODES)
def room(request: pytest.FixtureRequest, sheet: Sheet) -> Iterator[Room]:
    """A warm sandbox, in each way that a grader may enter it; every test of a session uses the same one."""
    made = Room(sheet.forbidden) if request.param == Room.mode else DroppedRoom(sheet.forbidden)
    yield made
    made.close()
