"""Answers in words, for a person to mark: nbgrader's course folder, so that its formgrader opens every submission.

A notebook is rebuilt from its sources alone, never run, and its text is made harmless first: the formgrader shows
Markdown with whatever HTML stands in it, on the pages of the very server that may run code for the lecturer.
"""

import ast
import json
import re
from collections.abc import Iterable
from pathlib import Path

from chainrule.grading.feedback import printable, write_atomically
from chainrule.grading.gradebook import database_url, student_id
from chainrule.grading.results import Graded
from chainrule.grading.run import Sheet
from chainrule.grading.submission import Submission

__all__ = ["harmless", "write_course"]

LONGEST_CELL = 50_000  # characters
POWERFUL_TEX = (
    r"\\(href|url|require|style|class|cssId|data|def|let|newcommand|renewcommand|newenvironment|mmlToken|html\w*|unicode)"
    r"(?![A-Za-z])"
)

CONFIG = """\
# Written by `chainrule grade`; `jupyter lab` in the folder above opens nbgrader's formgrader on these submissions.
import os

c = get_config()  # noqa: F821
c.CourseDirectory.root = os.path.dirname(os.path.abspath(__file__))
c.CourseDirectory.db_url = {url!r}
c.HTMLExporter.sanitize_html = True
"""


def harmless(text: str) -> str:
    """Markdown without HTML, pictures, links behind words, and commands of formulas that can do more than set them.

    A blank keeps each of them from being what it was, so that everything can still be read.

    >>> harmless("<script>x</script> [a](javascript:b) $a<b$")
    '< script>x< /script> [a] (javascript:b) $a< b$'
    """
    text = re.sub(r"<(?=[A-Za-z/!?])", "< ", printable(text[:LONGEST_CELL]))
    return re.sub(POWERFUL_TEX, r"\1", re.sub(r"\](?=[(:\[])", "] ", text))


def _about(name: str, kind: str, points: float) -> dict:
    """Nbgrader's metadata of a cell that a student fills in and that is marked."""
    fields = {"grade": True, "solution": True, "locked": False, "task": False, "schema_version": 3, "cell_type": kind}
    return {"nbgrader": fields | {"grade_id": name, "points": points}}


def _cell(kind: str, source: str, metadata: dict | None = None) -> dict:
    cell = {"cell_type": kind, "metadata": metadata or {}, "source": source}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _notebook(cells: list[dict]) -> str:
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return (
        json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4}, indent=1)
        + "\n"
    )


def _defines(source: str) -> set[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def _labels(cell: dict) -> list[str]:
    """The names under which a cell could be an answer: its tags, and its name in nbgrader's own metadata."""
    metadata = cell.get("metadata")
    if not isinstance(metadata, dict):
        return []
    tags, nbgrader = metadata.get("tags"), metadata.get("nbgrader")
    found = [
        *(tags if isinstance(tags, list) else []),
        nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None,
    ]
    return [label for label in found if isinstance(label, str)]


def _rebuilt(data: bytes, sheet: Sheet) -> str:
    """A student's notebook with nbgrader's metadata and only sources; for one that cannot be read, empty answers."""
    try:
        given = json.loads(data.decode("utf-8-sig"))["cells"]
        given = [cell for cell in given if isinstance(cell, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        given = []
    graded = dict(zip((one.name for one in sheet.exercises), sheet.points, strict=True))
    words, cells = dict(sheet.settings.by_hand), []
    for cell in given[:2000]:
        source = cell.get("source", "")
        source = "".join(line for line in source if isinstance(line, str)) if isinstance(source, list) else source
        if not isinstance(source, str):
            continue
        if cell.get("cell_type") == "code":
            name = next((name for name in graded if name in _defines(source)), None)
            metadata = _about(name, "code", graded.pop(name)) if name else {}
            cells.append(_cell("code", printable(source[:LONGEST_CELL]), metadata))
        elif cell.get("cell_type") == "markdown":
            name = next((label for label in _labels(cell) if label in words), None)
            metadata = _about(name, "markdown", words.pop(name)) if name else {}
            cells.append(_cell("markdown", harmless(source), metadata))
    cells += [
        _cell("code", f"# {name}: not in a cell of its own", _about(name, "code", points))
        for name, points in graded.items()
    ]
    cells += [
        _cell("markdown", f"({name}: no answer)", _about(name, "markdown", points)) for name, points in words.items()
    ]
    return _notebook(cells)


def write_course(
    results: Iterable[Graded], sheet: Sheet, submissions: list[Submission], database: str | Path, folder: Path
) -> int:
    """Write nbgrader's course folder for the attempts that count.

    Args:
        results: for each student the attempt that counts
        sheet: what was graded
        submissions: where the bytes of each attempt lie
        database: the gradebook, as for `record`
        folder: where to write

    Returns:
        How many notebooks were written.
    """
    paths = {(one.student, one.file, one.digest): one.path for one in submissions}
    url = database_url(database if "://" in str(database) else Path(database).resolve())
    source = folder / "source" / sheet.chapter
    source.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "nbgrader_config.py", CONFIG.format(url=url))
    write_atomically(source / f"{sheet.chapter}.ipynb", _rebuilt(b"{}", sheet))
    count = 0
    for graded in results:
        count += 1
        path = paths.get((graded.student, graded.file, graded.digest))
        target = folder / "autograded" / student_id(graded.student) / sheet.chapter
        target.mkdir(parents=True, exist_ok=True)
        write_atomically(target / f"{sheet.chapter}.ipynb", _rebuilt(path.read_bytes() if path else b"{}", sheet))
    return count
