"""Tie the site to the executed pages: no stale outputs, and numbers in the prose that come from the page's own code.

* A page with code that has no fresh executed result stops the build (run `tools/book.py execute` first).
* A page whose executed result changed is read again, even when its Markdown did not change.
* The role {py}`expression` is replaced by the value that the expression had when the page was executed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import SphinxError
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.pages import executed_folder, file_hash, find_pages

logger = logging.getLogger(__name__)


class NotExecutedError(SphinxError):
    """Pages have code whose outputs are missing or stale."""

    category = "The pages are not executed"


def require_fresh_results(app: Sphinx) -> None:
    """Stop the build if a page with code has no fresh executed result."""
    missing = [
        page.docname
        for page in find_pages(Path(app.srcdir))
        if page.docname in app.project.docnames and not page.is_fresh
    ]
    if missing:
        raise NotExecutedError(f"run `tools/book.py execute` first; no fresh result for {', '.join(missing)}")


def changed_results(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """Name the pages to be read again because their executed result is not the one they were read with."""
    require_fresh_results(app)
    known = _known_results(env)
    return [docname for docname in env.found_docs if known.get(docname, "") != _result_hash(app, docname)]


def remember_result(app: Sphinx, doctree: nodes.document) -> None:
    """Note which result a page was read with, and check that each of its values was used."""
    docname = app.env.docname
    _known_results(app.env)[docname] = _result_hash(app, docname)
    unused = app.env.temp_data.get("chainrule_values", [])
    if unused:
        expressions = ", ".join(entry["expr"] for entry in unused)
        logger.warning("values were computed that the page does not show: %s", expressions, location=docname)


def forget_result(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Forget a page that is read again or gone."""
    _known_results(env).pop(docname, None)


def merge_results(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment) -> None:
    """Take over what a parallel reader noted."""
    _known_results(env).update({name: value for name, value in _known_results(other).items() if name in docnames})


def _known_results(env: BuildEnvironment) -> dict[str, str]:
    if not hasattr(env, "chainrule_results"):
        env.chainrule_results = {}
    return env.chainrule_results


def _result_path(app: Sphinx, docname: str) -> Path:
    return executed_folder(Path(app.srcdir)) / f"{docname}.ipynb"


def _result_hash(app: Sphinx, docname: str) -> str:
    return file_hash(_result_path(app, docname))


class ValueRole(SphinxRole):
    """{py}`expression`: the value of the expression right after the code cell above."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the value as text."""
        value = self._take_value()
        if value is None:
            message = self.inliner.reporter.error(f"no executed value for {self.rawtext}", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]
        return [nodes.Text(value)], []

    def _take_value(self) -> str | None:
        """Return the next value of this expression; each is used once, in the order of the page."""
        remaining: list[dict[str, str]] | None = self.env.temp_data.get("chainrule_values")
        if remaining is None:
            path = executed_folder(Path(self.env.srcdir)) / f"{self.env.docname}.ipynb"
            metadata: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["metadata"] if path.exists() else {}
            remaining = self.env.temp_data["chainrule_values"] = list(metadata.get("chainrule", {}).get("values", []))
        for position, entry in enumerate(remaining):
            if entry["expr"] == self.text:
                return remaining.pop(position)["value"]
        return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_role("py", ValueRole())
    app.connect("env-get-outdated", changed_results)
    app.connect("env-purge-doc", forget_result)
    app.connect("env-merge-info", merge_results)
    app.connect("doctree-read", remember_result)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
