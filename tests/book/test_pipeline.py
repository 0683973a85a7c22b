"""From the pages to executed notebooks, to the site, to a server: each promise, and each way to fail."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import nbformat
import pytest

from tools import book, build
from tools.execute import PageError, execute_pages, write_notebook
from tools.lab import run_lab
from tools.pages import ROOT, find_pages, inline_expressions, library_hash, toc_docnames
from tools.serve import HOST, make_server

HEADER = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
"""


def cell(source: str, options: str = "") -> str:
    """A code cell as it stands in a page."""
    return f"```{{code-cell}} ipython3\n{options}{source}\n```\n"


def write_page(root: Path, name: str, *parts: str) -> None:
    """Write a page from its parts: code cells and text."""
    path = root / "chapters" / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER + f"# {name}\n\n" + "\n".join(parts), encoding="utf-8")


def write_toc(root: Path, *names: str) -> None:
    """Write a table of contents."""
    entries = "".join(f"  - file: chapters/{name}\n" for name in names)
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: chapters/index\nchapters:\n{entries}", encoding="utf-8")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A book of two pages with code, and a library of four modules of which each page uses other ones."""
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "index.md").write_text("# A small book\n\nWithout code.\n", encoding="utf-8")
    write_toc(tmp_path, "one", "two")
    write_page(
        tmp_path,
        "one",
        cell("from chainrule.top import double\nx = double(1.25)"),
        'We see {py}`f"{x:.1f}"` and {py}`x`.\n',
        cell("x = x + 1\nx"),
        "- Now it is {py}`x`.\n",
    )
    write_page(tmp_path, "two", cell("from chainrule.quiz import quiz\nprint(quiz())"), cell("1 + 1"))
    package = tmp_path / "lib" / "chainrule"
    (package / "quizzes").mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "1.0"\n')
    (package / "top.py").write_text("from .base import factor\n\n\ndef double(x):\n    return factor() * x\n")
    (package / "base.py").write_text("def factor():\n    return 2\n")
    (package / "quiz.py").write_text("def quiz():\n    return 'quiz'\n")
    (package / "unused.py").write_text("")
    (package / "quizzes" / "one.yml").write_text("- name: a\n")
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    return tmp_path


def executed(root: Path, name: str) -> nbformat.NotebookNode:
    """Read an executed notebook."""
    return nbformat.read(root / "_build" / "executed" / "chapters" / f"{name}.ipynb", as_version=4)


def run(root: Path) -> list[str]:
    """Execute what is due and return the names of the pages that were executed."""
    return [name.removeprefix("chapters/") for name in execute_pages(root, quiet=True)]


# Execution


def test_the_executed_notebook_is_the_page_with_outputs_counts_and_values(tree: Path) -> None:
    assert run(tree) == ["one", "two"]
    notebook = executed(tree, "one")
    code = [entry for entry in notebook.cells if entry.cell_type == "code"]
    # Nothing was inserted to get at the values: the cells are the page's own, counted as a reader would see them.
    assert [entry.source for entry in code] == ["from chainrule.top import double\nx = double(1.25)", "x = x + 1\nx"]
    assert [entry.execution_count for entry in code] == [1, 2]
    assert code[1].outputs[0].data["text/plain"] == "3.5"
    assert code[1].outputs[0].execution_count == 2
    # Each expression has the value it had where it stands: x changes in the second cell.
    assert notebook.metadata.chainrule["values"] == [
        {"expr": 'f"{x:.1f}"', "value": "2.5"},
        {"expr": "x", "value": "2.5"},
        {"expr": "x", "value": "3.5"},
    ]
    assert 0 < notebook.metadata.chainrule["seconds"] < 60
    assert 10 < notebook.metadata.chainrule["peak_mb"] < 2000
    nbformat.validate(notebook)


def test_a_page_runs_in_this_interpreter_in_an_empty_folder_with_one_thread(
    tree: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A kernel of the same name that the user has installed must not be taken.
    data = tmp_path_factory.mktemp("jupyter")
    decoy = data / "kernels" / "python3"
    decoy.mkdir(parents=True)
    decoy.joinpath("kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(data))
    write_page(
        tree,
        "two",
        cell("import os, sys\n(sys.executable, os.listdir(), os.environ['OMP_NUM_THREADS'], hash('a'))"),
    )
    run(tree)
    first = executed(tree, "two").cells[1].outputs[0].data["text/plain"]
    assert first.replace("\n", "").startswith(f"({sys.executable!r}, [], '1',")
    execute_pages(tree, quiet=True, force=True)
    # PYTHONHASHSEED is fixed, so that the order of a set is too.
    assert executed(tree, "two").cells[1].outputs[0].data["text/plain"] == first


def test_widgets_keep_their_state(tree: Path) -> None:
    write_page(tree, "two", cell("from ipywidgets import IntSlider\nIntSlider(3)"))
    run(tree)
    state = executed(tree, "two").metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    assert "IntSliderModel" in {model["model_name"] for model in state.values()}


def test_a_failing_cell_is_named_with_its_source_and_traceback_and_other_pages_are_executed(tree: Path) -> None:
    write_page(tree, "one", cell("x = 0"), "Text.\n", cell("y = 5\ny / x"), cell("print('never reached')"))
    with pytest.raises(PageError) as caught:
        run(tree)
    message = str(caught.value)
    assert "chapters/one.md: code cell 2 raised an exception" in message
    assert "    y = 5\n    y / x\n" in message
    assert "ZeroDivisionError: division by zero" in message
    assert "\x1b" not in message
    assert "never reached" not in message
    assert executed(tree, "two").cells
    assert not (tree / "_build" / "executed" / "chapters" / "one.ipynb").exists()
    # It is tried again, and fails again, until it is mended.
    with pytest.raises(PageError, match="code cell 2"):
        run(tree)
    write_page(tree, "one", cell("x = 0"))
    assert run(tree) == ["one"]


def test_output_on_stderr_fails(tree: Path) -> None:
    write_page(tree, "two", cell("import warnings\nwarnings.warn('this is deprecated')"))
    with pytest.raises(PageError, match=r"two\.md: code cell 1 wrote to stderr\.(.|\n)*this is deprecated"):
        run(tree)


def test_a_failing_expression_in_the_text_fails(tree: Path) -> None:
    write_page(tree, "two", cell("x = 1"), "It is {py}`x` and {py}`z + 1`.\n")
    with pytest.raises(PageError, match=r"two\.md: the text after code cell 1 .*\{py\}`z \+ 1`(.|\n)*NameError"):
        run(tree)


def test_all_failures_are_reported_at_once(tree: Path) -> None:
    write_page(tree, "one", cell("1 / 0"))
    write_page(tree, "two", cell("undefined"))
    with pytest.raises(PageError, match=r"one\.md(.|\n)*ZeroDivisionError(.|\n)*two\.md(.|\n)*NameError"):
        run(tree)


def test_a_dead_kernel_fails(tree: Path) -> None:
    write_page(tree, "two", cell("import os\nos._exit(1)"))
    with pytest.raises(PageError, match=r"two\.md: code cell 1 ended its kernel"):
        run(tree)


# What is executed again


def test_only_what_a_page_depends_on_makes_it_run_again(tree: Path) -> None:
    package = tree / "lib" / "chainrule"
    assert run(tree) == ["one", "two"]
    assert run(tree) == []

    write_page(tree, "two", "New text.\n", cell("from chainrule.quiz import quiz\nprint(quiz())"), cell("1 + 1"))
    assert run(tree) == []
    write_page(tree, "two", cell("from chainrule.quiz import quiz\nprint(quiz())"), cell("1 + 2"))
    assert run(tree) == ["two"]
    assert executed(tree, "two").cells[-1].outputs[0].data["text/plain"] == "3"

    # `one` imports top, and top imports base.
    (package / "base.py").write_text("def factor():\n    return 3\n")
    assert run(tree) == ["one"]
    assert executed(tree, "one").metadata.chainrule["values"][0]["value"] == "3.8"
    (package / "quizzes" / "one.yml").write_text("- name: b\n")
    assert run(tree) == ["two"]
    (package / "unused.py").write_text("changed = True\n")
    assert run(tree) == []
    (tree / "constraints.txt").write_text("torch==2.14.0\n")
    assert run(tree) == ["one", "two"]


def test_a_page_that_names_its_questions_does_not_depend_on_those_of_other_chapters(tree: Path) -> None:
    package = tree / "lib" / "chainrule"
    code = 'from chainrule.quiz import quiz\nquiz(\n    "one", "a")'
    (package / "quiz.py").write_text("def quiz(*_): pass\n")
    before, all_of_them = library_hash(tree, code), library_hash(tree, "from chainrule.quiz import quiz")
    (package / "quizzes" / "two.yml").write_text("- name: c\n")
    assert library_hash(tree, code) == before and library_hash(tree, "from chainrule.quiz import quiz") != all_of_them
    (package / "quizzes" / "one.yml").write_text("- name: changed\n")
    assert library_hash(tree, code) != before


def test_a_new_expression_and_a_new_tag_make_a_page_run_again(tree: Path) -> None:
    write_page(tree, "two", cell("x = 1"), "It is {py}`x`.\n")
    run(tree)
    write_page(tree, "two", cell("x = 1"), "It is {py}`x + 1`.\n")
    assert run(tree) == ["two"]
    write_page(tree, "two", cell("x = 1", "---\ntags: [skip-execution]\n---\n"), "It is {py}`1 + 1`.\n")
    assert run(tree) == ["two"]


@pytest.mark.parametrize(
    ("code", "used"),
    [
        ("from chainrule.information import entropy", "information.py"),
        ("import chainrule.information as info", "information.py"),
        ("from chainrule import information", "information.py"),
        ("def late():\n    from chainrule.coding import encode", "coding.py"),
        ("from chainrule.checks import check", "checks/__init__.py"),
    ],
)
def test_every_form_of_import_counts(code: str, used: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    before, unrelated = library_hash(tmp_path, code), library_hash(tmp_path, "import math")
    path = tmp_path / "lib" / "chainrule" / used
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert library_hash(tmp_path, code) != before
    assert library_hash(tmp_path, "import math") == unrelated


def test_results_of_pages_that_left_the_book_are_removed(tree: Path) -> None:
    run(tree)
    write_toc(tree, "two")
    assert run(tree) == []
    assert sorted(path.name for path in (tree / "_build" / "executed").rglob("*.ipynb")) == ["two.ipynb"]


def test_exercises_and_solutions_count_as_pages(tree: Path) -> None:
    (tree / "solutions").mkdir()
    (tree / "solutions" / "three.md").write_text(HEADER + "# Three\n\n" + cell("3"), encoding="utf-8")
    assert [page.docname for page in find_pages(tree)] == ["chapters/one", "chapters/two", "solutions/three"]


def test_the_table_of_contents_is_read_with_parts_sections_and_globs(tree: Path) -> None:
    (tree / "_toc.yml").write_text(
        "format: jb-book\nroot: chapters/index\nparts:\n- caption: A\n  chapters:\n  - file: chapters/one\n"
        "    sections:\n    - file: chapters/two.md\n- caption: B\n  chapters:\n  - glob: chapters/o*\n",
        encoding="utf-8",
    )
    assert toc_docnames(tree) == ["chapters/index", "chapters/one", "chapters/two"]


def test_a_notebook_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "page.ipynb"
    write_notebook(path, nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", id="a")]))
    before = path.read_bytes()
    broken = nbformat.v4.new_notebook(metadata={"unwritable": object()})
    with pytest.raises(TypeError):
        write_notebook(path, broken)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Plain {py}`x` and {py}`f(y)`.", ["x", "f(y)"]),
        ("Shown only: ``{py}`x` ``, and `{eq}` then {py}`y`.", ["y"]),
        ("```\n{py}`x`\n```\n\n{py}`y`", ["y"]),
        ("```{note}\n{py}`x`\n```", ["x"]),
        ("````{dropdown} Title\n```{code-block} md\n{py}`x`\n```\n{py}`y`\n````\n{py}`z`", ["y", "z"]),
        ("~~~\n{py}`x`\n~~~\n", []),
        ("Beside other roles {eq}`a` {py}`x` {term}`b`.", ["x"]),
        (":::{note}\n{py}`x`\n:::", ["x"]),
        ("Over two lines {py}`x +\n1`.", ["x +\n1"]),
    ],
)
def test_expressions_are_found_where_they_are_roles(text: str, expected: list[str]) -> None:
    assert inline_expressions(text) == expected


# The site


@pytest.fixture
def book_tree(tree: Path) -> Path:
    """The same small book with what it needs to be built into a site."""
    (tree / "_config.yml").write_text(
        "title: A small book\nonly_build_toc_files: true\n"
        "execute:\n  execute_notebooks: cache\n  cache: _build/.jupyter_cache\n"
        "sphinx:\n  local_extensions: {executed: _ext}\n",
        encoding="utf-8",
    )
    (tree / "_ext").mkdir()
    shutil.copy2(ROOT / "_ext" / "executed.py", tree / "_ext")
    shutil.copytree(ROOT / "tools", tree / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", tree)
    (tree / "README.md").write_text("A small book.\n", encoding="utf-8")
    (tree / "LICENSE").write_text("Free.\n", encoding="utf-8")
    return tree


def site_page(root: Path, name: str) -> str:
    """Read a page of the built site."""
    return (root / "_build" / "html" / "chapters" / f"{name}.html").read_text(encoding="utf-8")


def test_the_site_shows_outputs_and_values_and_follows_every_change(book_tree: Path) -> None:
    run(book_tree)
    build.build_site(book_tree, quiet=True)
    assert build.is_current(book_tree)
    assert "We see 2.5 and 2.5." in site_page(book_tree, "one")
    assert "Now it is 3.5." in site_page(book_tree, "one")
    assert "<span></span>quiz" in site_page(book_tree, "two")
    assert [path.name for path in (book_tree / "_build" / "html" / "wheels").iterdir()] == [
        "chainrule-1.0-py3-none-any.whl"
    ]

    # The library changes and no page does: the outputs in the site follow.
    (book_tree / "lib" / "chainrule" / "base.py").write_text("def factor():\n    return 4\n")
    assert not build.is_current(book_tree)
    assert run(book_tree) == ["one"]
    build.build_site(book_tree, quiet=True)
    assert "We see 5.0 and 5.0." in site_page(book_tree, "one")
    assert "<span></span>6.0" in site_page(book_tree, "one")
    assert build.is_current(book_tree)

    # A result that someone removed is noticed too.
    (book_tree / "_build" / "executed" / "chapters" / "one.ipynb").unlink()
    assert not build.is_current(book_tree)


def test_a_warning_fails_the_build_each_time(book_tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_page(book_tree, "two", "See {ref}`no-such-label`.\n", cell("1"))
    run(book_tree)
    for _ in range(2):
        # The second time Sphinx would not read the page again, and would find nothing to complain about.
        with pytest.raises(build.BuildError, match="not built"):
            build.build_site(book_tree, quiet=True)
        assert "no-such-label" in capfd.readouterr().err
        assert not build.is_current(book_tree)


def test_a_page_without_a_fresh_result_fails_the_build(book_tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(book_tree)
    write_page(book_tree, "two", cell("2 + 2"))
    with pytest.raises(build.BuildError):
        build.build_site(book_tree, quiet=True)
    assert "no fresh result for chapters/two" in capfd.readouterr().err


def test_the_wheel_is_the_library_as_it_is_and_always_the_same(book_tree: Path) -> None:
    wheel = build.build_wheel(book_tree)
    first = wheel.read_bytes()
    names = zipfile.ZipFile(wheel).namelist()
    assert {"chainrule/top.py", "chainrule/unused.py", "chainrule/quizzes/one.yml"} <= set(names)
    shutil.rmtree(book_tree / "_build")
    assert build.build_wheel(book_tree).read_bytes() == first
    (book_tree / "lib" / "chainrule" / "unused.py").unlink()
    assert "chainrule/unused.py" not in zipfile.ZipFile(build.build_wheel(book_tree)).namelist()
    # Nothing is left among the sources.
    assert not (book_tree / "build").exists()
    assert not list((book_tree / "lib").glob("*.egg-info"))


# The commands


def test_a_failure_ends_with_a_sentence_and_a_bad_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        """Fail."""
        raise build.BuildError("Do this.")

    monkeypatch.setitem(book.COMMANDS, "build", fail)
    assert book.main(["build"]) == 1
    assert capsys.readouterr().err == "Do this.\n"


def test_gpu_says_plainly_that_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert book.main(["gpu"]) == 1
    assert capsys.readouterr().err.startswith("No GPU that torch can use was found")


def test_lab_opens_pages_as_notebooks_without_touching_the_readers_settings(
    tree: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path_factory.mktemp("environment")
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(sys, "executable", "true")
    run_lab(tree)
    written = [path for path in prefix.rglob("*") if path.is_file()]
    assert [path.name for path in written] == ["default_setting_overrides.json"]
    viewers = json.loads(written[0].read_text())["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]
    assert viewers == {"markdown": "Jupytext Notebook", "myst": "Jupytext Notebook"}


# The server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    """A running server of a small site."""
    (tmp_path / "index.html").write_text("front page", encoding="utf-8")
    (tmp_path / "404.html").write_text("no such page in this book", encoding="utf-8")
    with make_server(tmp_path, first_port=8600) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(server: ThreadingHTTPServer, path: str, method: str = "GET") -> tuple[int, str]:
    """Return the status and the body of an answer."""
    connection = http.client.HTTPConnection(HOST, server.server_address[1], timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    result = answer.status, answer.read().decode()
    connection.close()
    return result


def test_the_server_serves_the_site_and_its_own_page_for_what_is_missing(server: ThreadingHTTPServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert ask(server, "/") == (200, "front page")
    assert ask(server, "/nowhere.html") == (404, "no such page in this book")
    assert ask(server, "/nowhere.html", "HEAD") == (404, "")


def test_a_taken_port_gives_way_to_the_next_free_one(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with make_server(tmp_path, first_port=port) as other:
            assert port < other.server_address[1] < port + 100


def test_no_free_port_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.serve.PORTS_TRIED", 1)
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with pytest.raises(OSError, match=r"are all taken: choose another with `make serve PORT=\.\.\.`\."):
            make_server(tmp_path, first_port=taken.getsockname()[1])


def test_serving_tells_the_address_and_ends_cleanly_on_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("front page", encoding="utf-8")
    call = f"from pathlib import Path; from tools.serve import serve; serve(Path({str(tmp_path)!r}))"
    environment = {**os.environ, "PORT": "8650"}
    with subprocess.Popen(
        [sys.executable, "-c", call],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        first = process.stdout.readline()
        if "is taken" in first:
            first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert re.fullmatch(r"The book is at http://127\.0\.0\.1:86\d\d/ \(Ctrl-C stops the server\)\.\n", first)
    assert (rest, errors, process.returncode) == ("\nStopped.\n", "", 0)


def test_ctrl_c_while_pages_run_leaves_no_kernel_behind(tree: Path) -> None:
    mark = tree / "kernel.txt"
    source = f"import os, time\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(100)"
    write_page(tree, "one", cell(source))
    call = f"from pathlib import Path; from tools.execute import execute_pages; execute_pages(Path({str(tree)!r}))"
    with subprocess.Popen([sys.executable, "-c", call], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        kernel = int(mark.read_text())
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    assert process.returncode != 0
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)
    assert not (tree / "_build" / "executed" / "chapters" / "one.ipynb").exists()


# The real book


def test_every_page_of_the_book_with_code_has_a_fresh_result() -> None:
    pages = find_pages(ROOT)
    assert pages
    stale = [page.docname for page in pages if not page.is_fresh]
    assert not stale, f"run `make site`: {stale}"
    for page in pages:
        counts = [entry.execution_count for entry in page.read_executed().cells if entry.cell_type == "code"]
        assert counts == list(range(1, len(counts) + 1)), page.docname


def test_the_published_wheel_is_the_present_library() -> None:
    wheels = list((ROOT / "_build" / "html" / "wheels").glob("*.whl"))
    assert len(wheels) == 1
    packed = zipfile.ZipFile(wheels[0])
    for path in (ROOT / "lib" / "chainrule").rglob("*.py"):
        assert packed.read(str(path.relative_to(ROOT / "lib"))) == path.read_bytes()
    assert os.path.basename(wheels[0]).startswith("chainrule-")
