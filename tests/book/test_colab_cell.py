"""The first cell of the notebooks, where the library is missing and older packages are there already, as on Colab.

The environment is a virtual one with versions that Colab had or has, ipywidgets 7.7.1 among them. torch is not
installed a second time: links to the one that runs the tests stand in its place, and pip takes it for installed. The
environment is kept in _build/envs; the library itself is removed from it before each run.
"""

import functools
import hashlib
import http.server
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pages import site_address
from plain_notebooks import install_cell

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
NOTEBOOKS = ROOT / "_build" / "notebooks"

# The oldest numpy and matplotlib worth having on each Python: the first ones that have wheels for it.
OLD = {
    (3, 11): ["numpy==2.0.2", "matplotlib==3.8.4"],
    (3, 12): ["numpy==2.0.2", "matplotlib==3.8.4"],
    (3, 13): ["numpy==2.1.0", "matplotlib==3.9.2"],
    (3, 14): ["numpy==2.3.2", "matplotlib==3.10.5"],
}
# notebook, which ipywidgets 7 requires, would otherwise bring all of JupyterLab.
REQUIREMENTS = [*OLD[sys.version_info[:2]], "ipywidgets==7.7.1", "notebook==6.5.7"]

# What the cell may add: the library and those of its requirements that the environment lacks.
MAY_BE_ADDED = {"chainrule", "jaxtyping", "wadler-lindig", "pyyaml"}

TRY_OUT = """
from chainrule.explore import explore
from chainrule.plots import bars, subplots

def draw(p):
    figure, axes = subplots()
    bars(axes, [p, 1 - p])
    return figure

explore(draw, alt="two bars", p=[0.2, 0.5, 0.8])
""".strip()


def with_requirements(name: str, known: dict[str, importlib.metadata.Distribution]) -> None:
    """Collect an installed package and all that it requires here."""
    if canonicalize_name(name) in known:
        return
    known[canonicalize_name(name)] = package = importlib.metadata.distribution(name)
    for requirement in map(Requirement, package.requires or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            with_requirements(requirement.name, known)


def link_torch(packages: Path) -> None:
    """Put links to torch, and to what it requires, among the packages of another environment."""
    found: dict[str, importlib.metadata.Distribution] = {}
    with_requirements("torch", found)
    for package in found.values():
        if package.name == "numpy":
            continue
        tops = {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}
        for top in tops:
            source = Path(str(package.locate_file(top)))
            if source.exists() and not (packages / top).exists():
                (packages / top).symlink_to(source)


def own_environment() -> dict[str, str]:
    """Return the variables without those that would let this environment's packages in."""
    ours = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "JUPYTER_PATH"}
    return {**{k: v for k, v in os.environ.items() if k not in ours}, "JUPYTER_PREFER_ENV_PATH": "1"}


def run(command: list[str], **options: object) -> str:
    """Run a program and return what it printed; the test fails if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=own_environment(), **options)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter of an environment like Colab's, without the library."""
    torch = importlib.metadata.distribution("torch")
    key = json.dumps([REQUIREMENTS, sys.version, torch.version, str(torch.locate_file("")), Path(__file__).read_text()])
    folder = ROOT / "_build" / "envs" / f"colab-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    program = str(folder / "bin" / "python")
    if not (folder / "complete").exists():
        for old in folder.parent.glob("colab-*"):
            shutil.rmtree(old)
        run([sys.executable, "-m", "venv", str(folder)])
        link_torch(Path(run([program, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()))
        run([program, "-m", "pip", "install", "-q", "--no-compile", "--disable-pip-version-check", *REQUIREMENTS])
        (folder / "complete").touch()
    run([program, "-m", "pip", "uninstall", "-q", "-y", "chainrule"])
    return program


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of the built site, served on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


def versions(python: str) -> dict[str, str]:
    """Return what pip sees as installed."""
    listed = json.loads(run([python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]))
    return {canonicalize_name(entry["name"]): entry["version"] for entry in listed}


def execute(python: str, notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook in a kernel of that environment; a cell that fails fails the test."""
    nbformat.write(notebook, folder / "page.ipynb")
    run([python, "-m", "nbconvert", "--to", "notebook", "--execute", "--output", "done", "page.ipynb"], cwd=folder)
    return nbformat.read(folder / "done.ipynb", as_version=4)


def test_first_cell_installs_the_library_and_changes_nothing(python, address, tmp_path):
    before = versions(python)
    assert {f"{name}=={before[name]}" for name in ("numpy", "matplotlib", "ipywidgets", "notebook")} == set(
        REQUIREMENTS
    )
    assert "torch" in before
    assert "chainrule" not in before
    cells = [new_code_cell(source) for source in [install_cell().replace(site_address(), address), TRY_OUT]]
    cells.append(new_code_cell("draw(0.5)"))
    install, explored, drawn = execute(python, new_notebook(cells=cells), tmp_path).cells
    after = versions(python)
    assert {name: after[name] for name in before} == before
    assert "chainrule" in set(after) - set(before) <= MAY_BE_ADDED
    said = "".join(output.text for output in install.outputs)
    assert said.replace("Note: you may need to restart the kernel to use updated packages.", "").strip() == ""
    assert "application/vnd.jupyter.widget-view+json" in explored.outputs[0].data
    assert "<svg" in drawn.outputs[0].data["image/svg+xml"]


def test_a_page_with_a_moving_figure_runs_there(python, address, tmp_path):
    pages = [
        path for path in sorted(NOTEBOOKS.rglob("*.ipynb")) if "import explore" in path.read_text(encoding="utf-8")
    ]
    assert pages, "no notebook with a moving figure was built: run `make notebooks`"
    notebook = nbformat.read(pages[0], as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = first.source.replace(site_address(), address)
    done = execute(python, notebook, tmp_path)
    views = [output for cell in done.cells for output in cell.get("outputs", []) if "widget-view" in json.dumps(output)]
    assert views
