"""The modules of the library and the imports in a piece of Python, for the tests of the house's rules."""

import ast
import re
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2] / "lib" / "chainrule"
SERVICES = {"plots", "explore", "quiz", "data", "training", "checks", "grading"}


def topic_modules() -> list[str]:
    """Names of the topic modules: every module of the library that is not a shared service."""
    names = {path.stem for path in LIBRARY.glob("*.py")} | {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    return sorted(names - SERVICES - {"__init__"})


def service_of(path: Path) -> str:
    """The service or topic module that a file of the library belongs to, "" for the package itself."""
    first = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imports(source: str, package: str = "chainrule") -> set[str]:
    """Everything that a source imports, as dotted names; also inside functions, relative and dynamic imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = (
                ".".join([*parts[: len(parts) - node.level + 1], node.module or ""]).strip(".")
                if node.level
                else node.module
            )
            found |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "__import__",
            "import_module",
            "importlib.import_module",
        ):
            target = node.args[0]
            found.add(target.value if isinstance(target, ast.Constant) else "<computed>")
    return found


def code_cells(page: str) -> list[str]:
    """The sources of the code cells of a MyST page, without their options."""
    cells = []
    for match in re.finditer(r"^(`{3,})\{code-cell\}[^\n]*\n(.*?)^\1 *$", page, flags=re.MULTILINE | re.DOTALL):
        body = re.sub(r"\A---\n.*?^---\n", "", match[2], flags=re.MULTILINE | re.DOTALL)
        cells.append(re.sub(r"\A(?::[\w-]+:.*\n)+", "", body))
    return cells
