"""Who may use whom: arrows point one way, from pages and exercises to the library, and inside it to torch and numpy."""

import graphlib
import sys
from pathlib import Path

import pytest

from .modules import LIBRARY, SERVICES, code_cells, imports, service_of, topic_modules

ROOT = LIBRARY.parents[1]
STANDARD = set(sys.stdlib_module_names)
TOPICS = set(topic_modules())
# Third parties that only these parts of the library may import.
OWNERS = {"matplotlib": {"plots", "explore"}, "ipywidgets": {"explore"}, "IPython": {"explore", "quiz", "checks"}}
EVERYWHERE = {"torch", "numpy", "jaxtyping"}
SERVICES_OF_PAGES = {"plots", "explore", "quiz", "data", "training"}
MODULES_OF_PAGES = {"torch", "numpy", "math", "zlib", "io", "collections", "functools", "heapq", "itertools"}


def foreign_to_topics(name: str) -> bool:
    """Whether a topic module may not import ``name``."""
    root, _, rest = name.partition(".")
    if root == "chainrule":
        return rest.split(".")[0] not in TOPICS
    return root not in STANDARD | EVERYWHERE


def foreign_to_checks(name: str) -> bool:
    """Whether the checks of exercises may not import ``name``: they see topic modules, no figure and no widget."""
    root, _, rest = name.partition(".")
    if root == "chainrule":
        return rest.split(".")[0] not in TOPICS | {"checks", "data"}
    return root not in STANDARD | EVERYWHERE | {"IPython", "yaml", "<computed>"}  # computed: the registry's own parts


def foreign_to_pages(name: str, services: set[str] = SERVICES_OF_PAGES) -> bool:
    """Whether a page of the book may not import ``name``."""
    root, _, rest = name.partition(".")
    if root == "chainrule":
        module = rest.split(".")[0]
        return module.startswith("_") or module not in TOPICS | services
    return root not in MODULES_OF_PAGES


def foreign_to_exercises(name: str) -> bool:
    """Whether an exercise or a solution may not import ``name``: what pages may, and the checks."""
    return foreign_to_pages(name, SERVICES_OF_PAGES | {"checks"})


def package_of(path: Path) -> str:
    return ".".join(["chainrule", *path.relative_to(LIBRARY).parent.parts])


@pytest.mark.parametrize("name", sorted(TOPICS))
def test_topic_modules_import_only_torch_numpy_and_each_other(name):
    path = LIBRARY / f"{name}.py"
    assert path.exists(), "a topic is one module, not a package"
    assert not {n for n in imports(path.read_text()) if foreign_to_topics(n)}


def test_topic_modules_do_not_import_each_other_in_a_circle():
    graph = {
        name: {n.split(".")[1] for n in imports((LIBRARY / f"{name}.py").read_text()) if n.startswith("chainrule.")}
        for name in TOPICS
    }
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_figures_and_widgets_have_one_importer_each():
    for path in LIBRARY.rglob("*.py"):
        for name in imports(path.read_text(), package_of(path)):
            owners = OWNERS.get(name.split(".")[0])
            assert owners is None or service_of(path) in owners, f"{path.relative_to(ROOT)} imports {name}"


def test_the_package_itself_imports_nothing():
    assert not imports((LIBRARY / "__init__.py").read_text())


def test_checks_see_topic_modules_only():
    for path in (LIBRARY / "checks").rglob("*.py"):
        foreign = {n for n in imports(path.read_text(), package_of(path)) if foreign_to_checks(n)}
        assert not foreign, f"{path.relative_to(ROOT)} imports {sorted(foreign)}"


@pytest.mark.parametrize(
    ("pattern", "foreign"),
    [
        ("chapters/*/**/*.md", foreign_to_pages),
        ("chapters/*.md", foreign_to_exercises),  # pages about the book itself show how an exercise is checked
        ("exercises/**/*.md", foreign_to_exercises),
        ("solutions/**/*.md", foreign_to_exercises),
    ],
)
def test_pages_import_only_what_a_reader_can_install(pattern, foreign):
    pages = sorted(ROOT.glob(pattern))
    assert pages
    for page in pages:
        for number, cell in enumerate(code_cells(page.read_text(encoding="utf-8")), 1):
            # the pages about grading show how an exercise is checked
            rule = foreign_to_exercises if page.parent.name == "grading" else foreign
            found = {n for n in imports(cell) if rule(n)}
            assert not found, f"{page.relative_to(ROOT)}, cell {number} imports {sorted(found)}"


# The rules themselves can fail


def test_every_service_is_known():
    assert {path.name.removesuffix(".py") for path in LIBRARY.iterdir()} & SERVICES
    assert {"information", "coding", "likelihood", "mutual_information"} <= TOPICS
    assert not TOPICS & SERVICES


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("import matplotlib.pyplot as plt", foreign_to_topics),
        ("from ipywidgets import IntSlider", foreign_to_topics),
        ("def f():\n    import scipy", foreign_to_topics),
        ("from chainrule import plots", foreign_to_topics),
        ("from chainrule.checks import check", foreign_to_topics),
        ("from . import data", foreign_to_topics),
        ("from .plots import bars", foreign_to_topics),
        ("__import__('matplotlib')", foreign_to_topics),
        ("import importlib\nimportlib.import_module(name)", foreign_to_topics),
        ("from chainrule.plots import bars", foreign_to_checks),
        ("from chainrule.grading import judge", foreign_to_checks),
        ("import matplotlib", foreign_to_pages),
        ("import os", foreign_to_pages),
        ("from chainrule.checks import check", foreign_to_pages),
        ("from chainrule._validate import check_base", foreign_to_pages),
        ("from chainrule.grading import judge", foreign_to_exercises),
    ],
)
def test_forbidden_imports_are_seen(source, rule):
    assert [name for name in imports(source) if rule(name)]


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("import math, torch\nimport torch.nn.functional as F\nfrom numpy import log", foreign_to_topics),
        ("from chainrule import information\nfrom chainrule.information import entropy", foreign_to_topics),
        ("from .information import entropy\nfrom ._validate import check_base", foreign_to_topics),
        ("import zlib\nfrom chainrule.plots import bars\nfrom chainrule.explore import explore", foreign_to_pages),
        ("from chainrule.checks import check", foreign_to_exercises),
    ],
)
def test_allowed_imports_pass(source, rule):
    assert not [name for name in imports(source) if rule(name)]


def test_code_cells_are_found_without_their_options():
    page = "\n".join(
        [
            "# Title",
            "```{code-cell} ipython3",
            "import torch",
            "```",
            "text",
            "```python",
            "import os",
            "```",
            "````{code-cell} ipython3",
            ":tags: [hide-input]",
            "",
            "import math",
            "````",
            "```{code-cell} ipython3",
            "---",
            "mystnb:",
            "  figure: {name: f}",
            "---",
            "import io",
            "```",
        ]
    )
    assert [imports(cell) for cell in code_cells(page)] == [{"torch"}, {"math"}, {"io"}]
