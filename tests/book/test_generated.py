"""What the site generates: reference, index of methods, map from the notes, errata, box, front page, offline copies."""

import ast
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml

import api_reference
import identity
import landing
import offline
import page_box
import pages
import registers
from tools.pages import ROOT

LIBRARY = ROOT / "lib" / "chainrule"


@pytest.fixture
def book(tmp_path):
    """A copy of what the registers read, to be damaged."""
    for folder in ("chapters", "exercises", "solutions"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.png", "*.jpg"))
    shutil.copytree(LIBRARY, tmp_path / "lib" / "chainrule", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "_toc.yml", tmp_path)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    """Replace text that must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


# The registers


def test_everything_that_pages_and_data_name_exists():
    assert registers.problems(ROOT) == []


@pytest.mark.parametrize(
    "page, old, new, said",
    [
        ("chapters/information-theory/entropy.md", "  shannon-entropy: ", "  shannon: ", "method shannon is"),
        (
            "chapters/information-theory/entropy.md",
            "chainrule.information.entropy\n",
            "chainrule.information.entropie\n",
            "chainrule.information.entropie",
        ),
        ("chapters/information-theory/entropy.md", "notes: ", "notes: S0-1.99 ", "item S0-1.99"),
        ("chapters/information-theory/coding.md", "- information-theory/entropy", "- nowhere", "needs nowhere"),
        ("chapters/errata.yml", "page: information-theory/entropy", "page: information-theory/entrpy", "S0/E-01 names"),
        ("chapters/errata.yml", "id: S0/E-02", "id: S0/E-01", "S0/E-01 stands twice"),
        ("chapters/errata.yml", "label: sec-boxes", "label: no-label", "label no-label"),
        ("chapters/errata.yml", "- source: S0", "- source: S9", "source S9"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_reported(book, page, old, new, said):
    assert registers.problems(book) == []
    edit(book / page, old, new)
    found = registers.problems(book)
    assert any(said in problem for problem in found), found


def test_every_item_of_the_notes_has_a_page():
    taken = {item for front in pages.pages(ROOT).values() for item in str(front.get("notes") or "").split()}
    listed = {
        item for source in registers.load(ROOT, "notes") for section in source["sections"] for item in section["items"]
    }
    assert taken == listed


def test_the_methods_of_a_written_chapter_all_have_a_page():
    written = {name.split("/")[1] for name in pages.toc_documents(ROOT) if re.fullmatch(r"chapters/[\w-]+/index", name)}
    taught = {slug for front in pages.pages(ROOT).values() for slug in front.get("methods") or {}}
    for chapter, names in registers.load(ROOT, "methods").items():
        if chapter in written:
            assert set(names) <= taught, f"{chapter}: no page for {sorted(set(names) - taught)}"


def test_methods_and_chapters_agree():
    plan = [chapter["slug"] for part in registers.load(ROOT, "chapters") for chapter in part["chapters"]]
    methods = registers.load(ROOT, "methods")
    assert len(plan) == len(set(plan)) == 29
    assert list(methods) == plan
    slugs = [slug for names in methods.values() for slug in names]
    assert len(slugs) == len(set(slugs))


def test_readers_see_no_ids_of_the_notes():
    identifier = re.compile(r"\bS\d-[\w.]+|\bE\d?-\d\d\b")
    for register in (registers.NotesMap, registers.Errata, registers.MethodsIndex):
        text = "\n".join(register.markdown(register.__new__(register), ROOT))
        assert len(text) > 400
        assert not identifier.search(text), identifier.search(text)
    for name in pages.toc_documents(ROOT):
        text = re.sub(r"\A---\n.*?\n---\n", "", (ROOT / f"{name}.md").read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not identifier.search(text), f"{name}: {identifier.search(text)[0]}"


def test_numbers_of_the_errata():
    """Each number that an erratum gives, computed again."""
    entropy = lambda p: torch.special.entr(torch.tensor(p, dtype=torch.float64)).sum().item()  # noqa: E731
    kl = lambda p, q: sum(a * math.log(a / b) if a else 0.0 for a, b in zip(p, q, strict=True))  # noqa: E731
    texts = {
        entry["id"]: " ".join(entry[key] for key in ("says", "right", "why"))
        for entry in registers.load(ROOT, "errata")
    }
    assert entropy([1.0, 0.0]) == 0
    assert f"{entropy([0.75, 0.25]) / math.log(2):.3f}" in texts["S0/E-02"]
    assert f"{entropy([0.5, 0.25, 0.25]) / math.log(2):.1f}" in texts["S0/E-03"]
    mid = [0.5, 0.5]
    total = kl([1.0, 0.0], mid) + kl([0.0, 1.0], mid)
    assert f"{total:.3f}" in texts["S0/E-67"]
    assert f"{total / 2:.3f}" in texts["S0/E-67"]
    scores = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    logs = scores.log_softmax(0)
    assert f"{-logs[2]:.4f}" in texts["S2/E12"]
    assert torch.allclose(scores - logs, torch.full((3,), 3.4076, dtype=torch.float64), atol=5e-5)
    assert all(f"{abs(ratio):.2f}" in texts["S3/E3-13"] for ratio in (logs / scores).tolist())
    assert f"{-kl([0.5, 0.3, 0.2], [0.2, 0.2, 0.6]):.3f}" in texts["S4/E4-21"]
    x = torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    for value in (x.mean(), x.mean().log(), x.log().mean()):
        assert f"{value:.3f}" in texts["S4/E4-22"]


# The reference


def test_every_public_module_has_a_page_of_the_reference():
    documented = set()
    for name in pages.toc_documents(ROOT):
        documented |= set(
            re.findall(r"^```\{api\} (\S+)", (ROOT / f"{name}.md").read_text(encoding="utf-8"), re.MULTILINE)
        )
    # The records of a chapter's exercises are data: chainrule.checks documents their form.
    public = {module for module, names in registers.public_names(ROOT).items() if names and names != ["EXERCISES"]}
    assert documented == public


def test_public_names_are_found_and_described():
    for module, names in registers.public_names(ROOT).items():
        for name in names:
            node, path = api_reference.find(ROOT, module, name)
            assert path.is_relative_to(LIBRARY)
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                assert ast.get_docstring(node), f"{module}.{name} has no docstring"


def test_signature_keeps_shapes_as_they_are_written():
    source = (
        'def f(self, p: Float[Tensor, "*batch k"], /, x=None, *, base: float = math.e) -> Float[Tensor, "*batch"]: ...'
    )
    (function,) = ast.parse(source).body
    assert api_reference.signature(function, bound=True) == (
        '(p: Float[Tensor, "*batch k"], /, x=None, *, base: float=math.e) -> Float[Tensor, "*batch"]'
    )


def test_docstring_becomes_sections():
    lines = api_reference.docstring_lines("Mean of `x`.\n\nArgs:\n    x: numbers.\n\nExample:\n    >>> f(`1`)\n    1\n")
    text = "\n".join(lines)
    assert "Mean of ``x``." in text
    assert ":Parameters: **x** -- numbers." in text
    assert ".. rubric:: Examples" in text
    assert ">>> f(`1`)" in text


def test_unknown_name_in_all_is_refused(book):
    edit(book / "lib" / "chainrule" / "coding.py", "__all__ = [", '__all__ = ["no_such_name", ')
    with pytest.raises(ValueError, match="no_such_name, which the module neither defines nor imports"):
        api_reference.find(book, "chainrule.coding", "no_such_name")


# The box under a title


def test_reading_time_counts_words_and_code_lines():
    words = "word " * page_box.WORDS_A_MINUTE * 3
    code = "```{code-cell} ipython3\n:tags: [hide-input]\n" + "x = 1\n" * 40 + "```\n"
    assert page_box.reading_minutes(words) == 3
    assert page_box.reading_minutes("---\ndescription: " + words + "\n---\nShort.") == 1
    assert page_box.reading_minutes(words + "\n\n" + code) == 3 + round(40 * page_box.SECONDS_A_CODE_LINE / 60)


def test_measured_time_in_words():
    assert page_box.seconds_in_words(0.4) == "less than a second"
    assert page_box.seconds_in_words(3.14) == "3.1 s"
    assert page_box.seconds_in_words(41.2) == "42 s"


def test_buttons_lead_to_the_notebook_and_the_report():
    links = page_box.links("chapters/information-theory/entropy", "Surprise & entropy")
    name = pages.owner_and_name()
    assert links["colab"] == (
        f"https://colab.research.google.com/github/{name}/blob/notebooks/chapters/information-theory/entropy.ipynb"
    )
    assert links["notebook"] == "../../notebooks/chapters/information-theory/entropy.ipynb"
    assert "Surprise+%26+entropy" in links["report"]


def test_every_page_with_a_method_says_its_goals():
    for name, front in pages.pages(ROOT).items():
        assert front.get("description"), f"{name} has no description"
        if front.get("methods"):
            assert front.get("goals"), f"{name} builds a method and has no goals"


# Front page and identity


def test_slopes_of_the_moving_figure_are_derivatives():
    x = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    u = torch.sin(1.5 * x) + 0.5 * x
    y = torch.tanh(1.2 * u)
    (slope,) = torch.autograd.grad(y.sum(), x)
    for point, value, expected in zip(x.tolist(), u.tolist(), slope.tolist(), strict=True):
        assert landing.g(point) == pytest.approx(value)
        assert landing.g_slope(point) * landing.f_slope(value) == pytest.approx(expected)
        assert landing.X_RANGE[0] <= point <= landing.X_RANGE[1]
        assert landing.U_RANGE[0] <= value <= landing.U_RANGE[1]
        assert landing.Y_RANGE[0] <= landing.f(value) <= landing.Y_RANGE[1]


def test_script_of_the_moving_figure_has_the_same_functions():
    script = (ROOT / "_ext" / "static" / "landing.js").read_text(encoding="utf-8")
    for line in ("Math.sin(1.5 * x) + 0.5 * x;", "1.5 * Math.cos(1.5 * x) + 0.5;", "Math.tanh(1.2 * u);",
                 "1.2 / Math.cosh(1.2 * u) ** 2;"):  # fmt: skip
        assert line in script
    assert f"[{landing.WIDTH}, {landing.TOP}, {landing.MIDDLE}, {landing.BOTTOM}, {landing.MARGIN}]" in script


def test_icons_are_refused_when_the_theme_has_other_ones():
    with pytest.raises(RuntimeError, match="has no icon angle-left"):
        identity.icons("{}")


# Offline


PAGE = """<!DOCTYPE html>
<html><head>
<script>const THEBE_JS_URL = "https://unpkg.com/thebe"</script>
<script async="async" src="../_static/sphinx-thebe.js?v=1"></script>
<script>var once = 1;</script>
<script>var once = 1;</script>
<script src="../searchindex.js"></script>
<link rel="canonical" href="https://example.org/page.html" />
</head><body><button class="btn" title="Fullscreen mode"><i class="fa-solid fa-bars"></i></button></body></html>"""


def test_pages_lose_foreign_and_needless_scripts():
    html = offline.finish(PAGE, "page")
    assert "thebe" not in html.lower()
    assert html.count("var once") == 1
    assert "searchindex" not in html
    assert "searchindex" in offline.finish(PAGE, "search")
    assert 'aria-label="Fullscreen mode"' in html
    assert '<i class="fa-solid fa-bars" aria-hidden="true">' in html


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<img alt="" src="//cdn.example/x.png">',
        '<link rel="stylesheet" href="http://cdn.example/x.css">',
    ],
)
def test_a_page_that_asks_another_server_is_refused(tag):
    with pytest.raises(RuntimeError, match="another server"):
        offline.finish(PAGE.replace("</head>", tag + "</head>"), "page")


def test_a_package_with_another_checksum_is_refused(tmp_path, monkeypatch):
    def download(folder):
        for name in offline.PACKAGES:
            (folder / (name.replace("/", "-") + ".tgz")).write_bytes(b"not the package")
        return {name: folder / (name.replace("/", "-") + ".tgz") for name in offline.PACKAGES}

    monkeypatch.setattr(offline, "_download", download)
    with pytest.raises(offline.OfflineError, match="has the checksum sha512-"):
        offline.fetch_vendor(tmp_path)
    assert not (tmp_path / "_build" / "vendor").exists()


def test_without_a_network_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")  # nobody listens there
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with pytest.raises(offline.OfflineError, match="connect to the network once and run the command again"):
        offline.fetch_vendor(tmp_path)


def test_fetched_packages_are_not_fetched_again(tmp_path, monkeypatch):
    vendor = tmp_path / "_build" / "vendor"
    shutil.copytree(offline.fetch_vendor(ROOT), vendor)
    monkeypatch.setattr(offline, "_download", lambda folder: pytest.fail("fetched again"))
    assert offline.fetch_vendor(tmp_path) == vendor
    assert (vendor / "axe" / "axe.min.js").exists()
    assert (vendor / "static" / "vendor" / "mathjax" / "tex-chtml.js").exists()


def test_pages_can_be_read_at_the_root():
    from site_files import rebase

    html = (
        '<a href="../_static/x.css"></a><a href="a/b.html"></a><a href="#"></a><a href="../index.html"></a>'
        '<a href="https://x.org"></a>'
    )
    assert rebase(html, "chapters/index") == (
        '<a href="_static/x.css"></a><a href="chapters/a/b.html"></a><a href="#"></a><a href="index.html"></a>'
        '<a href="https://x.org"></a>'
    )


def test_a_generated_page_knows_what_it_was_made_from(book):
    before = {part: registers.made_from(book, *part) for part in (("taught", "chainrule.information"),
              ("taught", "chainrule.coding"), ("methods", ""), ("notes", ""), ("reference", ""))}  # fmt: skip
    assert all(before.values())
    page = book / "chapters" / "information-theory" / "entropy.md"
    edit(page, "# Surprise", "# Another surprise")
    assert all(registers.made_from(book, *part) == made for part, made in before.items())
    edit(
        page,
        "  shannon-entropy: chainrule.information.entropy\n",
        "  shannon-entropy: chainrule.information.surprisal\n",
    )
    changed = {part for part, made in before.items() if registers.made_from(book, *part) != made}
    assert changed == {("taught", "chainrule.information"), ("methods", "")}


def test_table_of_contents_lists_every_page():
    listed = set(pages.toc_documents(ROOT))
    there = {path.relative_to(ROOT).with_suffix("").as_posix() for folder in ("chapters", "exercises", "solutions")
             for path in (ROOT / folder).rglob("*.md")}  # fmt: skip
    assert listed == there
    assert yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["root"] == "chapters/index"


def test_code_in_a_docstring_is_told_from_roles_and_links():
    line = r"`a`, :math:`\text{b}` and :math:`c`, ``d``, `e <f>`__ and `g`."
    assert api_reference.docstring_lines(line)[0] == (
        r"``a``, :math:`\text{b}` and :math:`c`, ``d``, `e <f>`__ and ``g``."
    )
