"""Stand-ins for what a notebook imports to draw, quiz and check itself; without effect while grading."""

import importlib.abc
import importlib.machinery
import sys
import types

__all__ = ["install"]

SILENT = (
    "matplotlib",
    "ipywidgets",
    "IPython",
    "chainrule.plots",
    "chainrule.explore",
    "chainrule.quiz",
    "chainrule.checks",
)


class Nothing:
    """Takes any call, any attribute and any loop, and does nothing. Its text says why."""

    def __call__(self, *_, **__):
        return self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __iter__(self):
        return iter((self, self))

    def __getitem__(self, _):
        return self

    def __setitem__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def __bool__(self):
        return True

    def __repr__(self):
        return "(drawing, quizzes and self-checks rest while a submission is graded)"


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the silent modules, and says of the library's absent ones why they are absent."""

    def find_spec(self, name, path=None, target=None):
        if name in SILENT or name.startswith(tuple(f"{silent}." for silent in SILENT)):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        if name.startswith("chainrule."):
            raise ModuleNotFoundError(
                f"{name} is not available while a submission is graded: write what you need of it yourself", name=name
            )
        return None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        nothing = Nothing()
        module.__getattr__ = lambda name: nothing if not name.startswith("__") else _no(name)
        return module

    def exec_module(self, module):
        pass


def _no(name):
    raise AttributeError(name)


def install() -> None:
    """Put the finder behind the ordinary ones, so that what does exist in the sandbox is found first."""
    sys.meta_path.append(Finder())
