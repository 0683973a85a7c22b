"""The box under a page's title: what the reader will be able to do, what is needed, how long it takes, and the buttons.

It is made from the page's front matter (``goals``, ``needs``, ``methods``), from its text (reading time) and from its
execution (measured seconds). A page without goals has no box.
"""

import math
import re
import urllib.parse
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx import addnodes

import pages

WORDS_A_MINUTE = 180  # prose with formulas, read to be understood
SECONDS_A_CODE_LINE = 3
_CELL = re.compile(r"^(`{3,}|:{3,})\{code-cell\}.*?\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
_OPTIONS = re.compile(r"\A---\n.*?\n---\n|\A(?::[\w-]+:.*\n)+", re.DOTALL)


def reading_minutes(text: str) -> int:
    """Minutes that a page takes to read, its front matter left out and its code counted by lines."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    lines = sum(
        len([line for line in _OPTIONS.sub("", cell).splitlines() if line.strip()]) for _, cell in _CELL.findall(text)
    )
    words = len(re.findall(r"\w[\w'-]*", _CELL.sub("", text)))
    return max(1, round(words / WORDS_A_MINUTE + lines * SECONDS_A_CODE_LINE / 60))


def seconds_in_words(seconds: float) -> str:
    """A measured time with two significant digits at most."""
    if seconds < 1:
        return "less than a second"
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{math.ceil(seconds)} s"


def links(docname: str, title: str) -> dict[str, str]:
    """Where the buttons of a page lead."""
    up = "../" * docname.count("/")
    repository = pages.repository()
    report = urllib.parse.urlencode(
        {
            "title": f"Error on the page “{title}”",
            "body": f"Page: {pages.site_address()}{docname}.html\nSource: {repository}/blob/main/{docname}.md\n\n"
            "What the page says:\n\nWhat it should say, and how you know:\n",
        }
    )
    return {
        "colab": f"https://colab.research.google.com/github/{pages.owner_and_name()}/blob/notebooks/{docname}.ipynb",
        "notebook": f"{up}notebooks/{docname}.ipynb",
        "source": f"{repository}/blob/main/{docname}.md",
        "report": f"{repository}/issues/new?{report}",
    }


def _page_link(docname: str, text: str = "") -> addnodes.pending_xref:
    reference = addnodes.pending_xref(
        "", refdomain="std", reftype="doc", reftarget=f"/{docname}", refexplicit=bool(text), refwarn=True
    )
    reference += nodes.inline(text, text)
    return reference


def _api_link(symbol: str) -> addnodes.pending_xref:
    text = symbol.split(".")[-1]
    reference = addnodes.pending_xref(
        "", refdomain="py", reftype="obj", reftarget=symbol, refexplicit=True, refwarn=True
    )
    reference += nodes.literal(symbol, text, classes=["xref", "py"])
    return reference


def _line(label: str, parts: list[nodes.Node], name: str) -> nodes.paragraph:
    line = nodes.paragraph(classes=["page-box-line", name])
    line += nodes.strong(label, label)
    line += nodes.Text(" ")
    for i, part in enumerate(parts):
        if i:
            line += nodes.Text(", ")
        line += part
    return line


def _box(app, docname: str, front: dict, text: str, title: str) -> list[nodes.Node]:
    root = Path(app.confdir)
    box = nodes.container(classes=["page-box"])
    if front.get("goals"):
        box += nodes.paragraph("", "", nodes.strong("", "After this page you can"), classes=["page-box-head"])
        goals = nodes.bullet_list(classes=["page-box-goals"])
        for goal in front["goals"]:
            goals += nodes.list_item("", nodes.paragraph(goal, goal))
        box += goals
    if front.get("needs"):
        box += _line("Needs", [_page_link(pages.full_docname(need)) for need in front["needs"]], "page-box-needs")
    if front.get("methods"):
        symbols = dict.fromkeys(front["methods"].values())
        box += _line("Builds", [_api_link(symbol) for symbol in symbols], "page-box-methods")
    run = pages.execution(root, docname)
    minutes = reading_minutes(text)
    times = f"{minutes} min to read"
    if "seconds" in run:
        times += f", {seconds_in_words(run['seconds'])} to run"
    where = {name: escape(address, quote=True) for name, address in links(docname, title).items()}
    buttons = ""
    if app.env.metadata[docname].get("code_cells"):  # set by plain_notebooks, which makes the notebook
        buttons = (
            f'<a class="page-box-button" href="{where["colab"]}">Open in Colab</a>'
            f'<a class="page-box-button" href="{where["notebook"]}" download>Download notebook</a>'
        )
    box += nodes.raw(
        "",
        f'<p class="page-box-foot"><span class="page-box-time" title="measured on one core">{escape(times)}</span>'
        f"{buttons}"
        f'<a class="page-box-report" href="{where["report"]}">Found an error?</a></p>',
        format="html",
    )
    return [box]


def _insert(app, doctree) -> None:
    docname = app.env.docname
    path = Path(app.env.doc2path(docname))
    if path.suffix != ".md":
        return
    text = path.read_text(encoding="utf-8")
    front = pages.front_matter(text)
    if not front.get("goals"):
        return
    for section in doctree.findall(nodes.section):
        place = next((i for i, child in enumerate(section.children) if isinstance(child, nodes.title)), None)
        if place is not None:
            title = section.children[place].astext()
            for i, node in enumerate(_box(app, docname, front, text, title)):
                section.insert(place + 1 + i, node)
            return


def setup(app):
    app.connect("doctree-read", _insert, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
