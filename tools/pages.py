"""The pages that hold code: where they are, what they depend on, and what has been executed.

A page's *key* is a hash of everything its outputs depend on. An executed notebook is fresh while the key stored
in it equals the key of the page as it is now; nothing else (no time stamp) is ever compared.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]

# Raise this when tools/execute.py starts to produce different notebooks from the same pages.
EXECUTOR_VERSION = 1

# Modules that read data files at run time, and the folder (inside the package) in which those lie.
DATA_FOLDERS = {"chainrule.quiz": "quizzes"}

# Left to right: a fence that is not a directive (its content is shown, not parsed), a {py} role, any other code span.
_FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)$", re.MULTILINE)
_INLINE = re.compile(r"\{py\}`(?P<expression>[^`]+)`|(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`)", re.DOTALL)
_LITERAL_DIRECTIVES = ("{code}", "{code-block}", "{literalinclude}", "{math}", "{raw}", "{code-cell}")


def executed_folder(root: Path) -> Path:
    """Return the folder of the executed notebooks."""
    return root / "_build" / "executed"


@dataclass(frozen=True)
class Page:
    """A page with code cells.

    Attributes:
        root: the top of the book.
        docname: the page's name in the book, its path below the root without the suffix.
        notebook: the page as a notebook without outputs.
    """

    root: Path
    docname: str
    notebook: NotebookNode

    @property
    def executed_path(self) -> Path:
        """Where the executed notebook is written."""
        return executed_folder(self.root) / f"{self.docname}.ipynb"

    @functools.cached_property
    def expressions(self) -> list[list[str]]:
        """The {py} expressions of each cell, in the order in which they stand in it."""
        return [inline_expressions(cell.source) if cell.cell_type == "markdown" else [] for cell in self.notebook.cells]

    @functools.cached_property
    def key(self) -> str:
        """A hash of everything that the page's outputs depend on."""
        code = [cell for cell in self.notebook.cells if cell.cell_type == "code"]
        parts = {
            "executor": EXECUTOR_VERSION,
            "kernel": self.notebook.metadata.get("kernelspec", {}),
            # Tags such as skip-execution decide what is run; the rest of a cell's metadata only dresses the output.
            "cells": [
                cell.source if cell.cell_type == "code" else expressions
                for cell, expressions in zip(self.notebook.cells, self.expressions, strict=True)
                if cell.cell_type == "code" or expressions
            ],
            "tags": [cell.metadata.get("tags", []) for cell in code],
            "library": library_hash(self.root, "\n".join(cell.source for cell in code)),
            "lock": file_hash(self.root / "constraints.txt"),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def is_fresh(self) -> bool:
        """Whether there is an executed notebook of the page as it is now."""
        if not self.executed_path.is_file():
            return False
        metadata = json.loads(self.executed_path.read_text(encoding="utf-8"))["metadata"]
        return metadata.get("chainrule", {}).get("key") == self.key

    def read_executed(self) -> NotebookNode:
        """Return the executed notebook."""
        return nbformat.read(self.executed_path, as_version=4)


def file_hash(path: Path) -> str:
    """Return the hash of a file's content, or the empty string where there is no such file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def toc_docnames(root: Path) -> list[str]:
    """Return the docnames that the table of contents lists, in order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    found: list[str] = []

    def visit(node: Any) -> None:
        if isinstance(node, list):
            for entry in node:
                visit(entry)
        elif isinstance(node, dict):
            for name, value in node.items():
                if name in ("root", "file"):
                    found.append(str(value).removesuffix(".md"))
                elif name == "glob":
                    found.extend(
                        str(path.relative_to(root).with_suffix("")) for path in sorted(root.glob(f"{value}.md"))
                    )
                else:
                    visit(value)

    visit(toc)
    return list(dict.fromkeys(found))


def find_pages(root: Path = ROOT) -> list[Page]:
    """Return every page that has code cells: those of the table of contents, and all exercises and solutions."""
    docnames = toc_docnames(root)
    for folder in ("exercises", "solutions"):
        docnames += [str(path.relative_to(root).with_suffix("")) for path in sorted((root / folder).glob("*.md"))]
    pages = []
    for docname in dict.fromkeys(docnames):
        path = root / f"{docname}.md"
        # A page that is missing or is no Markdown is the site builder's to complain about.
        if path.is_file() and (page := read_page(root, docname)) is not None:
            pages.append(page)
    return pages


def read_page(root: Path, docname: str) -> Page | None:
    """Read one page; None if it has no code cells."""
    text = (root / f"{docname}.md").read_text(encoding="utf-8")
    if "{code-cell}" not in text:
        return None
    notebook = jupytext.reads(text, fmt="md:myst")
    # The ids jupytext makes up are random; counting them makes the same page give the same notebook.
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    if not any(cell.cell_type == "code" for cell in notebook.cells):
        return None
    return Page(root, docname, notebook)


def inline_expressions(markdown: str) -> list[str]:
    """Return the expressions of the {py} roles in a piece of MyST Markdown.

    Roles that are only shown, inside a code block or a longer code span, do not count.

    >>> inline_expressions("It is {py}`f'{h:.2f}'` bits; write ``{py}`h` `` for that.")
    ["f'{h:.2f}'"]
    """
    return [match["expression"] for match in _INLINE.finditer(_without_code_blocks(markdown)) if match["expression"]]


def _without_code_blocks(markdown: str) -> str:
    kept: list[str] = []
    end = 0
    while (opening := _FENCE.search(markdown, end)) is not None:
        fence, info = opening["fence"], opening["info"].strip()
        kept.append(markdown[end : opening.start()])
        closing = re.compile(rf"^[ \t]*{fence[0]}{{{len(fence)},}}[ \t]*$", re.MULTILINE).search(
            markdown, opening.end()
        )
        if closing is None:
            # No end: the rest is code, or the text of a directive that MyST closes by itself.
            content, end = markdown[opening.end() :], len(markdown)
        else:
            content, end = markdown[opening.end() : closing.start()], closing.end()
        if info.startswith("{") and not info.startswith(_LITERAL_DIRECTIVES):
            kept.append(_without_code_blocks(content))
        # What stood before and after a block must not be joined into one code span.
        kept.append("\n\n")
    kept.append(markdown[end:])
    return "".join(kept)


def library_hash(root: Path, code: str) -> str:
    """Return a hash of the files of the library that a piece of code depends on, directly or not."""
    library = root / "lib"
    waiting = sorted(_imported_modules(library, code, package=""))
    seen: set[str] = set()
    files: set[Path] = set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        for path in _module_files(library, module):
            files.add(path)
            if path.suffix == ".py":
                package = module if path.name == "__init__.py" else module.rpartition(".")[0]
                waiting += _imported_modules(library, path.read_text(encoding="utf-8"), package)
    # A page that names the chapters of its questions does not depend on the questions of the others.
    quizzed = set(re.findall(r"""\bquiz\(\s*["']([\w-]+)["']""", code))
    if quizzed:
        folder = library / "chainrule" / DATA_FOLDERS["chainrule.quiz"]
        files -= {
            path for path in files if path.parent == folder and path.suffix == ".yml" and path.stem not in quizzed
        }
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(library)} {file_hash(path)}\n".encode())
    return digest.hexdigest()


def _module_files(library: Path, module: str) -> list[Path]:
    """Return the files behind a module: its own, those of the packages around it, and the data it reads."""
    parts = module.split(".")
    files = [library.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts))]
    folder = library.joinpath(*parts)
    if len(parts) == 1:
        files.append(folder / "__init__.py")
    elif folder.is_dir():
        # A package may import its own parts by name at run time (the checks do), so all of it counts.
        files += [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    else:
        files.append(folder.with_suffix(".py"))
    if module in DATA_FOLDERS:
        files += library.joinpath(parts[0], DATA_FOLDERS[module]).rglob("*")
    return [path for path in files if path.is_file()]


def _imported_modules(library: Path, code: str, package: str) -> set[str]:
    """Return the modules of the library that a piece of code imports, wherever in it the import stands."""
    names = _imported_names(code, package)
    if names is None:
        # Executing the page will report this; until then the page depends on the whole library.
        return {
            ".".join(path.relative_to(library).with_suffix("").parts)
            for path in (library / "chainrule").rglob("*.py")
            if path.name != "__init__.py"
        }
    return {name for name in names if _module_files(library, name)}


@functools.cache
def _imported_names(code: str, package: str) -> frozenset[str] | None:
    """Return the names below chainrule that a piece of code imports, or None if it is no valid Python."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return None
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            found.add(base)
            # `from chainrule import coding` names a module, `from chainrule.coding import encode` a function in one.
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return frozenset(name for name in found if name.split(".")[0] == "chainrule")
