"""What the local extensions share: where things stand in the repository, and what a page says about itself."""

import functools
import json
import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
# Docnames are paths without a suffix; front matters name pages under chapters/ without that prefix.
CHAPTERS = "chapters/"
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


@functools.cache
def repository() -> str:
    """The repository's address; it stands once, in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"].rstrip("/")


def owner_and_name() -> str:
    """``owner/name`` of the repository, as launch services want it."""
    return "/".join(repository().split("/")[-2:])


def site_address() -> str:
    """Where the workflow publishes the site, with a slash at the end."""
    owner, name = owner_and_name().split("/")
    return f"https://{owner.lower()}.github.io/{name}/"


def front_matter(text: str) -> dict:
    """The YAML block at the head of a page, ``{}`` without one."""
    found = _FRONT_MATTER.match(text)
    return (yaml.safe_load(found[1]) or {}) if found else {}


def read_page(path: Path) -> dict:
    """The front matter of the page in a file."""
    return _read_page(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _read_page(path: Path, _changed: int) -> dict:
    return front_matter(path.read_text(encoding="utf-8"))


def toc_documents(root: Path = ROOT) -> list[str]:
    """Docnames in the order of the table of contents."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    found = [toc["root"]]

    def walk(entry):
        for key in ("parts", "chapters", "sections"):
            for child in entry.get(key, ()):
                if "file" in child:
                    found.append(child["file"])
                walk(child)

    walk(toc)
    return found


def pages(root: Path = ROOT) -> dict[str, dict]:
    """Front matters of the pages of the table of contents, by docname and in its order."""
    return {name: read_page(root / f"{name}.md") for name in toc_documents(root)}


def title_of(root: Path, docname: str) -> str:
    """The first heading of a page, as it is written."""
    text = _FRONT_MATTER.sub("", (root / f"{docname}.md").read_text(encoding="utf-8"))
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{docname}.md has no title: expected a line that starts with '# '")
    return found[1].strip()


def full_docname(name: str) -> str:
    """The docname of a page that a front matter or a data file names, with or without its folder ``chapters/``."""
    return name if name.startswith((CHAPTERS, "exercises/", "solutions/")) else CHAPTERS + name


def execution(root: Path, docname: str) -> dict:
    """What the execution of a page left: ``seconds``, ``values``; ``{}`` for a page without code cells."""
    path = root / "_build" / "executed" / f"{docname}.ipynb"
    if not path.exists():
        return {}
    return json.loads(path.read_text(encoding="utf-8"))["metadata"].get("chainrule", {})
