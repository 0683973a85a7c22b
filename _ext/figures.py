"""Figures in both modes, and no picture without words.

A figure that a cell shows is SVG in the book's colours (chainrule.plots). Here it gets a twin in the dark colours; the
style sheet shows the one that fits. Every image of the book needs a text for those who cannot see it; one that has none
stops the build.
"""

import functools
import hashlib
import re
from pathlib import Path

from docutils import nodes
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)
_SIZE = re.compile(r'<svg\b[^>]*?\bviewBox="\S+ \S+ (\S+) (\S+)"')
POINTS_TO_PIXELS = 96 / 72


@functools.lru_cache(maxsize=4096)
def size_of(path: str) -> tuple[int, int] | None:
    """Width and height of an SVG file in CSS pixels, ``None`` if it does not say."""
    with open(path, encoding="utf-8") as file:
        found = _SIZE.search(file.read(2000))
    return None if found is None else tuple(round(float(n) * POINTS_TO_PIXELS) for n in found.groups())


def _twins(app, doctree) -> None:
    for image in list(doctree.findall(nodes.image)):
        if not image.get("alt", "").strip():
            logger.warning(
                "an image has no alternative text: give the cell `mystnb: image: alt:`, or the image its "
                "`:alt:`, a sentence that says what it shows",
                location=image,
                type="chainrule",
                subtype="alt",
            )
        path = _executed_svg(app, image["uri"])
        if path is None or "cr-light" in image["classes"]:
            continue
        from chainrule.plots import dark_svg  # brings matplotlib, so only for pages that are read again

        svg = path.read_text(encoding="utf-8")
        dark = dark_svg(svg)
        if dark == svg:  # no colour of ours: somebody else's picture
            continue
        twin = path.with_name(hashlib.sha256(dark.encode()).hexdigest() + ".svg")
        if not twin.exists():
            twin.write_text(dark, encoding="utf-8")
        other = image.deepcopy()
        other["uri"] = image["uri"].replace(path.name, twin.name)
        # Names of our own: the theme's only-light would hide the caption too. dark-light keeps its filter away.
        image["classes"] = [*image["classes"], "cr-light"]
        other["classes"] = [*other["classes"], "cr-dark", "dark-light"]
        image.parent.insert(image.parent.index(image) + 1, other)


def _executed_svg(app, uri: str) -> Path | None:
    """The file of a picture that a cell made, ``None`` for any other image."""
    if not uri.endswith(".svg") or "://" in uri:
        return None
    for base in (Path(app.srcdir), Path(app.env.doc2path(app.env.docname)).parent):
        path = base / uri.lstrip("/") if not Path(uri).is_file() else Path(uri)
        if path.is_file() and "jupyter_execute" in path.parts:
            return path
    return None


def _visit_image(self, node) -> None:
    """Like Sphinx, but the picture keeps its place on the page before it is loaded, and loads when it is near."""
    path = Path(self.builder.srcdir) / node["uri"]
    size = size_of(str(path)) if path.suffix == ".svg" and path.is_file() else None
    HTML5Translator.visit_image(self, node)
    extra = ' loading="lazy" decoding="async"'
    if size is not None and "width" not in node:
        extra += f' width="{size[0]}" height="{size[1]}"'
    self.body[-1] = re.sub(r"<img\b(?![^>]*loading=)", f"<img{extra}", self.body[-1])


def _depart_image(self, node) -> None:
    HTML5Translator.depart_image(self, node)


def setup(app):
    app.connect("doctree-read", _twins, priority=400)  # before Sphinx collects the images it must copy
    app.add_node(nodes.image, override=True, html=(_visit_image, _depart_image))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
