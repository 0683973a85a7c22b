"""Serve the built site on this machine, and nowhere else."""

from __future__ import annotations

import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
FIRST_PORT = 8000
PORTS_TRIED = 100


class SiteHandler(SimpleHTTPRequestHandler):
    """Serve files, answer with the site's own page where there is none, and keep the terminal quiet."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send 404.html, as the published site does, instead of the server's own message."""
        page = Path(self.directory) / "404.html"
        if code != 404 or not page.is_file():
            super().send_error(code, message, explain)
            return
        body = page.read_bytes()
        self.send_response(404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def end_headers(self) -> None:
        """Let no browser show an old page after a new build."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: a reader has no use for a line for each file."""


def make_server(folder: Path, first_port: int = FIRST_PORT) -> ThreadingHTTPServer:
    """Return a server for a folder on the first free port.

    Raises:
        OSError: if none of the ports is free; the message says what to do.
    """
    handler = partial(SiteHandler, directory=str(folder))
    for port in range(first_port, first_port + PORTS_TRIED):
        try:
            return ThreadingHTTPServer((HOST, port), handler)
        except OSError:
            continue
    raise OSError(
        f"The ports {first_port} to {first_port + PORTS_TRIED - 1} are all taken: "
        "choose another with `make serve PORT=...`."
    )


def serve(folder: Path) -> None:
    """Serve a folder until Ctrl-C."""
    first_port = int(os.environ.get("PORT") or FIRST_PORT)
    with make_server(folder, first_port) as server:
        port = server.server_address[1]
        if port != first_port:
            print(f"Port {first_port} is taken; using {port}.")
        print(f"The book is at http://{HOST}:{port}/ (Ctrl-C stops the server).", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nStopped.")
