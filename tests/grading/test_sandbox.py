"""The sandbox itself: when it is refused, what it promises, what it leaves behind, and that it gives the same answer
twice.
"""

import os
import platform
import signal
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from chainrule.grading import sandbox
from chainrule.grading.sandbox import Limits, Sandbox, SandboxUnavailable, library_without, plain_text, require_sandbox

from .conftest import ORDINARY, ROOT, SMALL, Room, Sheet, as_ordinary_user


@pytest.fixture
def fresh():
    """`require_sandbox` remembers what it found; these tests change what there is to find."""
    require_sandbox.cache_clear()
    yield
    require_sandbox.cache_clear()


def command(folder: Path, text: str) -> None:
    path = folder / "bwrap"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "riscv64")])
def test_other_systems_are_refused_in_a_sentence(system, machine, fresh, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(SandboxUnavailable, match=f"needs Linux on x86_64 or aarch64 .* this is {system} on {machine}"):
        Sandbox().start()


def test_a_missing_bubblewrap_is_named_with_its_cure(fresh, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match=r"needs bubblewrap, .* run `apt-get install bubblewrap`"):
        Sandbox().start()


def test_a_bubblewrap_that_may_not_is_told_with_its_own_words(fresh, monkeypatch, tmp_path):
    command(tmp_path, "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(
        SandboxUnavailable,
        match=r"may not create user namespaces here \(bwrap: setting up uid map: Permission denied\)",
    ):
        Sandbox().start()


def test_a_bubblewrap_that_is_no_program_is_told(fresh, monkeypatch, tmp_path):
    (tmp_path / "bwrap").write_bytes(b"\x7fELFnonsense")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SandboxUnavailable, match="is installed and does not run"):
        Sandbox().start()


@pytest.mark.parametrize(
    "text", ["exit 0", "echo 'no room today' >&2; case \"$*\" in *server.py*) exit 1;; *) exit 0;; esac"]
)
def test_a_room_that_does_not_open_is_no_room(text, fresh, monkeypatch, tmp_path):
    """Bubblewrap's trial passes and the room itself fails: no submission is run without its walls."""
    command(tmp_path, text)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(
        SandboxUnavailable, match="the sandbox did not start: (no room today|it ended without a word|.*Error)"
    ):
        Sandbox().start()


def test_the_command_line_says_so_and_ends_with_3(tmp_path):
    """The whole way: a lecturer without bubblewrap gets one sentence, and no folder of marks."""
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "ada.ipynb").write_text('{"nbformat": 4, "cells": []}')
    arguments = [
        "-m",
        "chainrule.grading.cli",
        "grade",
        str(tmp_path / "class"),
        "--exercises",
        "information-theory",
        "--out",
        str(tmp_path / "out"),
    ]
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT / "lib"), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 3 and "needs bubblewrap" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


# What each limit says, and what holds in both ways of entering.


def test_each_limit_has_its_sentence():
    limits = Limits(seconds=5, memory_megabytes=100, processes=7, output_bytes=2_000_000, result_bytes=3_000_000)
    assert limits.sentence("time") == "The notebook was stopped: it ran longer than 5 seconds."
    assert limits.sentence("memory") == "The notebook was stopped: it used more than 100 MB of memory."
    assert limits.sentence("processes") == "The notebook was stopped: it started more than 7 processes."
    assert limits.sentence("output") == "The notebook was stopped: it printed more than 2 MB."
    assert limits.sentence("result") == "The notebook was stopped: its functions returned more than 3 MB."


def test_the_solutions_get_every_point(room: Room, sheet: Sheet):
    results, problems = sheet.marks(room.run(sheet.solution, sheet.asked(10.0), limits=replace(SMALL, seconds=60)))
    assert sum(one.earned for one in results) == sheet.maximum, problems


def test_the_same_seed_gives_the_same_outcome(room: Room, sheet: Sheet):
    """Sets, generators and all: a mark can be reproduced. Another seed draws other numbers."""
    cell = (
        "import random, numpy, torch\nprint(set('abcdefgh'), hash('x'), random.random(), numpy.random.rand(), torch.rand(2))\n"  # noqa: E501
        "def entropy(p): return float(torch.rand(())) + random.random()\n"
        "def wasted_bits(message, q): return numpy.random.rand(3)"
    )
    first, second = (room.run([*sheet.solution, cell], sheet.asked(10.0), seed=11) for _ in range(2))
    assert first == second and first.messages[-1] == {"done": True}
    other = room.run([*sheet.solution, cell], sheet.asked(10.0), seed=12)
    assert other.printed != first.printed and other.messages != first.messages


def test_a_new_room_gives_the_same_outcome(sheet: Sheet):
    """The order of a set of strings depends on the process in ordinary Python; here it must not."""
    cell = "print(list({str(i) for i in range(40)}))\nimport torch, numpy\nprint(torch.rand(1), numpy.random.rand())"
    outcomes = []
    for worker in (1, 2):
        with Sandbox(worker, sheet.forbidden) as box:
            outcomes.append(box.run([cell], [], seed=3, limits=SMALL))
    assert outcomes[0] == outcomes[1] and outcomes[0].stopped is None


def test_modest_work_stays_within_the_limits(room: Room):
    """Honest use of each resource, to half of its limit: nothing is stopped and nothing fails."""
    cell = (
        "import threading, torch, os\n"
        "threads = [threading.Thread(target=lambda: sum(range(10 ** 5))) for _ in range(6)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "x = torch.ones(25 * 10 ** 6)\n"  # 100 MB
        "open('/tmp/half', 'wb').write(bytes(8 << 20))\n"
        "import subprocess; subprocess.run(['/usr/bin/true'], check=True)\n"
        "print(x.sum().item(), 'y' * 90_000)\n"
    )
    outcome = room.run([cell], [])
    assert (
        outcome.messages == [{"done": True}]
        and outcome.stopped is None
        and outcome.printed.startswith("25000000.0 yyy")
    )


def test_other_processes_of_the_same_user_do_not_count(room: Room):
    """The limit of processes is the submission's own: a busy user's other forty take nothing from it."""
    user = str(sandbox.FIRST_USER) if os.geteuid() == 0 and room.mode == "root" else ORDINARY
    drop = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"] if os.geteuid() == 0 else []
    busy = [subprocess.Popen([*drop, "sleep", "100"]) for _ in range(40)]
    try:
        outcome = room.run(
            [
                "import os\nfor _ in range(8):\n    if not os.fork():\n        import time; time.sleep(5); os._exit(0)\nprint('eight')"  # noqa: E501
            ],
            [],
        )
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert outcome.printed == "eight\n" and outcome.messages == [{"done": True}]


def test_what_was_printed_last_is_there(room: Room):
    """All that was printed before the end is read, however the two channels are scheduled."""
    for _ in range(5):
        outcome = room.run(["print('x' * 100_000)\nprint('last')"], [])
        assert outcome.printed.endswith("xlast\n".replace("xlast", "x\nlast"))


def test_a_room_serves_again_after_its_server_was_killed(sheet: Sheet):
    with Sandbox(3, sheet.forbidden) as box:
        for pid in descendants(box._process.pid):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(SandboxUnavailable, match="the sandbox broke down: its process is gone"):
            box.run(["print(1)"], [], seed=0, limits=SMALL)
        assert box.run(["print(2)"], [], seed=0, limits=SMALL).printed == "2\n"


def test_a_warden_that_dies_leaves_nothing_and_is_told(sheet: Sheet):
    """Killed under a running submission, for want of memory perhaps: the submission dies too, and the next one runs."""
    with Sandbox(4, sheet.forbidden) as box:
        before = set(descendants(box._process.pid))
        caught: list[BaseException] = []

        def run() -> None:
            try:
                box.run(["import time; time.sleep(30)"], [], seed=0, limits=replace(SMALL, seconds=30))
            except SandboxUnavailable as error:
                caught.append(error)

        thread = threading.Thread(target=run)
        began = time.monotonic()
        thread.start()
        while len(new := sorted(set(descendants(box._process.pid)) - before)) < 2 and time.monotonic() < began + 20:
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(new[0], signal.SIGKILL)
        thread.join(25)
        assert not thread.is_alive() and time.monotonic() - began < 25 and "broke down" in str(caught[0])
        assert gone(new)
        assert box.run(["print(2)"], [], seed=0, limits=SMALL).printed == "2\n"


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    below, fresh = [pid], [pid]
    while fresh:
        fresh = [child for child, parent in parents.items() if parent in fresh]
        below += fresh
    return below


def gone(pids: list[int]) -> bool:
    """Whether all these processes end within a few seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = [
            pid for pid in pids if Path(f"/proc/{pid}").exists() and ") Z " not in Path(f"/proc/{pid}/stat").read_text()
        ]
        if not left:
            return True
        time.sleep(0.05)
    return False


def test_closing_ends_everything(sheet: Sheet):
    box = Sandbox(5, sheet.forbidden)
    box.start()
    pids = descendants(box._process.pid)
    assert len(pids) >= 2
    box.close()
    box.close()
    assert gone(pids)


@pytest.mark.parametrize("mode", ["own", "ordinary"])
def test_a_grader_that_is_killed_leaves_nothing(mode, sheet: Sheet):
    """kill -9 in the middle of a submission: the room and what runs in it die with their grader."""
    driver = Path(__file__).with_name("driver.py")
    if mode == "ordinary" and os.geteuid() == 0:
        arguments, environment = as_ordinary_user(driver), None
    else:
        arguments, environment = [sys.executable, str(driver)], {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/", env=environment
    ) as process:
        process.stdin.write("[]\n")
        process.stdin.flush()
        assert "ready" in process.stdout.readline()
        process.stdin.write(
            '{"cells": ["import time; time.sleep(60)"], "exercises": [], "seed": 0, "limits": {"seconds": 60}}\n'
        )
        process.stdin.flush()
        time.sleep(1.0)
        pids = descendants(process.pid)
        assert len(pids) >= 4
        (grader,) = [
            pid for pid in pids if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:2] == [str(driver).encode()]
        ]
        os.kill(grader, signal.SIGKILL)
        assert gone(pids)


def test_two_rooms_at_once_do_not_see_each_other(sheet: Sheet):
    """The same user, at the same time: no files, processes or counts in common."""
    cell = "import os, time\nopen('/tmp/mine', 'x').write('x')\nchildren = []\nfor _ in range(9):\n    pid = os.fork()\n    if not pid: time.sleep(20); os._exit(0)\ntime.sleep(1)\nprint(os.listdir('/tmp'))"  # noqa: E501
    answers: list = []
    with Sandbox(6, sheet.forbidden) as one, Sandbox(6, sheet.forbidden) as other:
        threads = [
            threading.Thread(target=lambda box=box: answers.append(box.run([cell], [], seed=0, limits=SMALL)))
            for box in (one, other)
        ]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert [answer.printed for answer in answers] == ["['mine']\n"] * 2 and all(
        answer.messages == [{"done": True}] for answer in answers
    )


# What the room is made of.


def test_a_forbidden_function_takes_its_module_and_whoever_uses_it():
    everything = {path.stem for path in library_without(frozenset())}
    assert {"information", "coding", "likelihood"} <= everything and not everything & {
        "checks",
        "quiz",
        "plots",
        "explore",
        "grading",
    }
    left = {path.stem for path in library_without(frozenset({"chainrule.information.entropy"}))}
    assert "information" not in left
    for name in left:
        assert "from chainrule.information" not in (ROOT / "lib" / "chainrule" / f"{name}.py").read_text(
            encoding="utf-8"
        )


def test_an_absent_module_of_the_book_is_told_truly(room: Room):
    """The photographs hold no answers, and the sentence does not say so."""
    outcome = room.run(["from chainrule.data import sample_photograph"], [])
    assert outcome.messages[0]["error"].startswith(
        "ModuleNotFoundError: chainrule.data is not available while a submission is graded"
    )
    assert "answer" not in outcome.messages[0]["error"]


def test_no_private_folder_is_in_the_room(room: Room):
    """Of the machine's own folders only programs, libraries and the way to the interpreter."""
    outcome = room.run(["import os\nprint(sorted(os.listdir('/')), sorted(os.listdir('/usr')))"], [])
    base = Path(sys.base_prefix).resolve()
    known = {
        "bin",
        "dev",
        "etc",
        "lib",
        "lib32",
        "lib64",
        "proc",
        "sandbox",
        "tmp",
        "usr",
        "sbin",
        "local",
        base.parts[1],
    }
    assert set(eval(outcome.printed.replace("] [", "] + ["))) <= known


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("\x00\x1b\x7f\x85", "\ufffd" * 4),
        ("\ud800", "\ufffd"),
        ("\u202e", "\ufffd"),
        ("é→𝒜", "é→𝒜"),
    ],
)
def test_plain_text_keeps_what_is_text(text, plain):
    assert plain_text(text) == plain
    plain_text(text).encode()
