"""The pages of exercises and solutions: they agree with the records, start unwritten, and end solved."""

import ast
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

from chainrule import information
from chainrule.checks import exercises, find_exercise
from chainrule.checks._record import copy_plain
from tests.lib.modules import code_cells

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = list(dict.fromkeys(exercise.chapter for exercise in exercises()))
ALL = pytest.mark.parametrize("exercise", exercises(), ids=[exercise.name for exercise in exercises()])


def text_of(folder, chapter):
    return (ROOT / folder / f"{chapter}.md").read_text(encoding="utf-8")


def front_matter(text):
    return yaml.safe_load(text.split("---\n")[1])


def boxes(text, kind):
    """Title, label and content of each gated box of a page, in order."""
    pattern = (
        rf"^```\{{{kind}-start\}} ([^\n]+)\n:label: ([^\n]+)\n(?::class: [^\n]+\n)?```\n(.*?)^```\{{{kind}-end\}}\n```$"
    )
    return re.findall(pattern, text, flags=re.MULTILINE | re.DOTALL)


def slug(exercise):
    return exercise.name.replace("_", "-")


def run(text, name):
    """Run the cells of a page one after the other; the last expressions of those that have one, and the namespace."""
    space, shown = {"__name__": name}, []
    for cell in code_cells(text):
        *body, last = ast.parse(cell).body
        if not isinstance(last, ast.Expr):
            body.append(last)
        exec(compile(ast.Module(body, []), name, "exec"), space)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), name, "eval"), space))
    return shown, space


@pytest.fixture(scope="module")
def solved():
    """The namespace that each chapter's solutions leave."""
    return {chapter: run(text_of("solutions", chapter), f"solutions of {chapter}")[1] for chapter in CHAPTERS}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_exercise_pages_ask_for_the_recorded_exercises_in_their_order(chapter):
    found = boxes(text_of("exercises", chapter), "exercise")
    records = exercises(chapter)
    assert [(title, label) for title, label, _ in found] == [(e.title, f"exercise-{slug(e)}") for e in records]
    for exercise, (_, _, content) in zip(records, found, strict=True):
        kind = re.match(r"\*(Predict|Derive|Implement|Break it|Measure), (\d+) points?\.\*", content)
        assert kind and int(kind[2]) == exercise.points
        assert content.count("```{dropdown} Hint") == 1
        assert f"<solution-{slug(exercise)}>" in content
        stub, line = code_cells(content)
        assert line.strip() == f"check({exercise.name})"
        (function,) = ast.parse(stub).body
        assert function.name == exercise.name and tuple(a.arg for a in function.args.args) == exercise.parameters
        documentation, body = function.body
        assert isinstance(body, ast.Raise) and ast.unparse(body.exc) == "NotImplementedError"
        words = ast.get_docstring(function)
        assert words.startswith("Return ") and documentation.value.value
        assert all(re.search(rf"^{parameter}: ", words, flags=re.MULTILINE) for parameter in exercise.parameters)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_solution_pages_solve_the_recorded_exercises_in_their_order(chapter):
    found = boxes(text_of("solutions", chapter), "solution")
    records = exercises(chapter)
    assert [(target, label) for target, label, _ in found] == [
        (f"exercise-{slug(e)}", f"solution-{slug(e)}") for e in records
    ]
    for exercise, (_, _, content) in zip(records, found, strict=True):
        assert f"assert check({exercise.name})" in content
        assert re.search(r"\*\*The traps?\*\*", content), f"{exercise.name}: the solution names no trap"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_exercise_pages_need_the_pages_that_teach_them(chapter):
    needs = front_matter(text_of("exercises", chapter))["needs"]
    assert {exercise.page for exercise in exercises(chapter)} <= set(needs)
    assert not [name for name in needs if not (ROOT / "chapters" / f"{name}.md").exists()]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_starters_fail_politely(chapter, capsys):
    shown, _ = run(text_of("exercises", chapter), f"exercises of {chapter}")
    assert [result.name for result in shown] == [exercise.name for exercise in exercises(chapter)]
    assert {result.state for result in shown} == {"unwritten"}
    assert not any(capsys.readouterr())


@ALL
def test_solutions_pass_whatever_is_drawn(exercise, solved):
    solution = solved[exercise.chapter][exercise.name]
    for seed in range(40):
        for inputs in exercise.cases(seed):
            verdict = exercise.judge(inputs, solution(*copy_plain(inputs)))
            assert verdict.passed, (inputs, verdict)


def forbidden_calls(exercise, function, monkeypatch):
    """Which of the exercise's forbidden functions are called on the way to an answer; the answers must be right."""
    called = []

    def spy_on(original, name):
        def spy(*args, **kwargs):
            called.append(name)
            return original(*args, **kwargs)

        return spy

    cases = exercise.cases(0)
    with monkeypatch.context() as patch:
        for name in exercise.blocked:
            value = pkgutil.resolve_name(name)
            if isinstance(value, ModuleType):
                for key, item in vars(value).copy().items():
                    if inspect.isfunction(item) and not key.startswith("_") and item.__module__.startswith(name):
                        patch.setattr(value, key, spy_on(item, f"{name}.{key}"))
            else:
                patch.setattr(name, spy_on(value, name))
        outputs = [function(*copy_plain(inputs)) for inputs in cases]
    assert all(exercise.judge(inputs, output).passed for inputs, output in zip(cases, outputs, strict=True))
    return set(called)


@ALL
def test_solutions_do_not_use_what_is_forbidden(exercise, solved, monkeypatch):
    solution = solved[exercise.chapter][exercise.name]
    assert not forbidden_calls(exercise, solution, monkeypatch)
    imported = [solved[exercise.chapter].get(name) for name in solution.__code__.co_names]
    assert not [item for item in imported if getattr(item, "__module__", None) in exercise.blocked]


def test_the_use_of_a_forbidden_function_is_seen(monkeypatch):
    seen = forbidden_calls(find_exercise("log_sum_exp"), lambda scores: torch.logsumexp(scores, 1), monkeypatch)
    assert seen == {"torch.logsumexp"}
    seen = forbidden_calls(find_exercise("entropy"), lambda p: information.entropy(p, base=2), monkeypatch)
    assert "chainrule.information.entropy" in seen


def test_pages_do_not_hold_what_only_the_maker_needs():
    for chapter in CHAPTERS:
        assert "raise NotImplementedError" not in text_of("solutions", chapter)
        starter = "\n".join(code_cells(text_of("exercises", chapter)))
        solution = "\n".join(code_cells(text_of("solutions", chapter)))
        lines = {
            line
            for line in map(str.strip, solution.splitlines())
            if len(line) > 25 and not line.startswith(("def ", "import ", "from "))
        }
        assert not [line for line in starter.splitlines() if line.strip() in lines]
