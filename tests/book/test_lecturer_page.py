"""The page for lecturers, walked from top to bottom: every command is run for real, and what it prints is compared.

Only the installation is left out. The class is small: six made-up students, whose notebooks are put together here from
the book's own exercises and solutions.
"""

import csv
import http.cookiejar
import json
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import torch

from tests.lib.modules import code_cells

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "chapters" / "grading"
CHAPTER = "information-theory"

ENTROPY_OF_BLAISE = "def entropy(p):\n    return torch.log2(torch.tensor(float(len(p))))\n"
ENTROPY_OF_EMIL = (
    "def entropy(p):\n    from chainrule.information import entropy as theirs\n    return theirs(p, base=2)\n"
)
LOOP_OF_CHEN = "def equal_entropy_pair(num_outcomes, bits):\n    while True:\n        pass\n"


# The class


def starters() -> list[str]:
    """The code of the notebook that is handed out."""
    return code_cells((ROOT / "exercises" / f"{CHAPTER}.md").read_text(encoding="utf-8"))


def solved(*names: str) -> list[str]:
    """The imports of that notebook and the functions of the worked solutions: those that are named, or all."""
    named = "|".join(names) or r"\w+"
    text = (ROOT / "solutions" / f"{CHAPTER}.md").read_text(encoding="utf-8")
    asked = {name for cell in starters() for name in re.findall(r"^def (\w+)\(", cell, re.MULTILINE)}
    cells = [cell for cell in code_cells(text) if asked & set(re.findall(rf"^def ({named})\(", cell, re.MULTILINE))]
    return [starters()[0], *cells]


def notebook(cells: list[str], words: str = "") -> bytes:
    """A notebook of format 4; `words` is the answer to the question that a person marks."""
    code = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    made = [code | {"source": cell} for cell in cells]
    if words:
        made.append({"cell_type": "markdown", "metadata": {"tags": ["why_entropy"]}, "source": words})
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def monday() -> dict[str, bytes]:
    """Student -> file: all right, one mistake, a loop that never ends, no notebook, and the answer borrowed."""
    return {
        "Ada Blum": notebook(solved(), "It is what the best questions cost on average."),
        "Blaise Petit": notebook([*solved(), ENTROPY_OF_BLAISE], "It counts the outcomes."),
        "Chen Wu": notebook([*starters(), *solved("box_entropies", "entropy"), LOOP_OF_CHEN]),
        "Dora Klein": b"Dear colleague,\n\nplease find attached the notebook.\n",
        "Emil Roth": notebook([*solved(), ENTROPY_OF_EMIL]),
    }


def write_export(path: Path, files: dict[str, bytes], late: dict[str, tuple]) -> None:
    """A zip as Moodle makes it, with the time of each file."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, (student, data) in enumerate(files.items(), start=1001):
            name = f"{student}_{number}_assignsubmission_file_/{CHAPTER}.ipynb"
            archive.writestr(zipfile.ZipInfo(name, late.get(student, (2027, 1, 30, 12, 0, 0))), data)


# The page


@dataclass(frozen=True)
class Block:
    """A fenced block of the page: its language, its text, the line of the page where it begins."""

    language: str
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(m[1], m[2], text[: m.start()].count("\n") + 1) for m in found]


def prepare(folder: Path) -> dict[str, str]:
    """The two exports, the command `chainrule`, and an environment in which the page's commands find what they need."""
    write_export(folder / "monday.zip", monday(), {})
    friday = {
        "Blaise Petit": notebook(solved(), "It is the mean of the surprises."),
        "Fay Moss": notebook(solved(), "It is the mean of the surprises."),
    }
    grace, two_days = (2027, 1, 31, 23, 5, 0), (2027, 2, 1, 23, 30, 0)
    write_export(folder / "friday.zip", monday() | friday, {"Blaise Petit": grace, "Fay Moss": two_days})
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, function = project["scripts"]["chainrule"].partition(":")
    python = shlex.quote(sys.executable)
    start = f"import sys; from {module} import {function}; sys.exit({function}())"
    programs = folder / "programs"
    programs.mkdir()
    for name, code in {
        "chainrule": f'exec {python} -c "{start}" "$@"\n',
        "pip": "exit 0\n",
        "jupyter": f'exec {python} -m jupyter "$@"\n',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{code}", encoding="utf-8")
        (programs / name).chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "PYTEST"))}
    return kept | {"PATH": path, "PYTHONPATH": str(ROOT / "lib"), "OMP_NUM_THREADS": "1", "HOME": str(folder / "home")}


def mark_by_hand(command: str, folder: Path, environment: dict[str, str], marks: dict[str, float]) -> None:
    """Start JupyterLab as the page says, give marks through the formgrader's own interface, and stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config, token = folder / "jupyter", secrets.token_hex(16)
    config.mkdir()
    settings = {"port": port, "open_browser": False, "allow_root": os.geteuid() == 0}
    given = {"ServerApp": settings, "IdentityProvider": {"token": token}}
    (config / "jupyter_server_config.json").write_text(json.dumps(given), encoding="utf-8")
    cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), cookies)
    address = f"http://127.0.0.1:{port}"

    def call(path: str, data: dict | None = None) -> str:
        request = urllib.request.Request(f"{address}{path}", headers={"Authorization": f"token {token}"})
        if data is not None:
            request.method, request.data = "PUT", json.dumps(data).encode()
        with opener.open(request, timeout=60) as answer:
            return answer.read().decode()

    log = folder / "jupyter.log"
    with log.open("wb") as said:
        server = subprocess.Popen(
            ["bash", "-ec", command], cwd=folder, stdout=said, stderr=said, start_new_session=True,
            env=environment | {"JUPYTER_CONFIG_DIR": str(config)},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                page = call("/formgrader")
                break
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
                time.sleep(0.5)
        assert "formgrader" in page.lower()
        sheets = json.loads(call(f"/formgrader/api/submitted_notebooks/{CHAPTER}/{CHAPTER}"))
        for student, mark in marks.items():
            (sheet,) = [one for one in sheets if one["student"].startswith(student)]
            assert "why_entropy" in call(f"/formgrader/submissions/{sheet['id']}/")
            grades = json.loads(call(f"/formgrader/api/grades?submission_id={sheet['id']}"))
            (waiting,) = [one for one in grades if one["needs_manual_grade"]]
            assert waiting["max_score"] == 4
            call(f"/formgrader/api/grade/{waiting['id']}", {"manual_score": mark, "extra_credit": None})
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def walk(text: str, folder: Path) -> dict[int, tuple[str, str, str]]:
    """Run the page's blocks; line of each block of output -> its kind, what was printed, and what the page says."""
    environment = prepare(folder)
    seen: dict[int, tuple[str, str, str]] = {}
    last = None
    for block in blocks(text):
        if block.language == "toml":
            (folder / "course.toml").write_text(block.text, encoding="utf-8")
        elif block.language == "sh" and "jupyter lab" in block.text:
            mark_by_hand(block.text, folder, environment, {"Ada Blum": 4, "Blaise Petit": 3})
            last = None
        elif block.language == "sh":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.text], cwd=folder, env=environment,
                capture_output=True, text=True, timeout=600, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"line {block.line}: {block.text}{done.stdout}{done.stderr}"
            last, first = done, True
        elif block.language in ("text", "json"):
            assert last is not None, f"line {block.line}: this follows no command"
            printed = last.stdout if first else last.stderr
            seen[block.line] = (block.language if first else "part", printed, block.text)
            first = False
    return seen


def plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    (folder / "home").mkdir()
    return folder, walk((PAGES / "for-lecturers.md").read_text(encoding="utf-8"), folder)


def test_every_command_prints_what_the_page_says(walked):
    _, seen = walked
    assert len(seen) >= 7
    for line, (kind, printed, said) in seen.items():
        if kind == "json":
            assert json.loads(printed) == json.loads(said), f"line {line}"
        elif kind == "part":
            assert plain(said) in plain(printed), f"line {line}: {printed}"
        else:
            assert plain(printed) == plain(said), f"line {line}: {printed}"


def test_every_file_of_the_table_is_there(walked):
    folder, _ = walked
    text = (PAGES / "for-lecturers.md").read_text(encoding="utf-8")
    table = text[text.index("| file | what it holds |") :].split("\n\n")[0]
    names = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(names) >= 7
    for name in names:
        path = folder / "graded" / name
        assert path.is_dir() if name.endswith("/") else path.is_file(), name
    assert (folder / "graded" / "secret").stat().st_mode & 0o777 == 0o600


def test_feedback_written_again_holds_the_marks_by_hand(walked):
    folder, _ = walked
    records = [json.loads(path.read_text()) for path in (folder / "graded" / "feedback").glob("*.json")]
    scores = {record["student"]: record["score"] for record in records}
    assert scores["Ada Blum"] == 36 and scores["Blaise Petit"] == 35


def test_a_contested_mark_comes_out_again_and_its_inputs_can_be_drawn(walked):
    folder, _ = walked
    with (folder / "again" / "marks.csv").open(newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    text = (PAGES / "for-lecturers.md").read_text(encoding="utf-8")
    (score,) = set(re.findall(r"(?:had|mark is) (\d+\.\d+)", text))
    assert float(rows["Blaise Petit"]["score"]) == float(score)
    (block,) = [block for block in blocks(text) if block.language == "python"]
    space = {"seed": int(rows["Blaise Petit"]["seed"])}
    exec(block.text, space)
    assert len(space["exercise"].public) == 4 and space["exercise"].num_cases == 12
    (p,) = space["inputs"]
    assert len(p) >= 2 and abs(float(p.sum()) - 1) < 1e-9


def test_a_student_meets_the_same_inputs_with_the_seed_of_the_feedback(walked):
    from chainrule.checks import check

    folder, _ = walked
    (record,) = [json.loads(path.read_text()) for path in (folder / "again" / "feedback").glob("Blaise*.json")]
    (page,) = (folder / "again" / "feedback").glob("Blaise*.html")
    assert f"seed {record['seed']}" in page.read_text(encoding="utf-8")
    space = {"torch": torch}
    exec(ENTROPY_OF_BLAISE, space)
    verdict = check(space["entropy"], seed=record["seed"])
    (graded,) = [one for one in record["exercises"] if one["name"] == "entropy"]
    assert (verdict.num_right, verdict.num_cases) == (graded["right"], graded["cases"]) == (1, 12)


def test_the_table_of_settings_is_complete_and_true():
    from chainrule.grading.sandbox import Limits
    from chainrule.grading.settings import Settings, read_settings

    text = (PAGES / "for-lecturers.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\* - `([^`]+)`\n  - (.+)$", text, re.MULTILINE))
    default = Settings()
    true = {one.name: f"{getattr(default.limits, one.name):.0f}" for one in fields(Limits)}
    true["seconds_per_exercise"] = f"{default.seconds_per_exercise:g}"
    for one in fields(Settings):
        if one.name not in ("limits", "seconds_per_exercise", "points", "by_hand", "deadline"):
            value = getattr(default, one.name)
            true[one.name] = f'`"{value}"`' if isinstance(value, str) else f"{value:g}"
    true |= {"[points]": "the book's", "[by_hand]": "none", "deadline": "none"}
    assert said == true
    assert read_settings(None, []) == default


def test_the_limits_that_students_are_told_are_the_true_ones():
    from chainrule.grading.sandbox import Limits
    from chainrule.grading.settings import Settings

    text = " ".join((PAGES / "for-students.md").read_text(encoding="utf-8").split())
    assert Limits().sentence("time") in text
    default = Limits(60, 1024, 64, 32, 16_000_000, 1_000_000)  # of which the sentences below speak
    assert Limits() == default and Settings().seconds_per_exercise == 10
    for words in (
        "a minute in all and each exercise for ten seconds", "a gigabyte of memory", "64 MB of temporary files",
        "32 processes and threads", "print a megabyte", "return 16 MB",
    ):  # fmt: skip
        assert words in text


def test_there_are_ten_commands():
    text = (PAGES / "for-lecturers.md").read_text(encoding="utf-8")
    assert "ten commands" in text
    commands = [line for block in blocks(text) if block.language == "sh" for line in block.text.splitlines()]
    assert len(commands) == 10


def test_every_test_that_the_threat_model_names_exists():
    text = (PAGES / "threat-model.md").read_text(encoding="utf-8")
    sentences = re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", text)
    assert len(sentences) > 30
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "grading").glob("test_*.py"))
    there = set(re.findall(r"^def (test_\w+)\(", tests, re.MULTILINE))
    named = {"test_" + re.sub(r"[ ']", "_", sentence) for sentence in sentences}
    assert not named - there
