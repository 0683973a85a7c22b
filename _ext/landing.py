"""The front page's parts that are made: the moving figure, the three doors, the map of the chapters."""

import math
from pathlib import Path

import yaml
from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

import pages

# The figure shows y = f(u), u = g(x). landing.js holds the same two functions; a browser test compares them.
X_RANGE, U_RANGE, Y_RANGE = (-2.0, 2.0), (-2.0, 2.0), (-1.1, 1.1)
WIDTH, TOP, MIDDLE, BOTTOM, MARGIN = 640, 34, 146, 258, 24
START, REACH, THREADS = 0.35, 0.22, 15


def g(x: float) -> float:
    return math.sin(1.5 * x) + 0.5 * x


def g_slope(x: float) -> float:
    return 1.5 * math.cos(1.5 * x) + 0.5


def f(u: float) -> float:
    return math.tanh(1.2 * u)


def f_slope(u: float) -> float:
    return 1.2 / math.cosh(1.2 * u) ** 2


def _at(value: float, span: tuple[float, float]) -> float:
    low, high = span
    return MARGIN + (value - low) / (high - low) * (WIDTH - 2 * MARGIN)


def thread(x: float) -> str:
    """The path of one input through both functions."""
    u = g(x)
    points = ((_at(x, X_RANGE), TOP), (_at(u, U_RANGE), MIDDLE), (_at(f(u), Y_RANGE), BOTTOM))
    return "M" + "L".join(f"{a:.1f} {b}" for a, b in points)


def figure(start: float = START) -> str:
    """The figure as it stands before its script moves it."""
    background = "".join(f'<path d="{thread(-2 + 4 * i / 40)}"/>' for i in range(41))
    bundle = "".join(
        f'<path class="t{"a" if i < THREADS // 2 else "b" if i > THREADS // 2 else "c"}" '
        f'd="{thread(start + REACH * (2 * i / (THREADS - 1) - 1))}"/>'
        for i in range(THREADS)
    )
    axes = "".join(
        f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y}" y2="{y}"/><text x="{MARGIN}" y="{y + dy}">{name}</text>'
        for y, dy, name in ((TOP, -12, "x"), (MIDDLE, -8, "u = g(x)"), (BOTTOM, 24, "y = f(u)"))
    )
    u = g(start)
    first, second = g_slope(start), f_slope(u)
    measured = (f(g(start + 1e-4)) - f(g(start - 1e-4))) / 2e-4
    dots = "".join(
        f'<circle class="chain-dot" cx="{cx:.1f}" cy="{cy}" r="5"/>'
        for cx, cy in ((_at(start, X_RANGE), TOP), (_at(u, U_RANGE), MIDDLE), (_at(f(u), Y_RANGE), BOTTOM))
    )
    values = {
        "reach": REACH,
        "width": WIDTH,
        "background": background,
        "bundle": bundle,
        "axes": axes,
        "dots": dots,
        "start": start,
        "first": f"{first:.2f}",
        "second": f"{second:.2f}",
        "product": f"{first * second:.2f}",
        "measured": f"{measured:.2f}",
    }
    html = (Path(__file__).parent / "templates" / "chain-figure.html").read_text(encoding="utf-8")
    for name, value in values.items():
        html = html.replace(f"@{name}@", str(value))
    return html


class ChainFigure(SphinxDirective):
    """The moving figure."""

    def run(self):
        return [nodes.raw("", figure(), format="html")]


def _reference(docname: str, text: str, classes=()) -> addnodes.pending_xref:
    reference = addnodes.pending_xref(
        "", refdomain="std", reftype="doc", reftarget=f"/{docname}", refexplicit=True, refwarn=True
    )
    reference += nodes.inline(text, text, classes=list(classes))
    return reference


class ChapterMap(SphinxDirective):
    """All chapters of the plan; those that are written are links, the others are marked."""

    def run(self):
        root = Path(self.env.app.confdir)
        self.env.note_dependency(str(root / "_toc.yml"))
        self.env.note_dependency(str(root / "chapters" / "chapters.yml"))
        written = set(pages.toc_documents(root))
        plan = yaml.safe_load((root / "chapters" / "chapters.yml").read_text(encoding="utf-8"))
        box = nodes.container(classes=["chapter-map"])
        number = 0
        for part in plan:
            block = nodes.container(classes=["chapter-part"])
            block += nodes.paragraph("", part["part"], classes=["chapter-part-name"])
            listing = nodes.enumerated_list(start=number + 1, enumtype="arabic", prefix="", suffix=".")
            for chapter in part["chapters"]:
                number += 1
                docname = f"chapters/{chapter['slug']}/index"
                item = nodes.list_item(classes=["is-written" if docname in written else "is-planned"])
                line = nodes.paragraph()
                if docname in written:
                    line += _reference(docname, chapter["title"])
                else:
                    line += nodes.inline("", chapter["title"], classes=["chapter-title"])
                    line += nodes.inline("", "planned", classes=["chapter-tag"])
                line += nodes.inline("", chapter["about"], classes=["chapter-about"])
                item += line
                listing += item
            block += listing
            box += block
        return [box]


class Doors(SphinxDirective):
    """Three ways into the book; each is a docname, a name and a sentence, in the directive's content as YAML."""

    has_content = True

    def run(self):
        box = nodes.container(classes=["doors"])
        for door in yaml.safe_load("\n".join(self.content)):
            block = nodes.container(classes=["door"])
            head = nodes.paragraph(classes=["door-name"])
            head += _reference(door["page"], door["name"])
            block += head
            block += nodes.paragraph("", door["text"])
            box += block
        return [box]


def _scripts(app, pagename, templatename, context, doctree) -> None:
    if "chain-figure" in (context.get("body") or ""):
        app.add_css_file("landing.css", priority=710)
        app.add_js_file("landing.js", loading_method="defer")


def setup(app):
    app.add_directive("chain-figure", ChainFigure)
    app.add_directive("chapter-map", ChapterMap)
    app.add_directive("doors", Doors)
    app.connect("html-page-context", _scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
