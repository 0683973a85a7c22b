"""Write every page that runs code as an ordinary Jupyter notebook, outputs included.

The pages are MyST, which only Sphinx reads fully; JupyterLab, Colab and GitHub know plain Markdown. When Sphinx has
resolved a page (numbers, references and citations in place), this extension walks its document tree, writes the prose
as Markdown cells, and takes the code cells with their outputs from `_build/executed/<page>.ipynb`. References become
links to the published site, whose address follows from `[project.urls] Repository` in pyproject.toml.

The notebooks land in `_build/notebooks/<page>.ipynb` and are copied into the site at `notebooks/<page>.ipynb`.
The same inputs give the same bytes: no dates, no random ids.

`Translator` writes each node in a method named after the node's class, which is docutils' own habit: `block_table`
gives the Markdown of a table, `inline_math` that of a formula in a line. A node without a method stops the build, so
that nothing of a page is lost in silence.
"""

from __future__ import annotations

import hashlib
import html
import itertools
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import nbformat
from docutils import nodes
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sphinx.errors import ExtensionError
from sphinx.locale import admonitionlabels

from chainrule import __version__
from pages import repository, site_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sphinx.application import Sphinx
    from sphinx.config import Config
    from sphinx.environment import BuildEnvironment

# A notebook much above this no longer opens comfortably on Colab (its limit is 20 MB with everything in it).
WIDGET_STATE_LIMIT = 8_000_000  # bytes of JSON

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"


def install_cell() -> str:
    """Return the source of the cell that installs the library where it is missing.

    pip leaves an installed torch, numpy, matplotlib or ipywidgets alone as long as it meets the wheel's lower bounds.
    """
    wheel = f"{site_address()}wheels/chainrule-{__version__}-py3-none-any.whl"
    return (
        "# Install the book's library where it is missing (Colab); torch, numpy and the others stay as they are.\n"
        f"try:\n    import chainrule\nexcept ModuleNotFoundError:\n    %pip install -qq {wheel}"
    )


def is_cell(node: nodes.Node) -> bool:
    """Say whether the node is a code cell, as myst-nb marks it."""
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def has_cell(node: nodes.Node) -> bool:
    """Say whether a code cell stands anywhere in the node."""
    return next(iter(node.findall(is_cell)), None) is not None


def escape(text: str) -> str:
    """Return the text so that Markdown and its formulas show it as it is."""
    text = re.sub(r"([\\`*\[\]<$])", r"\\\1", re.sub(r"\s+", " ", text))
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # an underscore inside a word is safe


def paragraph_text(text: str) -> str:
    """Return a paragraph on one line, its start kept from reading as a list, a heading or a quotation."""
    return re.sub(r"^(?=[-+#>](\s|$))|^(\d+)(?=[.)]\s)", lambda m: (m.group(2) or "") + "\\", text.strip())


def indented(text: str, first: str, rest: str) -> str:
    """Return the text with `first` before its first line and `rest` before the others that aren't empty."""
    head, *tail = text.split("\n")
    return "\n".join([first + head, *((rest + line).rstrip() for line in tail)])


def display_math(latex: str, number: str | None) -> str:
    r"""Return a displayed formula, which may hold several lines (`\\`), with its number as a tag.

    Jupyter numbers nothing by itself, and a numbering environment inside `$$` is an error: `align` becomes `aligned`
    and so on. The formula is one line, since the start marks of a quotation would otherwise get into it.
    """
    latex = re.sub(r"(?<!\\)%.*", "", latex)
    latex = re.sub(r"\\(begin|end)\{(?:align|flalign|eqnarray)\*?\}", r"\\\1{aligned}", latex)
    latex = re.sub(r"\\(begin|end)\{(?:gather|multline)\*?\}", r"\\\1{gathered}", latex)
    latex = re.sub(r"\\(begin|end)\{equation\*?\}", "", latex)
    parts = [" ".join(part.split()) for part in re.split(r"\n\s*\n", latex) if part.strip()]
    for i, part in enumerate(parts):
        bare = re.sub(r"\\begin\{(\w+\*?)\}.*\\end\{\1\}", "", part)
        if "\\\\" in bare:  # lines outside of any environment: Sphinx splits them in the same way
            parts[i] = rf"\begin{{split}}{part}\end{{split}}"
    body = parts[0] if len(parts) == 1 else r"\begin{gathered}" + r" \\ ".join(parts) + r"\end{gathered}"
    tag = rf" \tag{{{number}}}" if number else ""
    return f"$$ {body}{tag} $$"


class Translator:
    """Turns one resolved page into the cells of a notebook."""

    def __init__(self, app: Sphinx, docname: str, executed: NotebookNode) -> None:
        self.env, self.config, self.docname, self.executed = app.env, app.config, docname, executed
        self.site = site_address()
        self.address_of = lambda name: self.site + app.builder.get_target_uri(name)
        self.cells: list[NotebookNode] = []
        self.waiting: list[str] = []  # Markdown blocks that the next cell takes
        self.footnotes: list[str] = []
        self.depth = 0  # of headings
        self.in_table = False
        self.executed_up_to = 0  # index of the first executed cell that isn't in the notebook yet
        self.counter = 0  # execution count

    # Cells

    def cells_of(self, document: nodes.document) -> list[NotebookNode]:
        """Return the cells of the page."""
        self.emit(document.children)
        if self.footnotes:
            self.waiting.append("**Footnotes**\n\n" + "\n".join(self.footnotes))
        self.flush()
        self.skip_to(len(self.executed.cells))
        self.waiting.append(self.closing())
        self.flush()
        return self.cells

    def emit(self, children: Iterable[nodes.Node]) -> None:
        """Add the nodes: code cells as cells, all else as Markdown between them."""
        for node in children:
            if is_cell(node):
                self.code_cell(node)
            elif isinstance(node, nodes.section) and isinstance(node[0], nodes.title):
                self.section(node)
            elif has_cell(node):
                # Markdown can quote nothing that reaches over a code cell: a title marks the start instead.
                title, body, folds = self.titled(node) or ("", node.children, False)
                if folds:
                    self.emit_folded(node[0], body)
                else:
                    self.waiting.append(f"**{title}**" if title else "")
                    self.emit(body)
            else:
                self.waiting.append(self.block(node))

    def emit_folded(self, title: nodes.Element, body: list[nodes.Node]) -> None:
        """Add a part that folds and has code cells in it: the cells and each run of prose fold on their own."""
        flat = [inner for child in body for inner in (child.children if isinstance(child, nodes.section) else [child])]
        summary = html.escape(plain(title), quote=False)
        for holds_cell, run in itertools.groupby(flat, has_cell):
            if not holds_cell:
                self.waiting.append(details(summary, self.blocks(list(run))))
                summary = "and further"
                continue
            for node in run:
                if not is_cell(node):
                    raise ExtensionError(f"{self.docname}: a code cell stands too deep in a folded part: {node!r:.200}")
                self.code_cell(node, folded=True)

    def section(self, node: nodes.section) -> None:
        """Start a Markdown cell with the section's heading (Jupyter folds by headings), then add its content."""
        self.flush()
        self.depth += 1
        numbers = self.env.toc_secnumbers.get(self.docname, {})
        anchors = [f"#{name}" for name in node["ids"]] if self.depth > 1 else [""]
        # A heading below the depth that is numbered is listed with None.
        number = next((numbers[anchor] for anchor in anchors if numbers.get(anchor)), ())
        heading = " ".join([".".join(map(str, number)), self.inline(node[0])]).strip()
        self.waiting.append(f"{'#' * min(self.depth, 6)} {heading}")
        if self.depth == 1 and not self.cells:
            self.waiting.append(f"A page of [The Chain Rule]({self.site}), as a notebook.")
            self.flush()
            self.add_code(new_code_cell(install_cell()))
        self.emit(node.children[1:])
        self.depth -= 1

    def flush(self) -> None:
        """Make a Markdown cell of what is waiting."""
        source = "\n\n".join(block for block in self.waiting if block)
        if source:
            self.cells.append(new_markdown_cell(source, id=f"text-{len(self.cells)}"))
        self.waiting = []

    def code_cell(self, node: nodes.container, *, folded: bool = False) -> None:
        """Add an executed code cell, then the caption of its figure."""
        self.flush()
        self.skip_to(node["cell_index"])
        executed = self.executed.cells[node["cell_index"]]
        sources = [part[0] for part in node.findall(nodes.container) if part.get("nb_element") == "cell_code_source"]
        if executed.cell_type != "code" or any(part.astext().strip() != executed.source.strip() for part in sources):
            raise ExtensionError(f"{self.docname}: cell {node['cell_index']} isn't the one that was executed")
        self.executed_up_to = node["cell_index"] + 1
        self.add_code(executed, hidden=folded or "hide_mode" in node, folded=folded)
        for figure in node.findall(nodes.figure):
            self.waiting.append(self.caption(figure))
            alt = next((image.get("alt", "") for image in figure.findall(nodes.image)), "")
            if alt:  # Jupyter gives the picture of an output no alternative text of its own
                self.waiting.append(details("The picture in words", paragraph_text(escape(alt))))

    def skip_to(self, index: int) -> None:
        """Add the code cells before the index that the page hides altogether: the later ones may need them."""
        for cell in self.executed.cells[self.executed_up_to : index]:
            if cell.cell_type == "code":
                self.add_code(cell, hidden=True)
        self.executed_up_to = max(index, self.executed_up_to)

    def add_code(self, executed: NotebookNode, *, hidden: bool = False, folded: bool = False) -> None:
        """Add a code cell with its outputs, counted anew since the install cell comes before all others.

        The source of a hidden cell folds, and the outputs of a folded cell fold too.
        """
        self.counter += 1
        outputs = json.loads(json.dumps(executed.outputs))
        for output in outputs:
            if "execution_count" in output:
                output["execution_count"] = self.counter
        metadata: dict[str, Any] = {}
        if executed.metadata.get("tags"):
            metadata["tags"] = list(executed.metadata["tags"])
        if hidden:
            metadata |= {"jupyter": {"source_hidden": True}, "cellView": "form"}  # the second one is Colab's
        if folded:
            metadata["jupyter"]["outputs_hidden"] = True
        cell = new_code_cell(
            executed.source,
            id=f"code-{len(self.cells)}",
            execution_count=self.counter,
            outputs=[nbformat.from_dict(output) for output in outputs],
            metadata=metadata,
        )
        self.cells.append(cell)

    def closing(self) -> str:
        """Return the last cell: the way back, the chapter's exercises, the licence."""
        folder, chapter = self.docname.split("/")[:2] if "/" in self.docname else ("", "")
        links = [f"[This page on the site]({self.address_of(self.docname)})"]
        exercises = f"exercises/{chapter}"
        if folder in {"chapters", "solutions"} and exercises in self.env.all_docs:
            links.append(f"[the chapter's exercises]({self.address_of(exercises)})")
        blob = f"{repository()}/blob/HEAD"
        licence = f"Text: [CC BY 4.0]({blob}/LICENSE-text.md), code: [MIT]({blob}/LICENSE)."
        return f"---\n\n{' · '.join(links)}. {licence}"

    # Numbers and addresses

    def number(self, kind: str, node: nodes.Element) -> str:
        """Return the number Sphinx gave to a figure, table, formula, theorem or exercise, such as 1.2."""
        numbers = self.env.toc_fignumbers.get(self.docname, {}).get(kind, {})
        return next((".".join(map(str, numbers[i])) for i in node["ids"] if i in numbers), "")

    def link(self, text: str, address: str) -> str:
        """Return a link; an address inside the book becomes one on the site."""
        address = (
            urljoin(self.address_of(self.docname), address).replace("(", "%28").replace(")", "%29").replace(" ", "%20")
        )
        return wrapped(text, "[", f"]({address})")

    def caption(self, node: nodes.Element) -> str:
        """Return the caption of a figure or table with its number in bold, then the legend."""
        kind = "table" if isinstance(node, nodes.table) else "figure"
        number = self.number(kind, node)
        label = f"**{self.config.numfig_format[kind] % number}.** " if number else ""
        texts = [child for child in node.children if isinstance(child, (nodes.caption, nodes.title))]
        legends = [child for child in node.children if isinstance(child, nodes.legend)]
        return "\n\n".join([label + self.inline(text) for text in texts] + [self.blocks(legend) for legend in legends])

    def titled(self, node: nodes.Element) -> tuple[str, list[nodes.Node], bool] | None:
        """Return title, body and whether it folds, of a box: admonition, theorem, exercise, solution, dropdown."""
        name = type(node).__name__
        has_title = isinstance(node.next_node(), nodes.title) or type(node.next_node()).__name__ == "dropdown_title"
        title = self.inline(node[0]) if has_title else ""
        folds = name == "dropdown_main" or "dropdown" in node.get("classes", ())
        if name in admonitionlabels:
            title = title or str(admonitionlabels[name])
        elif "realtype" in node:  # theorem, definition, lemma, ...
            title = f"{node['realtype'].title()} {self.number(node['countertype'], node)}".strip() + f" {title}"
        elif name == "exercise_enumerable_node":
            title = f"{self.config.numfig_format['exercise'] % self.number('exercise', node)} {title}"
        elif name == "solution_node":  # who opens a page of solutions alone wants to see them
            folds = self.env.sphinx_exercise_registry[node["target_label"]]["docname"] == self.docname
        elif name == "proof_node":
            return "", node[0].children, folds  # it holds one admonition, whose text begins with "Proof."
        elif name not in {"dropdown_main", "exercise_node", "admonition", "topic", "sidebar"}:
            return None
        return " ".join(title.split()), node.children[1:] if has_title else node.children, folds

    # Blocks

    def blocks(self, node: nodes.Element | list[nodes.Node]) -> str:
        """Return the Markdown of the node's children, blank lines between them."""
        return "\n\n".join(text for child in getattr(node, "children", node) if (text := self.block(child)))

    def block(self, node: nodes.Node) -> str:
        """Return the Markdown of a block without code cells."""
        if (box := self.titled(node)) is not None:
            title, body, folds = box
            if folds:
                return details(html.escape(plain(node[0]), quote=False) if title else "More", self.blocks(body))
            return indented("\n\n".join([f"**{title}**"] * bool(title) + [self.blocks(body)]), "> ", "> ")
        method = getattr(self, f"block_{type(node).__name__.lower()}", None)
        if method is None:
            raise ExtensionError(f"{self.docname}: plain_notebooks can't write {type(node).__name__}: {node!r:.200}")
        return method(node)

    def nothing(self, node: nodes.Node) -> str:
        """Return no Markdown: the node shows nothing on a page, or only on the site."""
        return ""

    block_target = block_comment = block_index = block_toctree = block_meta = nothing
    block_substitution_definition = block_sd_tab_input = block_tabular_col_spec = nothing

    def children_as_blocks(self, node: nodes.Element) -> str:
        """Return the children alone: the node itself only groups them."""
        return self.blocks(node)

    def block_container(self, node: nodes.container) -> str:
        """Return what the container holds; the title of a card in bold, the box under a page's title as a quotation."""
        if node.get("design_component") == "card-title":
            return self.bold_line(node[0])
        if "page-box" in node["classes"]:  # without its buttons, which lead to this very notebook
            return indented(self.blocks([child for child in node if not isinstance(child, nodes.raw)]), "> ", "> ")
        return self.blocks(node)

    block_section = block_compound = block_definition = block_legend = children_as_blocks

    def block_paragraph(self, node: nodes.Element) -> str:
        """Return a paragraph, on one line."""
        return paragraph_text(self.inline(node))

    block_passthroughtextelement = block_compact_paragraph = block_image = block_reference = block_paragraph

    def bold_line(self, node: nodes.Element) -> str:
        """Return a small title that isn't a heading."""
        return wrapped(self.inline(node), "**", "**")

    block_rubric = block_caption = block_sd_tab_label = bold_line

    def block_title(self, node: nodes.Element) -> str:
        """Return the heading of a section that stands inside another block."""
        return self.bold_line(node)

    def block_transition(self, node: nodes.Element) -> str:
        """Return a rule."""
        return "---"

    def block_raw(self, node: nodes.raw) -> str:
        """Return raw HTML as it is, since Markdown takes it; scripts belong to the site."""
        text = node.astext().strip()
        return text if "html" in node["format"].split() and not text.startswith("<script") else ""

    def block_literal_block(self, node: nodes.literal_block) -> str:
        """Return code that isn't run."""
        language = node.get("language", "")
        language = {"ipython3": "python", "default": "", "none": "", "myst-ansi": ""}.get(language, language)
        fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", node.astext()))])
        return f"{fence}{language}\n{node.astext().rstrip()}\n{fence}"

    block_doctest_block = block_literal_block

    def block_math_block(self, node: nodes.math_block) -> str:
        """Return a displayed formula with its number."""
        by_chapter = self.config.math_numfig and self.config.numfig
        number = self.number("displaymath", node) if by_chapter else str(node["number"])
        return display_math(node.astext(), number if "label" in node else None)

    def block_block_quote(self, node: nodes.block_quote) -> str:
        """Return a quotation."""
        return indented(self.blocks(node), "> ", "> ")

    def block_attribution(self, node: nodes.attribution) -> str:
        """Return who said it."""
        return f"— {self.inline(node)}"

    def block_line_block(self, node: nodes.line_block) -> str:
        """Return lines that are kept apart."""
        return "  \n".join(self.inline(line) for line in node.findall(nodes.line))

    def list_of(self, items: list[nodes.Node], marks: list[str]) -> str:
        """Return list items under their marks; without blank lines where each is short."""
        texts = [indented(self.blocks(item), mark, " " * len(mark)) for item, mark in zip(items, marks, strict=True)]
        return ("\n\n" if any("\n\n" in text for text in texts) else "\n").join(texts)

    def block_bullet_list(self, node: nodes.bullet_list) -> str:
        """Return a list with bullets."""
        return self.list_of(node.children, ["- "] * len(node))

    def block_enumerated_list(self, node: nodes.enumerated_list) -> str:
        """Return a numbered list."""
        start = node.get("start", 1)
        return self.list_of(node.children, [f"{start + i}. " for i in range(len(node))])

    def block_definition_list(self, node: nodes.definition_list) -> str:
        """Return a list of terms in bold with their definitions, which Markdown has no form of its own for."""
        texts = []
        for item in node.children:
            terms = ", ".join(self.bold_line(term) for term in item.findall(nodes.term))
            definition = self.blocks([child for child in item.children if isinstance(child, nodes.definition)])
            texts.append(indented(f"{terms}: {definition}", "- ", "  "))
        return "\n".join(texts)

    block_glossary = children_as_blocks

    def block_footnote(self, node: nodes.footnote) -> str:
        """Keep a footnote for the end of the notebook."""
        self.footnotes.append(indented(self.blocks(node.children[1:]), f"{node[0].astext()}. ", "   "))
        return ""

    def block_figure(self, node: nodes.figure) -> str:
        """Return a picture that no cell draws, with its caption."""
        pictures = [child for child in node.children if isinstance(child, (nodes.image, nodes.reference))]
        return "\n\n".join([self.inline_children(pictures), self.caption(node)])

    def block_table(self, node: nodes.table) -> str:
        """Return a table with pipes, its caption above."""
        self.in_table = True
        group = next(iter(node.findall(nodes.tgroup)))
        rows = [[self.table_entry(entry) for entry in row.children] for row in group.findall(nodes.row)]
        first = next(iter(group.findall(nodes.row)))
        marks = {"text-left": ":--", "text-right": "--:", "text-center": ":-:"}
        align = [marks.get(" ".join(entry["classes"]), "---") for entry in first.children]
        self.in_table = False
        if not isinstance(first.parent, nodes.thead):
            rows.insert(0, [""] * len(align))  # a table with pipes must have a head
        lines = ["| " + " | ".join(row) + " |" for row in [rows[0], align, *rows[1:]]]
        return "\n\n".join(text for text in [self.caption(node), "\n".join(lines)] if text)

    def table_entry(self, entry: nodes.entry) -> str:
        """Return one field of a table, on one line."""
        if entry.get("morecols") or entry.get("morerows"):
            raise ExtensionError(f"{self.docname}: Markdown can't join the fields of a table: {entry.astext()!r:.80}")
        return re.sub(r"\n+", "<br>", self.blocks(entry))

    # Text in a line

    def inline(self, node: nodes.Element) -> str:
        """Return the Markdown of the node's children, in a line."""
        return self.inline_children(node.children)

    def inline_children(self, children: Iterable[nodes.Node]) -> str:
        """Return the Markdown of the nodes, in a line."""
        text = ""
        for child in children:
            method = getattr(self, f"inline_{type(child).__name__.lower()}", None)
            if method is None:
                raise ExtensionError(f"{self.docname}: plain_notebooks can't write {child!r:.200} in a line")
            piece = method(child)
            if text.endswith("!") and piece.startswith("["):
                text = text[:-1] + "\\!"  # it would make an image of the link
            text += piece
        return text

    def inline_text(self, node: nodes.Text) -> str:
        """Return text."""
        text = escape(node.astext())
        return text.replace("|", "\\|") if self.in_table else text

    inline_inline = inline_generated = inline_passthroughtextelement = inline_title_reference = inline

    def inline_emphasis(self, node: nodes.Element) -> str:
        """Return emphasis."""
        return wrapped(self.inline(node), "*", "*")

    def inline_strong(self, node: nodes.Element) -> str:
        """Return strong emphasis."""
        return wrapped(self.inline(node), "**", "**")

    inline_literal_strong = inline_strong
    inline_literal_emphasis = inline_emphasis

    def inline_literal(self, node: nodes.literal) -> str:
        """Return code in a line."""
        text = " ".join(node.astext().split("\n"))
        if "kbd" in node["classes"]:
            return f"<kbd>{html.escape(text)}</kbd>"
        fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
        pad = " " if text.startswith("`") or text.endswith("`") else ""
        return fence + pad + (text.replace("|", "\\|") if self.in_table else text) + pad + fence

    def inline_math(self, node: nodes.math) -> str:
        """Return a formula; in a table without its bars, which would end the field."""
        latex = " ".join(node.astext().split())
        if self.in_table:
            latex = latex.replace(r"\|", r"\Vert{}").replace("|", r"\vert{}")
        return f"${latex}$"

    def inline_reference(self, node: nodes.reference) -> str:
        """Return a link."""
        return self.link(self.inline(node), node["refuri"] if "refuri" in node else f"#{node['refid']}")

    inline_number_reference = inline_reference

    def inline_download_reference(self, node: nodes.Element) -> str:
        """Return a link to a file that the site carries."""
        return self.link(self.inline(node), f"{self.site}_downloads/{node['filename']}")

    def inline_footnote_reference(self, node: nodes.footnote_reference) -> str:
        """Return a footnote's number."""
        return f"<sup>{node.astext()}</sup>"

    def inline_superscript(self, node: nodes.Element) -> str:
        """Return raised text."""
        return f"<sup>{self.inline(node)}</sup>"

    def inline_subscript(self, node: nodes.Element) -> str:
        """Return lowered text."""
        return f"<sub>{self.inline(node)}</sub>"

    def inline_abbreviation(self, node: nodes.Element) -> str:
        """Return an abbreviation with what it stands for."""
        return f'<abbr title="{html.escape(node.get("explanation", ""))}">{self.inline(node)}</abbr>'

    def inline_image(self, node: nodes.image) -> str:
        """Return a picture, shown from the site."""
        files = self.env.images
        address = node["uri"] if "://" in node["uri"] else f"{self.site}_images/{files[node['uri']][1]}"
        return f"![{escape(node.get('alt', ''))}]({address})"

    def inline_raw(self, node: nodes.raw) -> str:
        """Return raw HTML as it is."""
        return node.astext() if "html" in node["format"].split() else ""

    inline_target = inline_index = inline_comment = nothing


def wrapped(text: str, before: str, after: str) -> str:
    """Return the text between two marks, which Markdown wants next to a letter, not to a blank."""
    core = text.strip()
    return text.replace(core, before + core + after, 1) if core else text


def details(summary: str, body: str) -> str:
    """Return a part that folds. Its summary is HTML, in which Markdown isn't read but formulas are."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def plain(node: nodes.Node) -> str:
    """Return the node's text with its formulas between dollars, for a summary."""
    if isinstance(node, nodes.raw):
        return ""  # an icon
    if isinstance(node, nodes.math):
        return f"${node.astext()}$"
    return "".join(map(plain, node.children)) if node.children else node.astext()


def plain_notebook(app: Sphinx, doctree: nodes.document, docname: str) -> NotebookNode:
    """Return the plain notebook of a resolved page."""
    path = Path(app.srcdir) / "_build" / "executed" / f"{docname}.ipynb"
    executed = nbformat.read(path, as_version=4)
    for cell in executed.cells:
        if cell.cell_type == "code" and cell.execution_count is None:
            raise ExtensionError(f"{docname}: this cell was not executed:\n{cell.source}")
    notebook = new_notebook(cells=Translator(app, docname, executed).cells_of(doctree))
    # No version of Python: it would change the bytes with the machine, and a notebook opens without it.
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    keep_widgets(notebook, executed)
    nbformat.validate(notebook)
    return notebook


def keep_widgets(notebook: NotebookNode, executed: NotebookNode) -> None:
    """Carry over the widgets' state, by which JupyterLab shows them before any cell has run.

    A state that is too heavy stays behind, and the views that would show nothing without it go too.
    """
    state = executed.metadata.get("widgets", {}).get(STATE)
    if state and len(json.dumps(state)) <= WIDGET_STATE_LIMIT:
        notebook.metadata["widgets"] = {STATE: state}
        return
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(VIEW, None)


def notebook_path(app: Sphinx, docname: str) -> Path:
    """Return where the plain notebook of a page goes."""
    return Path(app.srcdir) / "_build" / "notebooks" / f"{docname}.ipynb"


def note_page(app: Sphinx, doctree: nodes.document) -> None:
    """Remember, over builds, whether the page has code cells."""
    if has_cell(doctree):
        app.env.metadata[app.env.docname]["code_cells"] = True


def pages_with_code(env: BuildEnvironment) -> list[str]:
    """Return the names of the pages that have a notebook."""
    return [name for name in sorted(env.found_docs) if env.metadata[name].get("code_cells")]


def missing_notebooks(app: Sphinx, env: BuildEnvironment, *_: object) -> list[str]:
    """Have the pages read again whose notebook is gone."""
    return [name for name in pages_with_code(env) if not notebook_path(app, name).exists()]


def write_notebook(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Write the plain notebook of a page that has code cells."""
    if app.builder.name != "html" or not app.env.metadata[docname].get("code_cells"):
        return
    path = notebook_path(app, docname)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plain_notebook(app, doctree, docname), indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def copy_notebooks(app: Sphinx, failure: Exception | None) -> None:
    """Drop the notebooks of pages that are gone, and copy the others into the site."""
    if failure is not None or app.builder.name != "html":
        return
    folder = Path(app.srcdir) / "_build" / "notebooks"
    wanted = {notebook_path(app, name) for name in pages_with_code(app.env)}
    for path in set(folder.rglob("*.ipynb")) - wanted:
        path.unlink()
    target = Path(app.outdir) / "notebooks"
    shutil.rmtree(target, ignore_errors=True)
    if wanted:
        shutil.copytree(folder, target)


def set_key(app: Sphinx, config: Config) -> None:
    """Have all pages written again when this program or what it takes from pyproject.toml changes."""
    key = Path(__file__).read_text(encoding="utf-8") + install_cell() + repository()
    config.plain_notebooks_key = hashlib.sha256(key.encode()).hexdigest()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_config_value("plain_notebooks_key", "", "html")
    app.connect("config-inited", set_key)
    app.connect("env-get-outdated", missing_notebooks)
    app.connect("doctree-read", note_page)
    app.connect("doctree-resolved", write_notebook, priority=900)  # after whatever else completes the page
    app.connect("build-finished", copy_notebooks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
