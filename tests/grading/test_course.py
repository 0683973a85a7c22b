"""A test course: 30 notebooks of every kind, graded on the command line, killed midway, resumed and exported."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from datetime import UTC, datetime

import pytest

from chainrule.grading.gradebook import read_marks

from .course import CHAPTER, ENVIRONMENT, chainrule, command, notebook, right

DEADLINE = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
DAY = 86_400
SETTINGS = """
deadline = 2026-01-31T12:00:00Z
grace_minutes = 10
penalty_per_day = 0.1
largest_penalty = 0.5
attempts = "best"

[limits]
seconds = 40
seconds_per_exercise = 5
"""
ONLY_PUBLIC = """
def entropy(p):
    known = {(0.5, 0.5): 1.0, (0.5, 0.25, 0.125, 0.125): 1.75, (0.5, 0.5, 0.0): 1.0, (0.0, 1.0, 0.0): 0.0}
    return known.get(tuple(p.tolist()), -1.0)
"""
LIAR = """
class Anything(float):
    def __eq__(self, other): return True
    def __sub__(self, other): return 0.0
    def __abs__(self): return 0.0
"""
LIES = {name: f"def {name}(*_): return Anything()" for name in ("entropy", "log_sum_exp", "wasted_bits")}
HANG = "def log_sum_exp(x):\n    while True:\n        pass"

# name -> (content, seconds after the deadline, points by hand). All exercises together are worth 32: box_entropies 2,
# entropy 3, equal_entropy_pair 3, ternary_code 4, wasted_bits 3, window_divergence 3, break_softmax 3, log_sum_exp 3,
# weakest_link_loss 4, pixel_entropies 4.
ALL = notebook(right())
FEW = notebook(
    right(
        "box_entropies",
        "equal_entropy_pair",
        "ternary_code",
        "wasted_bits",
        "window_divergence",
        "break_softmax",
        "weakest_link_loss",
        "pixel_entropies",
    )
)
COURSE = {
    # right, early and late
    "ada.ipynb": (ALL, -100, 32.0),
    "ben.ipynb": (ALL, 601, 28.8),  # a second past the grace: the first day, 10 percent
    "cleo.ipynb": (ALL, 599, 32.0),
    "dan.ipynb": (ALL, 3 * DAY + 5 * 3600, 19.2),  # the fourth day has begun
    "eve.ipynb": (ALL, 30 * DAY, 16.0),  # no more than half is lost
    # partly right
    "finn.ipynb": (FEW, -100, 6.0),  # 3 + 3
    "gus.ipynb": (notebook(right("ternary_code")), -100, 28.0),
    "hana.ipynb": (
        notebook(right("window_divergence", "break_softmax", "log_sum_exp", "weakest_link_loss", "pixel_entropies")),
        -100,
        15.0,
    ),
    # wrong
    "ivy.ipynb": (notebook(right(entropy="def entropy(p): return -1.0")), -100, 29.0),
    "jon.ipynb": (notebook(right(entropy=ONLY_PUBLIC)), -100, 30.0),  # 4 of 12 inputs: 1 of 3 points
    # crashing
    "kim.ipynb": (notebook([*right(), "1 / 0"]), -100, 32.0),
    "liv.ipynb": (notebook(right(entropy="def entropy(p:")), -100, 29.0),
    "max.ipynb": (notebook(["import os; os._exit(0)", *right()]), -100, 0.0),
    "quin.ipynb": (notebook(right(log_sum_exp="import os\ndef log_sum_exp(x): os._exit(0)")), -100, 29.0),
    "rex.ipynb": (notebook(right(entropy="import ctypes\ndef entropy(p): ctypes.string_at(0)")), -100, 29.0),
    # hanging
    "nia.ipynb": (notebook([*right(), "while True: pass"]), -100, 0.0),
    "ole.ipynb": (notebook(right(log_sum_exp=HANG)), -100, 29.0),
    # hostile
    "sam.ipynb": (notebook(["x = bytearray(8 << 30)", *right()]), -100, 32.0),  # a cell that fails, and nothing else
    "tia.ipynb": (notebook(["while True: print('x' * 10_000)", *right()]), -100, 0.0),
    "uma.ipynb": (notebook([LIAR, *right(**LIES)]), -100, 23.0),  # 32 - 3 - 3 - 3
    "vic.ipynb": (notebook(["import socket; socket.create_connection(('127.0.0.1', 80), 1)", *right()]), -100, 32.0),
    # unreadable
    "wes.ipynb": ('{"cells": [', -100, 0.0),
    "xia.ipynb": (b"\x89PNG\r\n\x00\xff\xfe", -100, 0.0),
    "yan.ipynb": ("", -100, 0.0),
    "zoe.ipynb": ('{"nbformat": 3, "worksheets": []}', -100, 0.0),
    "abe.ipynb": (None, -100, 0.0),  # a link to somebody else's file
    # several attempts
    "bea/first.ipynb": (FEW, -500, 6.0),
    "bea/second.ipynb": (ALL, DAY, 28.8),  # 32 - 10 percent, better than 6
    "cy/first.ipynb": (ALL, -500, 32.0),
    "cy/second.ipynb": ("{", -100, 0.0),
}
EXPECTED = {}
for _name, (_, _, _points) in COURSE.items():
    _student = _name.partition("/")[0].removesuffix(".ipynb")
    EXPECTED[_student] = max(_points, EXPECTED.get(_student, 0.0))


def write(folder):
    for name, (content, late, _) in COURSE.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.symlink_to(folder / "ada.ipynb")
            os.utime(path, (DEADLINE + late, DEADLINE + late), follow_symlinks=False)
            continue
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.utime(path, (DEADLINE + late, DEADLINE + late))


def rows(journal):
    if not journal.exists():
        return []
    with closing(sqlite3.connect(journal, timeout=60)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'graded'").fetchone():
            return []
        return database.execute("SELECT student, file, record FROM graded ORDER BY student, file").fetchall()


def left_over(marker):
    """Processes whose command names something."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read()
            except OSError:
                continue
            if marker in words:
                found.append(entry)
    return found


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The course, graded with two kills in the middle."""
    folder = tmp_path_factory.mktemp("course")
    write(folder / "handed-in")
    (folder / "course.toml").write_text(SETTINGS)
    out = folder / "graded"
    call = ["grade", folder / "handed-in", "--exercises", CHAPTER, "--out", out, "--settings", folder / "course.toml"]
    seen = []
    for enough in (3, 11):
        with open(folder / "output.txt", "wb") as output:
            process = subprocess.Popen(
                command(*call), env=ENVIRONMENT, stdout=output, stderr=output, start_new_session=True
            )
        while len(rows(out / "journal.sqlite")) < enough:
            assert process.poll() is None, (folder / "output.txt").read_text()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.5)
        seen.append(rows(out / "journal.sqlite"))
        assert not left_over(str(out).encode())
    return folder, out, call, seen, chainrule(*call, "--json")


def test_it_goes_on_where_it_was_killed_and_all_totals_are_right(course):
    _, out, _, seen, done = course
    assert done.returncode == 0, done.stderr
    assert len(COURSE) == 30
    # What was there before the kill is there after it, unchanged, and is not graded again.
    assert 3 <= len(seen[0]) < len(seen[1]) < 30
    assert f"30 notebooks, {len(seen[1])} graded before, {30 - len(seen[1])} to grade" in done.stderr
    end = rows(out / "journal.sqlite")
    assert len(end) == 30 == len({row[:2] for row in end})
    assert set(seen[0]) <= set(seen[1]) <= set(end)
    printed = json.loads(done.stdout)
    assert printed["scores"] == EXPECTED
    assert printed["could_not_be_run"] == 5
    assert printed["maximum"] == 32
    assert printed["not_graded"] == 0
    assert printed["late"] == 4  # ben, dan, eve, and bea's better attempt


def test_each_student_is_told_why(course):
    _, out, _, _, _ = course
    told = {row[1]: json.loads(row[2]) for row in rows(out / "journal.sqlite")}
    assert "ran longer than 40 seconds" in " ".join(told["nia.ipynb"]["problems"])
    assert "printed more than 1 MB" in " ".join(told["tia.ipynb"]["problems"])
    assert "ZeroDivisionError" in " ".join(told["kim.ipynb"]["problems"])
    assert "MemoryError" in " ".join(told["sam.ipynb"]["problems"])
    assert "5 seconds" in next(
        one["sentence"] for one in told["ole.ipynb"]["exercises"] if one["name"] == "log_sum_exp"
    )
    assert "link" in told["abe.ipynb"]["problems"][0]


def test_the_gradebook_and_the_exports_agree(course):
    _, out, _, _, _ = course
    assert read_marks(out / "gradebook.db", CHAPTER) == EXPECTED
    for kind in ("csv", "canvas", "moodle", "gradescope", "lti", "feedback"):
        done = chainrule("export", out, "--format", kind)
        assert done.returncode == 0, done.stderr
    with (out / "marks.csv").open(newline="") as file:
        marks = {row["student"]: float(row["score"]) for row in csv.DictReader(file)}
    assert marks == EXPECTED
    with (out / "canvas.csv").open(newline="") as file:
        canvas = {row["Student"]: float(row[CHAPTER]) for row in list(csv.DictReader(file))[1:]}
    assert canvas == EXPECTED
    with (out / "moodle.csv").open(newline="") as file:
        assert {row["Full name"]: float(row["Grade"]) for row in csv.DictReader(file)} == EXPECTED
    assert {one["userId"]: one["scoreGiven"] for one in json.loads((out / "lti-scores.json").read_text())} == EXPECTED
    scores = sorted(json.loads(path.read_text())["score"] for path in out.glob("gradescope/*/results.json"))
    assert scores == sorted(EXPECTED.values())
    assert len(list((out / "feedback").glob("*.html"))) == len(EXPECTED)


def test_a_further_run_grades_only_what_changed(course):
    folder, out, call, _, _ = course
    before = rows(out / "journal.sqlite")
    again = chainrule(*call)
    assert again.returncode == 0
    assert "30 graded before, 0 to grade" in again.stderr
    assert rows(out / "journal.sqlite") == before
    (folder / "handed-in" / "wes.ipynb").write_text(FEW)
    os.utime(folder / "handed-in" / "wes.ipynb", (DEADLINE, DEADLINE))
    changed = chainrule(*call)
    assert "29 graded before, 1 to grade" in changed.stderr
    assert "28 students" in changed.stdout
    assert read_marks(out / "gradebook.db", CHAPTER) == EXPECTED | {"wes": 6.0}
