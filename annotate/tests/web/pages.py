"""Serves the page's files with the headers that segvoc's service sends."""

import http.server
from collections.abc import Mapping
from typing import Any

ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
"""Headers with which browsers let a page share memory between threads."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; worker-src 'self'; media-src 'self' blob:; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
}
"""What the page may do."""


class PageFiles(http.server.SimpleHTTPRequestHandler):
    """Files of a folder."""

    def __init__(self, *arguments: Any, headers_too: Mapping[str, str] = HEADERS, **options: Any) -> None:
        self.headers_too = headers_too
        super().__init__(*arguments, **options)

    def end_headers(self) -> None:
        """Add the headers."""
        for name, value in self.headers_too.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Be quiet."""
