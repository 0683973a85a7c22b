"""What holds for every module of the library: examples that run, complete docstrings, a test file of its own."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path

import pytest

import chainrule

from .modules import LIBRARY, topic_modules

ROOT = Path(__file__).resolve().parents[2]
MODULES = [module.name for module in pkgutil.walk_packages(chainrule.__path__, "chainrule.")]
TOPICS = [f"chainrule.{name}" for name in topic_modules()]
PUBLIC_TOPICS = [name for name in TOPICS if not name.startswith("chainrule._")]


def documented(module):
    """Name, docstring and namespace of the module, its public functions and classes, and the methods of those."""
    yield module.__name__, module.__doc__, vars(module)
    for name in getattr(module, "__all__", []):
        value = getattr(module, name)
        if inspect.isroutine(value) or inspect.isclass(value):
            home = vars(sys.modules[value.__module__])
            yield name, value.__doc__, home
        if inspect.isclass(value):
            yield from ((f"{name}.{key}", v.__doc__, home) for key, v in vars(value).items() if inspect.isroutine(v))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name, monkeypatch):
    if name.startswith("chainrule.grading.inside."):  # scripts of the sandbox, which find each other in their folder
        monkeypatch.syspath_prepend(str(LIBRARY / "grading" / "inside"))
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(verbose=False)
    report = []
    # Not doctest's own search: the run-time check of the annotations wraps each function, and it skips wrapped ones.
    for item, text, names in documented(module):
        example = doctest.DocTestParser().get_doctest(text or "", dict(names), item, module.__file__, 0)
        runner.run(example, out=report.append)
    assert not report, "".join(report)


def test_the_search_for_examples_finds_a_wrong_one():
    runner = doctest.DocTestRunner(verbose=False)
    report = []
    runner.run(doctest.DocTestParser().get_doctest(">>> 1 + 1\n3", {}, "wrong", None, 0), out=report.append)
    assert report


@pytest.mark.parametrize("name", PUBLIC_TOPICS)
def test_public_functions_of_topic_modules_are_documented(name):
    module = importlib.import_module(name)
    public = {n for n, v in vars(module).items() if not n.startswith("_") and getattr(v, "__module__", None) == name}
    assert set(module.__all__) == public and list(module.__all__) == sorted(module.__all__)
    for item in module.__all__:
        text = inspect.getdoc(getattr(module, item))
        for part in ("Args:\n", "Returns:\n", "Raises:\n", "Source: ", ">>> "):
            assert part in text, f"{name}.{item} has no {part!r}"
        assert text.split("\n", 1)[0].endswith("."), f"{name}.{item} does not begin with a sentence"
        arguments = inspect.signature(getattr(module, item)).parameters
        for argument in arguments:
            assert re.search(rf"^    {argument}: ", text, flags=re.MULTILINE), (
                f"{name}.{item} does not explain {argument}"
            )


@pytest.mark.parametrize("name", PUBLIC_TOPICS)
def test_topic_modules_say_where_they_are_taught(name):
    text = importlib.import_module(name).__doc__
    chapter = re.search(r"The book's chapter ``([a-z-]+)`` teaches this module\.", text)
    assert chapter, f"{name} names no chapter"
    assert (ROOT / "chapters" / chapter[1]).is_dir()
    assert ".. math::" in text and "Reference: " in text


@pytest.mark.parametrize("name", topic_modules())
def test_topic_modules_have_tests_of_their_own(name):
    assert (ROOT / "tests" / "lib" / f"test_{name.lstrip('_')}.py").exists()


@pytest.mark.parametrize("name", topic_modules())
def test_topic_modules_do_not_print_assert_or_draw_from_global_randomness(name):
    tree = ast.parse((LIBRARY / f"{name}.py").read_text())
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)], "users get ValueErrors"
    called = {ast.unparse(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert "print" not in called and "torch.manual_seed" not in called
    for function in (
        "torch.rand",
        "torch.randn",
        "torch.randint",
        "torch.randperm",
        "torch.multinomial",
        "torch.normal",
    ):
        if function in called:
            assert "generator" in {k.arg for k in called[function].keywords}, f"{function} without a generator"
