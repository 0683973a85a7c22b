"""A folder of web pages in a real headless browser, for tests that need no built site."""

import functools
import http.server
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tools.browser import find_browser


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, *args):
        """Keep the test output clean."""


def in_browser(folder: Path, drive: Callable) -> Any:
    """Serve a folder, open it and return ``drive(page)``; errors and requests to elsewhere fail the test."""
    program = find_browser()
    assert program, "no browser: `make test` installs one, or names the command that does"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}/"
    flags = ["--disable-gpu", "--disable-background-networking"] + (["--no-sandbox"] if os.geteuid() == 0 else [])

    def visit() -> Any:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=flags)
            page = browser.new_page(viewport={"width": 800, "height": 1000})
            complaints = []
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda r: None if r.url.startswith((address, "data:")) else complaints.append(r.url))
            page.goto(address)
            result = drive(page)
            browser.close()
        assert not complaints
        return result

    try:
        # A thread of its own: another test file of the same process may hold a browser in this one.
        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(visit).result()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
