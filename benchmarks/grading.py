"""Grading: submissions a second against nbgrader's autograde on the same notebooks, and memory on a large class.

Run `.venv/bin/python benchmarks/grading.py`, with `--full` for a class of 10,000; on Linux, where grading runs. Both
graders get the same notebooks, the chapter's solutions (which import torch), in the same run; nbgrader's notebooks end
with one cell that asserts something of each function, which is how it marks. Nothing here is a test: no time is
asserted.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

from chainrule.checks import exercises  # noqa: E402
from chainrule.grading import gradebook  # noqa: E402
from chainrule.grading.results import ExerciseResult, Graded  # noqa: E402
from chainrule.grading.run import Journal, Sheet, grade_class  # noqa: E402
from chainrule.grading.settings import Settings  # noqa: E402
from chainrule.grading.submission import find_submissions  # noqa: E402
from tests.lib.modules import code_cells  # noqa: E402
from tools.bench import describe_machine, table  # noqa: E402

CHAPTER = "information-theory"
NAMES = [one.name for one in exercises(CHAPTER)]


def solution() -> list[str]:
    """The code cells that define the chapter's functions."""
    cells = code_cells((ROOT / "solutions" / f"{CHAPTER}.md").read_text(encoding="utf-8"))
    wanted = [c for c in cells if any(isinstance(n, ast.FunctionDef) and n.name in NAMES for n in ast.parse(c).body)]
    return ["import heapq\nimport math\nimport torch", *wanted]


def notebook(cells: list[str], extra: list[dict] | None = None) -> str:
    made = [{"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": c} for c in cells]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": kernel, "cells": made + (extra or [])})


def rate_of_ours(folder: Path, count: int, jobs: int) -> float:
    """Submissions a second, after as many as there are workers have warmed them up."""
    source = folder / "in"
    source.mkdir()
    for number in range(count):
        (source / f"s{number:05}.ipynb").write_text(notebook(solution()))
    times, full = [], []

    def report(one, graded, reason):
        times.append(time.perf_counter())
        full.append(graded is not None and graded.score == graded.maximum)

    sheet, submissions = Sheet(CHAPTER, Settings(), bytes(32)), find_submissions(source, folder)
    grade_class(sheet, submissions, Journal(folder / "journal.sqlite"), jobs=jobs, report=report)
    if not all(full):
        sys.exit("A right submission did not get full marks.")
    warm = 4 * jobs
    return (count - warm) / (times[-1] - times[warm - 1])


def rate_of_nbgrader(folder: Path, count: int) -> float:
    """Submissions a second of `nbgrader autograde` on the same notebooks."""
    fields = {"grade": True, "solution": False, "locked": True, "task": False, "schema_version": 3, "cell_type": "code"}
    test = {
        "cell_type": "code", "execution_count": None, "outputs": [],
        "metadata": {"nbgrader": fields | {"grade_id": "test", "points": 1}},
        "source": "\n".join(f"assert callable({name})" for name in NAMES),
    }  # fmt: skip
    for part, students in (("source", ["."]), ("submitted", [f"s{number:05}" for number in range(count)])):
        for student in students:
            target = folder / part / student / CHAPTER
            target.mkdir(parents=True)
            (target / f"{CHAPTER}.ipynb").write_text(notebook(solution(), [test]))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"PYTHONPATH": str(ROOT / "lib"), "JUPYTER_CONFIG_DIR": str(folder), "IPYTHONDIR": str(folder)}

    def run(*words: str) -> float:
        start = time.perf_counter()
        command = [sys.executable, "-W", "ignore", "-m", "nbgrader", *words, CHAPTER]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"nbgrader failed:\n{done.stderr[-2000:]}")
        return time.perf_counter() - start

    run("generate_assignment", "--force", "--IncludeHeaderFooter.header=")
    return count / run("autograde")


def resident() -> float:
    """Megabytes that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def large_class(folder: Path, count: int, jobs: int) -> list[tuple[str, str, str]]:
    """Grade many tiny, different submissions: memory after a tenth and at the end, and the gradebook's time."""
    source = folder / "large"
    source.mkdir()
    for number in range(count):
        (source / f"s{number:05}.ipynb").write_text(
            notebook([f"def log_sum_exp(x):\n    return x.exp().sum(-1).log() + {number % 2}"])
        )
    sheet, submissions = Sheet(CHAPTER, Settings(), bytes(32)), find_submissions(source, folder)
    journal, seen, memory = Journal(folder / "large.sqlite"), [0], {}

    def report(one, graded, reason):
        seen[0] += 1
        if seen[0] in (count // 10, count):
            memory[seen[0]] = resident()

    start = time.perf_counter()
    grade_class(sheet, submissions, journal, jobs=jobs, report=report)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    gradebook.record(journal.counted(sheet, submissions), sheet, folder / "gradebook.db")
    written = time.perf_counter() - start
    rows = [
        (f"grader's memory after {number:,} submissions", f"{megabytes:.0f}", "MB")
        for number, megabytes in memory.items()
    ]
    rows += [
        (f"grading {count:,} small submissions", f"{seconds:.0f}", "s"),
        (f"writing {count:,} students into the gradebook", f"{written:.0f}", "s"),
    ]
    return [*rows, ("grader's memory after that", f"{resident():.0f}", "MB")]


def gradebook_of(folder: Path, count: int) -> tuple[str, str, str]:
    """Seconds to write a large class into an empty gradebook."""
    sheet = Sheet(CHAPTER, Settings(), bytes(32))
    marks = tuple(
        ExerciseResult(one.name, one.title, one.page, float(one.points), 1.0, 1, 2, "wrong") for one in sheet.exercises
    )
    start = time.perf_counter()
    class_ = (Graded(f"s{number:05}", "x.ipynb", "00", CHAPTER, 1, marks) for number in range(count))
    gradebook.record(class_, sheet, folder / "synthetic.db")
    return f"writing {count:,} synthetic students into an empty gradebook", f"{time.perf_counter() - start:.0f}", "s"


def main() -> None:
    if sys.platform != "linux":
        print("Grading for marks runs on Linux only; nothing to measure here.")
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="a class of 10,000 in place of 1,000")
    parser.add_argument("--jobs", type=int, default=(os.cpu_count() or 1) + 1)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="chainrule-grading-") as name:
        folder = Path(name)
        ours = rate_of_ours(folder, 200, options.jobs)
        theirs = rate_of_nbgrader(folder / "nbgrader", 8)
        rows = [
            ("chainrule grade, ten torch exercises in a sandbox, after warm-up", f"{ours:.1f}", "submissions/s"),
            ("nbgrader autograde, the same notebooks, no sandbox", f"{theirs:.2f}", "submissions/s"),
            ("ratio", f"{ours / theirs:.0f}", ""),
            *large_class(folder, 10_000 if options.full else 1_000, options.jobs),
            gradebook_of(folder, 10_000),
        ]
    text = f"# Grading\n\n{describe_machine()} {options.jobs} workers; load before the run {load:.1f}.\n\n" + table(
        ("what", "value", "unit"), rows
    )
    results = ROOT / "benchmarks" / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "grading.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
