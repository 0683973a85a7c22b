"""The plain notebooks: what the translation makes of each construct, and what came out for the book's own pages."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from docutils import nodes
from nbformat import NotebookNode
from sphinx.errors import ExtensionError

from pages import site_address
from plain_notebooks import Translator, display_math, escape, install_cell, keep_widgets, paragraph_text
from tools.pages import find_pages, toc_docnames

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "_build" / "notebooks"
SITE = ROOT / "_build" / "html"
NOTEBOOKS = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.ipynb"))
PAGE = site_address() + "chapters/demo/constructs.html"

# Expected in a Markdown cell of the small book in tests/book/constructs.
CONSTRUCTS = {
    "heading with its number": "# 1 Entropy $H(p)$",
    "heading of a part": "### 1.1.1 A part of it",
    "emphasis": "Text with *emphasis*, **strong text**, `code * x`, [a link](https://example.org/a_b), snake_case,",
    "text that only looks like Markdown": r"3 \* 4 \* 5, a \$5 price, a \< b, \[brackets\] and The Book.",
    "line that only looks like a list": r"2\. This is no list.",
    "glossary term": f"[entropy]({site_address()}chapters/appendix.html#term-entropy)",
    "reference to an equation": f"Look at [(1.1)]({PAGE}#equation-eq-entropy),",
    "reference to a figure": f"[Figure 1.1]({PAGE}#fig-dot)",
    "reference to a heading": f"[The section]({PAGE}#section)",
    "reference to a page": f"[Appendix]({site_address()}chapters/appendix.html)",
    "reference to a theorem": f"[Theorem 1.1]({PAGE}#thm-gibbs)",
    "reference to an exercise": f"[Exercise 1]({site_address()}exercises/demo.html#ex-one)",
    "equation": r"$$ H(p) = -\sum_{x=1}^k p(x) \log p(x) \tag{1.1} $$",
    "equation on two lines": r"$$ \begin{split}a &= b \\ &= c\end{split} \tag{1.2} $$",
    "aligned equations": r"$$ \begin{aligned} a &= b \\ c &= d \end{aligned} \tag{1.3} $$",
    "value in the prose": "The value is 1.25 nats.",
    "caption of a figure": f"**Figure 1.1.** A *dot* for [(1.1)]({PAGE}#equation-eq-entropy).",
    "picture in words": "<details><summary>The picture in words</summary>\n\nA black dot.\n\n</details>",
    "note": "> **Note**\n>\n> A note with $a | b$.\n>\n> $$ \\begin{split}x = 1 \\\\ y = 2\\end{split} $$\n>\n"
    "> - first item\n> - second item",
    "box": "> **A title with *stress***\n>\n> Its body.",
    "folded box": "<details><summary>A folded box</summary>\n\nIts folded body.\n\n</details>",
    "hint": f"<details><summary>A hint on $x$</summary>\n\nSee [(1.2)]({PAGE}#equation-eq-lines).\n\n</details>",
    "theorem": "> **Theorem 1.1 (Gibbs)**\n>\n> For all $p, q$: $D \\ge 0$.",
    "proof": "> Proof. By Jensen.",
    "definition without a number": "> **Definition (Surprise)**\n>\n> It is $-\\log p$.",
    "table": "| left | with $p \\vert{} q$ |\n| :-- | --: |\n| a \\| b | **d** |",
    "table with a caption": "**Table 1.1.** Two fields\n\n| A | $\\vert{}x\\vert{}$ |\n| --- | --- |\n| 1 | 2 |",
    "numbered list": "1. first\n\n2. with code\n\n   ```python\n   x = 1\n   ```\n\n3. third\n\n   - nested",
    "term and definition": "- **Term**: its definition",
    "quotation": "> A quotation, over two lines.",
    "code that isn't run": "```python\n# Not run: {py}`x`\n```",
    "picture": f"![A dot alone]({site_address()}_images/dot.svg)",
    "figure from a file": f"![A dot from a file]({site_address()}_images/dot.svg)\n\n**Figure 1.2.** From a file.",
    "card": "**Title of a card**\n\nIts text",
    "tab": "**First tab**\n\none",
    "small things": 'H<sub>2</sub>O, <sup>2</sup>, <kbd>Ctrl</kbd>, <abbr title="Kullback-Leibler">KL</abbr>.',
    "footnote": "**Footnotes**\n\n1. With $x^2$ in it.",
    "way back": f"[This page on the site]({PAGE}) · [the chapter's exercises]({site_address()}exercises/demo.html)",
}

# What MyST leaves behind where nobody translates it.
LEFTOVERS = {
    "directive": r"^[ \t>]*(?::{3,}|`{3,}\s*\{|~{3,}\s*\{)",
    "role": r"(?<!`)\{[A-Za-z][\w:.+-]*\}\\?`",
    "evaluation": r"\{(?:py|eval)\b",
    "label": r"^\(\s*[\w:. -]+\)=\s*$",
    "cell break": r"^\+\+\+",
    "comment": r"^%",
    "option": r"^:[\w-]+:",
    "label of an equation": r"\$\$\s*\([\w:-]+\)\s*$",
    "substitution": r"\{\{.*?\}\}",
    "attributes": r"[\]`*]\{[#.]",
    "footnote": r"\[\^\w+\]",
    "link without a text": r"(?<!!)\[\]\(",
    "number that isn't filled in": r"%s",
    "citation of nothing": r"\\\[\\\]",
    "script of the site": r"<script",
}


def leftovers(markdown: str) -> list[str]:
    """Say what in a Markdown cell is MyST; what stands in code is meant to be shown."""
    # A fence that opens a directive isn't code: it stays and is found.
    text = re.sub(r"^([ \t>]*)(`{3,})(?!\s*\{)[^`\n]*\n.*?^[ \t>]*\2`*[ \t]*$", "", markdown, flags=re.M | re.S)
    without_code = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "`", text)
    # A role's text looks like code, so roles are looked for before the code goes.
    return [
        name
        for name, pattern in LEFTOVERS.items()
        if re.search(pattern, text if name == "role" else without_code, re.M)
    ]


def build(book: Path, folder: str = "html") -> None:
    """Build a small book with Sphinx; any warning is an error."""
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(book), str(book / "_build" / folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "lib", "_ext"))},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small book that uses every construct, executed and built."""
    root = tmp_path_factory.mktemp("constructs") / "book"
    shutil.copytree(ROOT / "tests" / "book" / "constructs", root)
    program = "import sys, pathlib, tools.execute as t; t.execute_pages(pathlib.Path(sys.argv[1]), quiet=True)"
    command = [sys.executable, "-c", program, str(root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    build(root)
    return root


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def markdown_of(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


@pytest.fixture(scope="module")
def constructs(book: Path) -> NotebookNode:
    return read(book / "_build" / "notebooks" / "chapters" / "demo" / "constructs.ipynb")


@pytest.mark.parametrize("construct", CONSTRUCTS)
def test_construct_becomes_ordinary_markdown(constructs, construct):
    texts = markdown_of(constructs)
    assert any(CONSTRUCTS[construct] in text for text in texts), "\n\n".join(texts)


def test_citation_links_to_the_bibliography(constructs):
    pattern = rf"a citation, \\\[\[Shannon, 1948\]\({re.escape(site_address())}chapters/appendix\.html#id\d+\)\\\];"
    assert any(re.search(pattern, text) for text in markdown_of(constructs))


def test_cells_come_in_order_with_outputs_and_counts(constructs):
    code = [cell for cell in constructs.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4, 5, 6, 7]
    assert code[0].source == install_cell()
    assert code[2].outputs[0].execution_count == 3
    assert code[2].outputs[0].data == {"text/plain": "1.25"}
    assert "<svg" in code[3].outputs[0].data["image/svg+xml"]
    assert code[4].outputs[0].text == "its input is hidden\n"
    assert code[5].source == "removed = 1", "a cell that the page hides altogether is still needed by later ones"
    assert [cell.metadata.get("jupyter") for cell in code] == [None] * 4 + [{"source_hidden": True}] * 3


def test_widget_comes_with_its_state(constructs):
    state = constructs.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    view = constructs.cells[-3].outputs[0].data["application/vnd.jupyter.widget-view+json"]
    assert state[view["model_id"]]["state"]["value"] == "<b>a widget</b>"


def test_heavy_widgets_stay_behind():
    def notebook() -> NotebookNode:
        output = nbformat.v4.new_output(
            "display_data", {"text/plain": "HTML()", "application/vnd.jupyter.widget-view+json": {"model_id": "m"}}
        )
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("w", outputs=[output], execution_count=1)])

    executed, plain = notebook(), notebook()
    executed.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {"m": "x" * 9_000_000}}}
    keep_widgets(plain, executed)
    assert "widgets" not in plain.metadata
    assert plain.cells[0].outputs[0].data == {"text/plain": "HTML()"}


def test_exercises_and_solutions(book):
    cells = read(book / "_build" / "notebooks" / "exercises" / "demo.ipynb").cells
    assert [cell.source for cell in cells[2:7]] == [
        "**Exercise 1 (Entropy by $hand$)**\n\nCompute $H$.",
        "def entropy(p): ...",
        "It ends here.\n\n"
        "<details><summary>Solution to Exercise 1 (Entropy by $hand$)</summary>\n\nIt is simple.\n\n</details>",
        "print(1 + 1)",
        "<details><summary>and further</summary>\n\nThat was it.\n\n</details>\n\n"
        f"> **Exercise 2 (Thinking)**\n>\n> Think of [Theorem 1.1]({PAGE}#thm-gibbs).\n\n"
        "<details><summary>Solution to Exercise 2 (Thinking)</summary>\n\nThought.\n\n</details>",
    ]
    assert cells[5].metadata.jupyter == {"source_hidden": True, "outputs_hidden": True}


def test_page_of_solutions_shows_them(book):
    cells = read(book / "_build" / "notebooks" / "solutions" / "demo.ipynb").cells
    exercise = f"{site_address()}exercises/demo.html#ex-one"
    assert cells[2].source == f"**Solution to [Exercise 1 (Entropy by $hand$)]({exercise})**\n\nIt is simple."
    assert cells[3].source == "print(1 + 1)"
    assert "jupyter" not in cells[3].metadata


def test_same_inputs_give_the_same_bytes(book):
    folder = book / "_build" / "notebooks"
    before = {path: path.read_bytes() for path in folder.rglob("*.ipynb")}
    assert len(before) == 3, "the pages without code must have no notebook"
    stray = folder / "chapters" / "gone.ipynb"
    stray.write_text("{}")
    for path in before:
        path.unlink()
    build(book)  # Sphinx itself sees no change: the extension asks for the pages
    assert {path: path.read_bytes() for path in folder.rglob("*.ipynb")} == before
    copies = {path.relative_to(book / "_build/html/notebooks") for path in (book / "_build/html").rglob("*.ipynb")}
    assert copies == {path.relative_to(folder) for path in before}


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        ("a = b", "$$ a = b $$"),
        ("a = b % why\n = c", "$$ a = b = c $$"),
        (r"50\% = x", r"$$ 50\% = x $$"),
        (r"\begin{equation}a\end{equation}", "$$ a $$"),
        (r"\begin{gather*}a\\b\end{gather*}", r"$$ \begin{gathered}a\\b\end{gathered} $$"),
        (r"f = \begin{cases}1\\0\end{cases}", r"$$ f = \begin{cases}1\\0\end{cases} $$"),
        ("a\n\nb", r"$$ \begin{gathered}a \\ b\end{gathered} $$"),
    ],
)
def test_displayed_formula(latex, expected):
    assert display_math(latex, None) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b _c_", r"a_b \_c\_"),
        ("&lt; & more", "&amp;lt; & more"),
        ("`x` \\ $1", r"\`x\` \\ \$1"),
        ("over\n two lines", "over two lines"),
    ],
)
def test_text_is_escaped(text, expected):
    assert escape(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("1. x", r"1\. x"), ("- x", r"\- x"), ("# x", r"\# x"), ("-x", "-x")])
def test_paragraph_starts_no_list(text, expected):
    assert paragraph_text(text) == expected


def translator() -> Translator:
    builder = SimpleNamespace(get_target_uri=lambda name: f"{name}.html")
    return Translator(SimpleNamespace(env=None, config=None, builder=builder), "page", nbformat.v4.new_notebook())


def test_unknown_node_stops_the_build():
    with pytest.raises(ExtensionError, match="option_list"):
        translator().block(nodes.option_list())
    with pytest.raises(ExtensionError, match="problematic"):
        translator().inline(nodes.paragraph("", "", nodes.problematic()))


def test_exclamation_mark_makes_no_image():
    paragraph = nodes.paragraph("", "", nodes.Text("See!"), nodes.reference("", "this", refuri="b.html"))
    assert translator().block(paragraph) == rf"See\![this]({site_address()}b.html)"


@pytest.mark.parametrize(
    ("markdown", "name"),
    [
        (":::{note}\nx\n:::", "directive"),
        ("```{math}\nx\n```", "directive"),
        ("> ```{note}\n> x\n> ```", "directive"),
        ("see {ref}`x`", "role"),
        (r"see {prf:ref}\`x\`", "role"),
        ("is {py}`x` nats", "role"),
        ("is {eval}", "evaluation"),
        ("(my-label)=\n# T", "label"),
        ("a\n\n+++\n", "cell break"),
        ("% a comment", "comment"),
        (":label: eq", "option"),
        ("$$ x $$ (eq-x)", "label of an equation"),
        ("{{ name }}", "substitution"),
        ("[x]{.cls}", "attributes"),
        ("text[^1]", "footnote"),
        ("see [](#x)", "link without a text"),
        ("**Figure %s**", "number that isn't filled in"),
        (r"as shown \[\].", "citation of nothing"),
        ("<script>x</script>", "script of the site"),
    ],
)
def test_search_for_leftovers_finds(markdown, name):
    assert name in leftovers(markdown)


@pytest.mark.parametrize(
    "markdown",
    [
        "plain $x_{i}$ and 5% more (see below), `{ref}` and\n\n```python\n# {py}\n% x\n:::\n```\n\n- a",
        "$$ \\begin{split}a\\end{split} \\tag{1.2} $$\n\n![alt](https://x.org/a.png) <details><summary>x</summary>",
    ],
)
def test_search_for_leftovers_lets_pass(markdown):
    assert leftovers(markdown) == []


# The book's own notebooks


def test_every_page_with_code_has_a_notebook():
    wanted = {page.docname for page in find_pages(ROOT)} & set(toc_docnames(ROOT))
    assert wanted, "the book has no page with code"
    assert set(NOTEBOOKS) == wanted, "run `make notebooks` to build the notebooks that are missing"


@pytest.fixture(params=NOTEBOOKS)
def name(request: pytest.FixtureRequest) -> str:
    """The name of each page with code, in turn."""
    return request.param


def test_notebook_is_valid(name):
    notebook = read(FOLDER / f"{name}.ipynb")
    nbformat.validate(notebook)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert (SITE / "notebooks" / f"{name}.ipynb").read_bytes() == (FOLDER / f"{name}.ipynb").read_bytes()


def test_notebook_begins_with_title_and_install_cell(name):
    first, second = read(FOLDER / f"{name}.ipynb").cells[:2]
    assert first.source.startswith("# ")
    assert (second.cell_type, second.source, second.outputs) == ("code", install_cell(), [])


def test_notebook_carries_the_outputs_of_the_execution(name):
    plain = [cell for cell in read(FOLDER / f"{name}.ipynb").cells if cell.cell_type == "code"]
    executed = [cell for cell in read(ROOT / "_build/executed" / f"{name}.ipynb").cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in plain] == list(range(1, len(plain) + 1))
    assert [cell.source for cell in plain[1:]] == [cell.source for cell in executed]
    for ours, theirs in zip(plain[1:], executed, strict=True):
        for output in [*ours.outputs, *theirs.outputs]:
            output.pop("execution_count", None)
        assert ours.outputs == theirs.outputs


def test_notebook_holds_no_myst(name):
    found = {text: names for text in markdown_of(read(FOLDER / f"{name}.ipynb")) if (names := leftovers(text))}
    assert not found


def test_links_of_the_notebook_lead_somewhere(name):
    lost = []
    for text in markdown_of(read(FOLDER / f"{name}.ipynb")):
        for address in re.findall(r"\]\(([^)]*)\)", re.sub(r"`+[^`]+`+", "", text)):
            if not address.startswith(("https://", "mailto:")):
                lost.append(address)
            elif address.startswith(site_address()):
                path, _, anchor = address.removeprefix(site_address()).partition("#")
                target = SITE / (path or "index.html")
                if not target.is_file() or (anchor and f'id="{anchor}"' not in target.read_text(encoding="utf-8")):
                    lost.append(address)
    assert not lost


def test_figures_of_the_notebook_have_captions_and_words(name):
    notebook = read(FOLDER / f"{name}.ipynb")
    for text in markdown_of(notebook):
        assert not re.search(r"!\[\s*\]\(", text), "a picture without an alternative text"
    executed = read(ROOT / "_build" / "executed" / f"{name}.ipynb")
    figures = [cell.metadata["mystnb"] for cell in executed.cells if "figure" in cell.metadata.get("mystnb", {})]
    following = [
        after.source
        for before, after in zip(notebook.cells, notebook.cells[1:], strict=False)
        if before.cell_type == "code" and after.source.startswith("**Figure ")
    ]
    assert len(following) == len(figures)
    for figure, text in zip(figures, following, strict=True):
        assert re.match(r"\*\*Figure \d+\.\d+\.\*\* \S", text)
        words = escape(figure["image"]["alt"])
        assert f"<details><summary>The picture in words</summary>\n\n{words}\n\n</details>" in text


def test_notebook_ends_with_the_way_back(name):
    last = read(FOLDER / f"{name}.ipynb").cells[-1].source
    assert f"[This page on the site]({site_address()}{name}.html)" in last
    assert "CC BY 4.0" in last
    assert "MIT" in last


def test_notebook_is_light_enough_for_colab(name):
    size = len(json.dumps(read(FOLDER / f"{name}.ipynb")))
    assert size < 15_000_000, f"{size} bytes; Colab opens up to 20 MB"
