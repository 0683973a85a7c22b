"""The students' package of a chapter: the starter notebook and a page on how to work and hand in. Nothing else goes in.

The starter comes with the library, in ``starters/<chapter>.ipynb``; no folder is searched and nothing is copied that
lies beside, so no solution can slip in.
"""

import json
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from chainrule.checks import exercises
from chainrule.grading.settings import Settings

__all__ = ["make_starter", "release", "starter"]

STARTERS = Path(__file__).parents[1] / "starters"

README = """# {title}

{points}

## Work

Open `{chapter}.ipynb` in JupyterLab (`pip install jupyterlab`, then `jupyter lab`) or upload it to Colab; \
its first cell installs
the book's library where it is missing. Complete each function in place and run the cell `check(...)` below it: \
it says at once whether the
function is right and, if it is not, why. Leave the functions' names as they are. We may add cells.

## Hand in

Restart the kernel, run all cells, save, and hand in this one notebook. {deadline}

## How it is marked

The notebook runs from top to bottom on a machine without network, where only torch, numpy and Python's own library are
installed. Then each function is called with inputs of the kind that `check` uses, drawn for each submission anew, \
and what it returns is
compared with the right answer. Each input that comes out right earns its part of the points, \
so a function that is right for some inputs
earns some of them. A cell that fails costs nothing by itself. \
The book's own functions that answer an exercise are blocked meanwhile.
"""

IN_WORDS = """**In words: {name}** ({points:g} points)

*Write the answer here, in place of this line. Leave the cell where it is: it is found by its tag.*"""


def make_starter(page: dict) -> str:
    """The starter of an exercise page's notebook: no outputs, no links to solutions, the same bytes each time.

    Args:
        page: the notebook of the page, as JSON
    """
    cells = []
    for cell in page["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            source = re.sub(
                r"^The answer is worked out in \[[^\]]*\]\([^)]*\)\.\s*", "", source, flags=re.MULTILINE
            ).strip()
            if source:
                cells.append({"cell_type": "markdown", "metadata": {}, "source": source})
        elif cell["cell_type"] == "code":
            cells.append(
                {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}
            )
    cells = [{"id": f"cell-{number}"} | cell for number, cell in enumerate(cells)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def starter(chapter: str) -> dict:
    """The starter notebook of a chapter, as JSON.

    Raises:
        ValueError: where there is none.

    >>> starter("information-theory")["nbformat"]
    4
    """
    there = sorted(path.stem for path in STARTERS.glob("*.ipynb"))
    if chapter not in there:  # compared with names, never made into a path before
        raise ValueError(f"expected a chapter with exercises ({', '.join(there)}), got {chapter!r}")
    return json.loads((STARTERS / f"{chapter}.ipynb").read_text(encoding="utf-8"))


def release(chapter: str, to: Path, settings: Settings | None = None) -> list[Path]:
    """Write the students' package of a chapter.

    Args:
        chapter: the chapter's slug
        to: a folder that does not exist yet; it appears when it is complete
        settings: the course's rules, for points, deadline and the cells of answers in words

    Returns:
        The files written.

    Raises:
        ValueError: where there is no such chapter.
        FileExistsError: where the folder is there already.
    """
    settings = settings or Settings()
    notebook = starter(chapter)
    if to.exists():
        raise FileExistsError(f"expected a folder that does not exist yet, got {to}")
    for name, points in settings.by_hand.items():
        source = IN_WORDS.format(name=name, points=points)
        notebook["cells"].append(
            {"id": f"answer-{name}", "cell_type": "markdown", "metadata": {"tags": [name]}, "source": source}
        )
    rows = [(one.title, settings.points.get(one.name, one.points)) for one in exercises(chapter)]
    rows += [(f"In words: {name}", points) for name, points in settings.by_hand.items()]
    table = ["| exercise | points |", "|---|---:|", *(f"| {title} | {points:g} |" for title, points in rows)]
    table.append(f"| all | {sum(points for _, points in rows):g} |")
    title = notebook["cells"][0]["source"].splitlines()[0].lstrip("# ")
    readme = README.format(chapter=chapter, title=title, points="\n".join(table), deadline=_deadline(settings))
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".release-", dir=to.parent) as folder:
        package = Path(folder) / "package"
        package.mkdir()
        text = json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (package / f"{chapter}.ipynb").write_text(text, encoding="utf-8")
        (package / "README.md").write_text(readme, encoding="utf-8")
        package.rename(to)
    return [to / f"{chapter}.ipynb", to / "README.md"]


def _deadline(settings: Settings) -> str:
    if settings.deadline is None:
        return ""
    when = datetime.fromtimestamp(settings.deadline, UTC)
    words = f"The deadline is {when:%Y-%m-%d %H:%M} UTC."
    if settings.penalty_per_day:
        words += f" Each day begun after it costs {100 * settings.penalty_per_day:g} percent of the marks"
        words += f", at most {100 * settings.largest_penalty:g}."
    if settings.attempts == "best":
        return f"{words} We may hand in again: the best attempt counts."
    return f"{words} We may hand in again: the last attempt counts."
