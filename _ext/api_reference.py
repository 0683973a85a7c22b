"""The reference of the library, made from its source: the directive ``{api}`` and the role ``{api}``.

A page of chapters/reference holds a title and

    ```{api} chainrule.information
    ```

which becomes one entry for each name in the module's ``__all__``: its signature as it is written (so that shapes can
be read), its docstring, the pages that teach it, and a link to its source. The source is parsed, not imported: the
reference needs no torch, and says what the file says. The role ``{api}`` links to an entry or a module from any page.
"""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.domains.python import PyXRefRole
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util.docutils import SphinxDirective

import pages
import registers

_NAPOLEON = Config(
    napoleon_use_param=False,
    napoleon_use_rtype=False,
    napoleon_use_ivar=True,
    napoleon_use_admonition_for_examples=False,
)
# A name in single backticks means code; a role keeps its meaning.
# Code in single backticks; what comes first in the pattern is passed over: roles, literals, links.
_SINGLE_BACKTICKS = re.compile(r"(:[\w.+:-]+:`[^`\n]*`|``.*?``|`[^`\n]+`_+)|(?<![`:\w])`([^`\n]+)`(?![`_])")


def module_path(root: Path, module: str) -> Path:
    """The file of a module of the library."""
    base = root / "lib" / Path(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.exists():
            return path
    raise ValueError(f"the library has no module {module}: expected {base}.py")


def docstring_lines(text: str | None, what: str = "function") -> list[str]:
    """A Google-style docstring as reStructuredText."""
    if not text:
        return []
    text = re.sub(r"^Example:$", "Examples:", inspect.cleandoc(text), flags=re.MULTILINE)
    return [
        _SINGLE_BACKTICKS.sub(lambda found: found[1] or f"``{found[2]}``", line)
        if not line.lstrip().startswith(">>>")
        else line
        for line in GoogleDocstring(text, _NAPOLEON, what=what).lines()
    ]


def signature(node: ast.FunctionDef, *, bound: bool = False) -> str:
    """Arguments and result of a function as its author wrote them."""
    arguments = node.args
    if bound and (first := (arguments.posonlyargs or arguments.args)):
        arguments = ast.arguments(**{f: getattr(arguments, f) for f in arguments._fields})
        if arguments.posonlyargs:
            arguments.posonlyargs = first[1:]
        else:
            arguments.args = first[1:]
    result = f" -> {_quoted(node.returns)}" if node.returns is not None else ""
    return f"({_quoted(arguments)}){result}"


def _quoted(node: ast.AST) -> str:
    # ast writes single quotes; shapes are written with double ones everywhere in the library.
    return re.sub(r"'([^'\"]*)'", r'"\1"', ast.unparse(node))


def definition(tree: ast.Module, name: str) -> Any:
    """What a module's source makes of a name: a function, a class, or ``(assignment, the text under it)``."""
    for i, node in enumerate(tree.body):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return node, _string(tree.body[i + 1] if i + 1 < len(tree.body) else None)
    return None


def find(root: Path, module: str, name: str) -> tuple[Any, Path]:
    """Where a public name of a module is defined: in the module, or where the module imports it from."""
    path = module_path(root, module)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if (found := definition(tree, name)) is not None:
        return found, path
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
            parent = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (parent, node.module) if part)
            original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
            return find(root, source, original)
    raise ValueError(f"{module}.__all__ names {name}, which the module neither defines nor imports")


class Api(SphinxDirective):
    """The entries of one module."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = self.arguments[0]
        root = Path(self.env.app.confdir)
        path = module_path(root, module)
        self.env.note_dependency(str(path))
        registers.remember(self.env, "taught", module)
        taught: dict[str, list[str]] = {}
        for docname, symbol in registers.made_from(root, "taught", module):
            if docname not in taught.setdefault(symbol, []):
                taught[symbol].append(docname)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        public = definition(tree, "__all__")
        if public is None:
            raise self.error(f"{module} has no __all__: the reference lists what stands there")
        rst = [f".. py:module:: {module}", "", *docstring_lines(ast.get_docstring(tree), "module"), ""]
        for name in ast.literal_eval(public[0].value):
            try:
                node, file = find(root, module, name)
            except ValueError as error:
                raise self.error(str(error)) from error
            self.env.note_dependency(str(file))
            link = f"{pages.repository()}/blob/main/{file.relative_to(root).as_posix()}"
            rst += self._entry(module, name, node, link, taught.get(f"{module}.{name}", []))
        # The docstrings are reStructuredText inside a Markdown page.
        lines = StringList(["````{eval-rst}", *rst, "````"], source=str(path))
        box = nodes.container(classes=["api"])
        self.state.nested_parse(lines, self.content_offset, box)
        _settle(box)
        return [box]

    def _entry(self, module, name, node, link, taught) -> list[str]:
        if isinstance(node, ast.FunctionDef):
            head = [f".. py:function:: {name}{signature(node)}"]
            body = docstring_lines(ast.get_docstring(node))
            first, last = node.lineno, node.end_lineno
        elif isinstance(node, ast.ClassDef):
            made = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
            fields = "" if made is None else signature(made, bound=True).removesuffix(" -> None")
            head = [f".. py:class:: {name}{fields}"]
            body = docstring_lines(ast.get_docstring(node), "class")
            for method in node.body:
                if (
                    isinstance(method, ast.FunctionDef)
                    and not method.name.startswith("_")
                    and ast.get_docstring(method)
                ):
                    decorators = {getattr(d, "id", "") for d in method.decorator_list}
                    if "property" in decorators or "cached_property" in decorators:
                        body += ["", f".. py:property:: {method.name}", ""]
                    else:
                        body += [
                            "",
                            f".. py:method:: {method.name}{signature(method, bound='staticmethod' not in decorators)}",
                            "",
                        ]
                    body += ["   " + line for line in docstring_lines(ast.get_docstring(method))]
            first, last = node.lineno, node.end_lineno
        else:
            statement, text = node
            head = [f".. py:data:: {name}"]
            body = docstring_lines(text, "data")
            first, last = statement.lineno, statement.end_lineno
        where = f"`Source <{link}#L{first}-L{last}>`__"
        if taught:
            where = "Taught in " + ", ".join(f":doc:`/{page}`" for page in taught) + ". " + where
        return [
            *head,
            "",
            *("   " + line for line in body),
            "",
            "   .. container:: api-links",
            "",
            f"      {where}",
            "",
        ]


def _string(node: ast.AST | None) -> str | None:
    """The text of a statement that is only a string, as it stands under a constant to describe it."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return None


def _settle(box: nodes.Element) -> None:
    """Types in signatures and fields are read, not followed: only what a docstring's author links is a link."""
    for reference in list(box.findall(addnodes.pending_xref)):
        if (
            reference.get("refdomain") == "py"
            and reference.get("reftype") in ("class", "obj")
            and not reference.get("refexplicit")
            and _in_signature_or_field(reference)
        ):
            reference.replace_self(reference.children)
    for line in box.findall(addnodes.desc_signature):  # Sphinx takes annotations apart and quotes shapes its own way
        for text in list(line.findall(nodes.Text)):
            if "'" in text:
                text.parent.replace(text, nodes.Text(text.replace("'", '"')))


def _in_signature_or_field(node: nodes.Node) -> bool:
    while node is not None:
        if isinstance(node, addnodes.desc_signature):
            return True
        node = node.parent
    return False


class ApiRole(PyXRefRole):
    """``{api}`` with a full name: a link to the entry of a function, class, constant or module."""

    def process_link(self, env, refnode, has_explicit_title, title, target):
        title, target = super().process_link(env, refnode, has_explicit_title, title, target)
        refnode["reftype"] = "obj"
        refnode["refdomain"] = "py"
        return title, target


class ModuleList(SphinxDirective):
    """The modules that have a page in the reference, each with the first sentence of its docstring."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.app.confdir)
        registers.remember(self.env, "reference")
        lines = ["| module | what it holds |", "|:--|:--|"]
        for docname in pages.toc_documents(root):
            text = (root / f"{docname}.md").read_text(encoding="utf-8")
            for module in re.findall(r"^```\{api\} (\S+)", text, re.MULTILINE):
                path = module_path(root, module)
                self.env.note_dependency(str(path))
                said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
                lines.append(f"| {{api}}`{module}` | {plain(said.split(chr(10) * 2)[0])} |")
        box = nodes.container()
        self.state.nested_parse(StringList(lines, source="module-list"), self.content_offset, box)
        return [box]


def plain(text: str) -> str:
    """The first paragraph of a docstring as one line of Markdown."""
    text = re.sub(r":\w+(?::\w+)?:`~?([^`]+)`", r"`\1`", " ".join(text.split()))
    return text.replace("``", "`").replace("|", "\\|")


def setup(app):
    app.add_directive("api", Api)
    app.add_directive("module-list", ModuleList)
    app.add_role("api", ApiRole())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
