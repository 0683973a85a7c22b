"""The students' package: complete, current, and without anything that gives an answer away."""

import ast
import json
import re

import pytest

from chainrule.checks import _record, exercises, information_theory
from chainrule.grading import release as module
from chainrule.grading.release import make_starter, release, starter
from chainrule.grading.settings import Settings
from tests.lib.modules import code_cells

from .course import CHAPTER, NAMES, ROOT, chainrule

FRAGMENT = 40


def squeezed(text):
    """Text without blanks, so that no layout hides a copy."""
    return re.sub(r"\s+", "", text)


def fragments(text):
    text = squeezed(text)
    return {text[i : i + FRAGMENT] for i in range(len(text) - FRAGMENT + 1)}


def everything(folder):
    return "\n".join(f"{path.name}\n{path.read_text(encoding='utf-8')}" for path in folder.rglob("*") if path.is_file())


def sources(folder):
    cells = json.loads((folder / f"{CHAPTER}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "\n".join(cell["source"] for cell in cells) + (folder / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release") / "sheet"
    release(CHAPTER, folder)
    return folder


def test_it_holds_two_files_and_every_exercise_unwritten(package):
    assert sorted(path.name for path in package.iterdir()) == ["README.md", f"{CHAPTER}.ipynb"]
    notebook = json.loads((package / f"{CHAPTER}.ipynb").read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    functions = {}
    for cell in code:
        source = re.sub(r"^(\s*)%", r"\1pass  # ", cell["source"], flags=re.MULTILINE)
        functions |= {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    assert [name for name in functions if name in NAMES] == NAMES
    for name in NAMES:
        last = functions[name].body[-1]
        assert isinstance(last, ast.Raise), name


def test_no_code_of_a_solution_is_in_it(package):
    page = (ROOT / "exercises" / f"{CHAPTER}.md").read_text(encoding="utf-8")
    solved = fragments("\n".join(code_cells((ROOT / "solutions" / f"{CHAPTER}.md").read_text(encoding="utf-8"))))
    secret = solved - fragments(page)
    assert len(secret) > 1000
    assert not secret & fragments(sources(package))
    # The test can fail: one line of a solution would be found.
    assert secret & fragments(
        sources(package) + max(code_cells((ROOT / "solutions" / f"{CHAPTER}.md").read_text()), key=len)
    )


def test_no_record_reference_or_expected_value_is_in_it(package):
    starter_page = fragments((ROOT / "exercises" / f"{CHAPTER}.md").read_text(encoding="utf-8"))
    given = fragments(sources(package))
    for part in (information_theory, _record):
        text = (ROOT / "lib" / "chainrule" / "checks" / part.__file__.rpartition("/")[2]).read_text()
        assert not (fragments(text) - starter_page) & given
    whole = everything(package)
    for one in exercises(CHAPTER):
        assert not [mistake.hint for mistake in one.mistakes if squeezed(mistake.hint) in squeezed(whole)]
        for inputs in one.cases(5):
            shown = _record.show(one.expected(inputs), digits=12)
            assert len(shown) < 12 or shown not in whole
    assert "solutions/" not in whole and "secret" not in whole


def test_nothing_that_lies_beside_comes_along(package, tmp_path, monkeypatch):
    beside = tmp_path / "starters"
    beside.mkdir()
    (beside / f"{CHAPTER}.ipynb").write_text((module.STARTERS / f"{CHAPTER}.ipynb").read_text())
    for name in (f"{CHAPTER}.md", "solution.ipynb", "secret", "data.csv"):
        (beside / name).write_text("x = 'the answer'")
    monkeypatch.setattr(module, "STARTERS", beside)
    monkeypatch.chdir(beside)
    release(CHAPTER, tmp_path / "out")
    assert everything(tmp_path / "out") == everything(package)


def test_it_is_whole_or_not_there(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="does not exist yet"):
        release(CHAPTER, tmp_path / "there")
    monkeypatch.setattr(module, "README", "{nothing_of_the_kind}")
    with pytest.raises(KeyError):
        release(CHAPTER, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    for chapter in ("none", "../checks", ""):
        with pytest.raises(ValueError, match="expected a chapter with exercises"):
            starter(chapter)


def test_the_courses_rules_stand_in_it(tmp_path):
    rules = Settings(
        deadline=1_769_860_800.0,
        penalty_per_day=0.1,
        largest_penalty=0.5,
        points={"entropy": 5.0},
        by_hand={"why": 4.0},
    )
    release(CHAPTER, tmp_path / "sheet", rules)
    readme = (tmp_path / "sheet" / "README.md").read_text()
    for words in (
        "2026-01-31 12:00 UTC",
        "costs 10 percent",
        "at most 50",
        "| Entropy, zeros included | 5 |",
        "| In words: why | 4 |",
        "| all | 38 |",
    ):
        assert words in readme, words
    cells = json.loads((tmp_path / "sheet" / f"{CHAPTER}.ipynb").read_text())["cells"]
    assert [cell["metadata"] for cell in cells if cell["cell_type"] == "markdown" and cell["metadata"]] == [
        {"tags": ["why"]}
    ]


def test_the_starter_that_comes_with_the_library_is_that_of_the_page():
    built = ROOT / "_build" / "notebooks" / "exercises" / f"{CHAPTER}.ipynb"
    assert built.is_file(), "run `make notebooks` first; `make test` does"
    wanted = make_starter(json.loads(built.read_text(encoding="utf-8")))
    assert (module.STARTERS / f"{CHAPTER}.ipynb").read_text(encoding="utf-8") == wanted, (
        "run `make starters` and commit what it wrote"
    )


def test_from_the_command_line(tmp_path):
    done = chainrule("release", CHAPTER, tmp_path / "sheet")
    assert done.returncode == 0
    assert done.stdout.split() == [str(tmp_path / "sheet" / f"{CHAPTER}.ipynb"), str(tmp_path / "sheet" / "README.md")]
    again = chainrule("release", CHAPTER, tmp_path / "sheet")
    assert again.returncode == 2 and again.stderr.startswith("chainrule: expected a folder that does not exist yet")
