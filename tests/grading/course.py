"""What the tests of grading share: right answers, notebooks, the command line as a process, and a PostgreSQL server."""

import ast
import contextlib
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from chainrule.checks import exercises
from chainrule.grading.results import ExerciseResult, Graded
from chainrule.grading.run import Sheet
from chainrule.grading.settings import Settings
from tests.lib.modules import code_cells
from tools.system import find_postgresql

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = "information-theory"
NAMES = [one.name for one in exercises(CHAPTER)]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "lib"), "OMP_NUM_THREADS": "1"}


@cache
def answers() -> dict[str, str]:
    """Exercise -> the code of the solutions page that answers it."""
    found = {}
    for cell in code_cells((ROOT / "solutions" / f"{CHAPTER}.md").read_text(encoding="utf-8")):
        for node in ast.parse(cell).body:
            if isinstance(node, ast.FunctionDef) and node.name in NAMES:
                found[node.name] = cell
    assert set(found) == set(NAMES)
    # On its page this one goes on with the student's own entropy; here each answer must stand alone.
    bits = "def bits(p):\n    return -torch.xlogy(p, p).sum() / math.log(2)\n\n"
    found["pixel_entropies"] = bits + re.sub(r"(?<![_\w])entropy\(", "bits(", found["pixel_entropies"])
    return found


def right(*without: str, **instead: str) -> list[str]:
    """Cells that answer every exercise, but for those left out and those answered in another way."""
    code = answers() | instead
    return [
        "import heapq\nimport math\nimport torch\nfrom chainrule.checks import check",
        *(code[name] for name in NAMES if name not in without),
    ]


def notebook(cells: list[str], markdown: dict[str, str] | None = None) -> str:
    """A notebook of format 4 with these code cells, and Markdown cells with these tags."""
    made = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
        for i, source in enumerate(cells)
    ]
    made += [
        {"cell_type": "markdown", "id": f"m{i}", "metadata": {"tags": [tag]}, "source": source}
        for i, (tag, source) in enumerate((markdown or {}).items())
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made})


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "chainrule.grading.cli", *map(str, arguments)]


def chainrule(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    options = {"env": ENVIRONMENT, "timeout": 600} | options
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, **options)


def sheet(**settings) -> Sheet:
    return Sheet(CHAPTER, Settings(**settings), bytes(32))


def graded(student: str, earned: dict[str, float] | None = None, **fields) -> Graded:
    """A result without a run; every exercise earns 1 point where nothing else is said."""
    results = tuple(
        ExerciseResult(
            one.name, one.title, one.page, float(one.points), (earned or {}).get(one.name, 1.0), 1, 2, "wrong"
        )
        for one in exercises(CHAPTER)
    )
    return Graded(student, f"{student}.ipynb", "00", CHAPTER, 1, results, **fields)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def postgresql():
    """A PostgreSQL server of our own on a free port of this machine; gives the URL of an empty database."""
    programs = find_postgresql()
    assert programs, "PostgreSQL's server is not installed; `make test` installs it or says how"
    folder, port = Path(tempfile.mkdtemp(prefix="chainrule-postgresql-")), free_port()
    drop = []
    if os.geteuid() == 0:  # the server refuses to be root
        user = pwd.getpwnam("nobody")
        os.chown(folder, user.pw_uid, user.pw_gid)
        drop = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"

    def run(*words: str) -> None:
        done = subprocess.run([*drop, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        run(f"{programs}/initdb", "-D", f"{folder}/data", "-U", "marks", "-A", "trust", "-E", "UTF8", "--no-sync")
        run(
            f"{programs}/pg_ctl",
            "-D",
            f"{folder}/data",
            "-l",
            f"{folder}/log",
            "-w",
            "-t",
            "90",
            "-o",
            options,
            "start",
        )
        try:
            run(f"{programs}/createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "marks", "marks")
            yield f"postgresql://marks@127.0.0.1:{port}/marks"
        finally:
            run(f"{programs}/pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
