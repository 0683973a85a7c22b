"""The outputs a reader sees are the outputs a reader gets: every notebook offered for download is run again, strictly.

nbval runs each plain notebook, the very file that the site offers, and compares each output with the one that is
stored: printed text, values, tables, and the pictures too, since chainrule.plots draws the same SVG every time. It
would pass over a cell without an execution count, so those fail here first.
"""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "_build" / "notebooks"
NOTEBOOKS = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.ipynb"))

# Cells whose outputs differ from run to run (measured times), over the whole book. Raise it only with a reason.
CELLS_NOT_COMPARED = 0

# What makes nbval compare less than it could.
UNCOMPARED = {"nbval-ignore-output", "nbval-skip", "nbval-raises-exception", "raises-exception"}


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def uncompared(cell: NotebookNode) -> bool:
    """Say whether nbval would not compare the cell's outputs."""
    return bool(UNCOMPARED & set(cell.metadata.get("tags", []))) or "# NBVAL_" in cell.source


def run_nbval(notebook: NotebookNode, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a notebook in an empty folder and compare its outputs; the same environment as when it was executed."""
    nbformat.write(notebook, folder / "page.ipynb")
    (folder / "pytest.ini").write_text("[pytest]\n")  # the book's own pytest settings aren't meant for notebooks
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "MPLBACKEND": "agg",
        "PYTHONPATH": str(ROOT / "lib"),
        "IPYTHONDIR": str(folder / "ipython"),  # nobody's own profile changes what a page shows
    }
    options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=300", "-p", "no:cacheprovider", "-p", "no:xdist"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-q", "page.ipynb"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_there_are_notebooks():
    assert NOTEBOOKS, "no notebooks were built: run `make notebooks`"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_gives_its_outputs_again(name, tmp_path):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    assert all(cell.execution_count is not None for cell in code_cells(notebook)), "a cell was never executed"
    done = run_nbval(notebook, tmp_path)
    assert done.returncode == 0, f"{name}\n{done.stdout[-6000:]}{done.stderr[-2000:]}"
    assert f"{len(code_cells(notebook))} passed" in done.stdout, done.stdout[-2000:]


def test_few_cells_are_not_compared():
    marked = [
        f"{name}:\n{cell.source}"
        for name in NOTEBOOKS
        for cell in code_cells(nbformat.read(FOLDER / f"{name}.ipynb", as_version=4))
        if uncompared(cell)
    ]
    assert len(marked) == CELLS_NOT_COMPARED, "\n\n".join(marked)


SAMPLE = """
from chainrule.plots import bars, subplots
figure, axes = subplots()
bars(axes, [0.2, 0.8])
print(0.1 + 0.2)
figure
""".strip()


def sample() -> NotebookNode:
    """Return a notebook of one cell that prints and draws, with the outputs that it should have."""
    from chainrule.plots import bars, subplots

    figure, axes = subplots()
    bars(axes, [0.2, 0.8])
    picture = {"image/svg+xml": figure._repr_svg_(), "text/plain": repr(figure)}
    outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="0.30000000000000004\n"),
        nbformat.v4.new_output("execute_result", picture, execution_count=1),
    ]
    cell = nbformat.v4.new_code_cell(SAMPLE, id="sample", execution_count=1, outputs=outputs)
    return nbformat.v4.new_notebook(cells=[cell])


def test_nbval_accepts_the_same_outputs(tmp_path):
    done = run_nbval(sample(), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("change", ["text", "picture"])
def test_nbval_sees_a_difference(change, tmp_path):
    notebook = sample()
    text, picture = notebook.cells[0].outputs
    if change == "text":
        text["text"] = "0.3\n"
    else:
        drawn = picture.data["image/svg+xml"]
        picture.data["image/svg+xml"] = drawn.replace("fill", "stroke", 1)
        assert picture.data["image/svg+xml"] != drawn
    done = run_nbval(notebook, tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "0.30000000000000004" in done.stdout if change == "text" else "image/svg+xml" in done.stdout
