"""Serves the page's files with the headers that segvoc's service sends."""

import http.server
from collections.abc import Mapping
from typing import Any

from segvoc.serving.middleware import HEADERS as SENT

HEADERS = {name: SENT[name] for name in ("Content-Security-Policy", "Permissions-Policy", "Referrer-Policy")}
"""What the page may do."""

ISOLATION = {name: SENT[name] for name in ("Cross-Origin-Opener-Policy", "Cross-Origin-Embedder-Policy")}
"""Headers with which browsers let a page share memory between threads."""


class PageFiles(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, headers_too: Mapping[str, str] = HEADERS, **options: Any) -> None:
        self.headers_too = headers_too
        super().__init__(*arguments, **options)

    def end_headers(self) -> None:
        for name, value in self.headers_too.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Be quiet."""
