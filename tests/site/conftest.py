"""The built site, served on a free port of this machine, and a real headless Chromium to read it with."""

import functools
import http.server
import os
import threading
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tools.browser import find_browser
from tools.serve import SiteHandler

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
CHROMIUM_FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",  # the browser's own calls home would hide a page's
    "--disable-component-update",
    "--disable-sync",
]


def all_pages() -> list[str]:
    """Paths of the site's pages, relative to its root; empty before the first build (a test then says so)."""
    skip = ("_static", "_sources", "_assets")
    pages = (path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
    return sorted(page for page in pages if not page.startswith(skip))


@pytest.fixture(scope="session")
def address():
    """The address of the served site, at a depth as a project's site is: http://127.0.0.1:40123/chainrule/, say."""
    assert (SITE / "index.html").exists(), f"no site in {SITE}: run `make test`, or `make serve` once, to build it"

    class Handler(SiteHandler):
        def translate_path(self, path):
            return super().translate_path(path.removeprefix("/chainrule"))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(SITE)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/chainrule/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium: the system's, or else the one that playwright installed."""
    found = find_browser()
    flags = CHROMIUM_FLAGS + (["--no-sandbox"] if os.geteuid() == 0 else [])  # Chromium refuses its sandbox to root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()


class Visit:
    """A page open in a fresh browser context, with everything it asked for and complained of."""

    def __init__(self, context, address):
        self.context, self.address = context, address
        self.page = context.new_page()
        self.requests, self.failures, self.complaints = [], [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self.failures.append(f"{request.url}: {request.failure}"))
        self.page.on("response", lambda r: self.failures.append(f"{r.url}: {r.status}") if r.status >= 400 else None)
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, path: str):
        """Go to a page of the site and wait until scripts, widgets and mathematics have settled."""
        self.page.goto(self.address + path, wait_until="networkidle")
        self.page.wait_for_function("!window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)")
        return self.page

    def foreign(self) -> list[str]:
        """Requests that left the site."""
        return [url for url in self.requests if not url.startswith((self.address, "data:", "blob:"))]


@pytest.fixture
def visit(browser, address):
    """A function that opens a page of the site; options go to the browser context (viewport, color_scheme, ...)."""
    contexts = []

    def start(path: str, *, theme: str = "light", **options) -> Visit:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        context.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}');")
        seen = Visit(context, address)
        seen.open(path)
        return seen

    yield start
    for context in contexts:
        context.close()
