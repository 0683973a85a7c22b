"""The appendices that nobody writes by hand: index of methods, map from the notes, errata.

They are made from what pages say of themselves in their front matter and from chapters/methods.yml, notes.yml and
errata.yml. ``problems`` says what does not fit together; the build and a test both stop on it.
"""

import ast
from pathlib import Path

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

import pages


def load(root: Path, name: str):
    """A data file of chapters/."""
    return yaml.safe_load((root / "chapters" / f"{name}.yml").read_text(encoding="utf-8"))


def public_names(root: Path) -> dict[str, list[str]]:
    """The names in ``__all__`` of each public module of the library, read without importing it."""
    found = {}
    library = root / "lib" / "chainrule"
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library.parent).with_suffix("").parts
        if path.name == "__init__.py":
            parts = parts[:-1]
        if any(part.startswith("_") for part in parts):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets):
                found[".".join(parts)] = ast.literal_eval(node.value)
    return found


def problems(root: Path) -> list[str]:
    """Every slug, symbol, item or page that a front matter or a data file names and that does not exist."""
    found = []
    book = pages.pages(root)
    slugs = {slug for chapter in load(root, "methods").values() for slug in chapter}
    items = {item for source in load(root, "notes") for section in source["sections"] for item in section["items"]}
    symbols = {f"{module}.{name}" for module, names in public_names(root).items() for name in names}
    for name, front in book.items():
        for slug, symbol in (front.get("methods") or {}).items():
            if slug not in slugs:
                found.append(f"{name}: the method {slug} is not in chapters/methods.yml")
            if symbol not in symbols:
                found.append(f"{name}: the method {slug} names {symbol}, which no module's __all__ holds")
        for item in str(front.get("notes") or "").split():
            if item not in items:
                found.append(f"{name}: the item {item} is not in chapters/notes.yml")
        for needed in front.get("needs") or ():
            if pages.full_docname(needed) not in book:
                found.append(f"{name}: it needs {needed}, which is no page of the table of contents")
    sources = {source["key"] for source in load(root, "notes")}
    seen = set()
    for entry in load(root, "errata"):
        if entry["source"] not in sources or not entry["id"].startswith(entry["source"] + "/"):
            found.append(f"errata.yml: {entry['id']} names the source {entry['source']}")
        if entry["id"] in seen:
            found.append(f"errata.yml: {entry['id']} stands twice")
        seen.add(entry["id"])
        page = pages.full_docname(entry["page"])
        if page not in book:
            found.append(f"errata.yml: {entry['id']} names {entry['page']}, which is no page of the table of contents")
        elif (
            "label" in entry
            and f"({entry['label']})=" not in (text := (root / f"{page}.md").read_text("utf-8"))
            and f":label: {entry['label']}" not in text
            and f"name: {entry['label']}" not in text
        ):
            found.append(f"errata.yml: {entry['id']} names the label {entry['label']}, which {page} does not have")
    return found


class _Register(SphinxDirective):
    """A directive whose content is Markdown made from data."""

    has_content = False
    sources: tuple[str, ...] = ()

    def markdown(self, root: Path) -> list[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.app.confdir)
        for name in self.sources:
            self.env.note_dependency(str(root / "chapters" / f"{name}.yml"))
        self.env.note_dependency(str(root / "_toc.yml"))
        for docname in pages.toc_documents(root):  # front matters of all pages go into the registers
            self.env.note_dependency(str(root / f"{docname}.md"))
        box = nodes.container(classes=["register", f"register-{self.name}"])
        lines = StringList(self.markdown(root), source=self.get_source_info()[0])
        self.state.nested_parse(lines, self.content_offset, box)
        return [box]


def _link(docname: str) -> str:
    return f"{{doc}}`/{docname}`"


class MethodsIndex(_Register):
    """Methods by chapter, each with its function and its pages."""

    sources = ("methods", "chapters")

    def markdown(self, root):
        taught: dict[str, list[tuple[str, str]]] = {}
        for docname, front in pages.pages(root).items():
            for slug, symbol in (front.get("methods") or {}).items():
                taught.setdefault(slug, []).append((docname, symbol))
        titles = {c["slug"]: c["title"] for part in load(root, "chapters") for c in part["chapters"]}
        methods = load(root, "methods")
        lines = [f"So far {len(taught)} of the {sum(map(len, methods.values()))} methods that the book will build.", ""]
        for chapter, names in methods.items():
            if not any(slug in taught for slug in names):
                continue
            lines += [f"**{titles[chapter]}**", "", "| method | in the library | shown on |", "|:--|:--|:--|"]
            for slug, name in sorted(names.items(), key=lambda pair: pair[1].lower()):
                if slug in taught:
                    symbols = list(dict.fromkeys(symbol for _, symbol in taught[slug]))
                    where = list(dict.fromkeys(docname for docname, _ in taught[slug]))
                    lines.append(
                        f"| {name} | {', '.join(f'{{api}}`~{s}`' for s in symbols)} | {', '.join(map(_link, where))} |"
                    )
            lines.append("")
        return lines


class NotesMap(_Register):
    """For each source, its sections and the pages that treat them."""

    sources = ("notes",)

    def markdown(self, root):
        where: dict[str, list[str]] = {}
        for docname, front in pages.pages(root).items():
            for item in str(front.get("notes") or "").split():
                where.setdefault(item, []).append(docname)
        lines = []
        for source in load(root, "notes"):
            rows = []
            for section in source["sections"]:
                topics = [(topic, where[item]) for item, topic in section["items"].items() if item in where]
                for i, (topic, found) in enumerate(topics):
                    name = section["name"] if i == 0 else ""
                    rows.append(f"| {name} | {topic} | {', '.join(map(_link, found))} |")
            if rows:
                lines += [
                    f"**{source['title']}**, {source['by']}",
                    "",
                    "| section of the notes | topic | page |",
                    "|:--|:--|:--|",
                    *rows,
                    "",
                ]
        return lines


class Errata(_Register):
    """The differences, source by source."""

    sources = ("errata", "notes")

    def markdown(self, root):
        titles = {source["key"]: f"{source['title']}, {source['by']}" for source in load(root, "notes")}
        lines, last = [], None
        for entry in load(root, "errata"):
            if entry["source"] != last:
                last = entry["source"]
                lines += [f"**{titles[last]}**", ""]
            page = pages.full_docname(entry["page"])
            shown = _link(page)
            if "label" in entry:
                kind = (
                    "eq"
                    if entry["label"].startswith("eq-")
                    else "prf:ref"
                    if entry["label"].startswith(("thm-", "def-", "prop-", "lem-", "cor-", "ex-"))
                    else "numref"
                    if entry["label"].startswith("fig-")
                    else "ref"
                )
                shown += f", {{{kind}}}`{entry['label']}`"
            lines += [
                f"*{entry['section']}*",
                f": The notes: {entry['says']}",
                "",
                f"  Right: {entry['right']}",
                "",
                f"  Why: {entry['why']} Shown in {shown}.",
                "",
            ]
        return lines


def _check(app, env, docnames) -> None:
    from sphinx.errors import ExtensionError

    if found := problems(Path(app.confdir)):
        raise ExtensionError("the book's registers do not fit together:\n  " + "\n  ".join(found))


def _bibliography(app, doctree) -> None:
    """A bibliography is made from its file when its page is read: a change in the file means reading it again."""
    if app.env.docname == "chapters/appendices/bibliography":
        for name in app.config.bibtex_bibfiles:
            app.env.note_dependency(str(Path(app.confdir) / name))


def setup(app):
    app.add_directive("methods-index", MethodsIndex)
    app.add_directive("notes-map", NotesMap)
    app.add_directive("errata", Errata)
    app.connect("env-before-read-docs", _check)
    app.connect("doctree-read", _bibliography)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
