"""Measure the book itself: the parts of a first `make serve`, the next one, one after a change, and each page.

Everything happens in a copy of the tree, so that what is built already neither helps nor is touched.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tools.build import build_folder

# What is made, and what takes no part in making the book.
LEFT_OUT = shutil.ignore_patterns(
    ".venv", "_build", ".git", "__pycache__", "*.egg-info", "mutants", ".*_cache", ".hypothesis"
)


def measure_book(root: Path) -> None:
    """Measure, print two tables, and write them to benchmarks/results/book.md."""
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
        copy = Path(folder) / "book"
        shutil.copytree(root, copy, ignore=LEFT_OUT)
        rows = measure_serve(copy)
        text = (
            f"# The book's own times\n\n{describe_machine()}\n\n"
            + table(("step", "seconds"), [(name, f"{seconds:.1f}") for name, seconds in rows])
            + "\n"
            + table(("page", "execution, s", "peak memory, MB"), page_rows(copy))
        )
    results = root / "benchmarks" / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "book.md").write_text(text, encoding="utf-8")
    print(text)


def measure_serve(root: Path) -> list[tuple[str, float]]:
    """Time `make serve` in a fresh copy of the tree, up to the moment when it would start to serve."""
    environment = timed("environment", lambda: run(root, ["make", "environment"]))
    python = root / ".venv" / "bin" / "python"
    execution = timed("execution", lambda: run(root, [str(python), "tools/book.py", "execute"]))
    site = timed("site", lambda: run(root, ["make", "site"]))
    nothing = timed("nothing changed", lambda: run(root, ["make", "site"]))
    page = largest_page(root)
    with page.open("a", encoding="utf-8") as file:
        file.write("\nOne more sentence.\n")
    text = timed("text of one page changed", lambda: run(root, ["make", "site"]))
    with page.open("a", encoding="utf-8") as file:
        file.write("\n```{code-cell} ipython3\n1 + 1\n```\n")
    code = timed("code of one page changed", lambda: run(root, ["make", "site"]))
    return [
        ("environment, packages from the network or pip's cache", environment),
        ("execution of all pages", execution),
        ("site", site),
        ("first `make serve`, the sum of these", environment + execution + site),
        ("nothing changed", nothing),
        ("the text of one page changed", text),
        ("the code of one page changed (the one that takes longest)", code),
    ]


def timed(name: str, action: Callable[[], None]) -> float:
    """Return how many seconds an action takes, and say that it is being measured."""
    print(f"Measuring: {name} ...", flush=True)
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def run(root: Path, command: list[str]) -> None:
    """Run one step in the copy; its own output goes into a file that is shown if the step fails."""
    log = root.parent / "output.txt"
    # The copy's own library, whatever the caller has on its path.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(command, cwd=root, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.exit(
            f"{log.read_text(encoding='utf-8')}\n`{' '.join(command)}` failed in a fresh copy of the tree; see above."
        )


def executed_pages(root: Path) -> list[tuple[str, dict[str, float]]]:
    """Return the name and the measurements of each executed page."""
    folder = build_folder(root) / "executed"
    return [
        (str(path.relative_to(folder).with_suffix("")), json.loads(path.read_text("utf-8"))["metadata"]["chainrule"])
        for path in sorted(folder.rglob("*.ipynb"))
    ]


def largest_page(root: Path) -> Path:
    """Return the source of the page whose execution takes longest."""
    name, _ = max(executed_pages(root), key=lambda entry: entry[1]["seconds"])
    return root / f"{name}.md"


def page_rows(root: Path) -> list[tuple[str, str, str]]:
    """Return the table's row of each page."""
    return [
        (name, f"{measured['seconds']:.1f}", f"{measured['peak_mb']:.0f}") for name, measured in executed_pages(root)
    ]


def describe_machine() -> str:
    """Return a line that says what the figures were measured with."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}."


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table, the first column text and the others figures."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: tuple[str, ...]) -> str:
        first, *others = cells
        padded = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        return f"| {' | '.join(padded)} |\n"

    rule = f"|{'-' * (widths[0] + 2)}|" + "".join(f"{'-' * (width + 1)}:|" for width in widths[1:]) + "\n"
    return line(head) + rule + "".join(line(row) for row in rows)
