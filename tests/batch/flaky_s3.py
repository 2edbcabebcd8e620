"""S3 on this machine (moto's server), some of whose answers are errors."""

import contextlib
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

BUCKET = "bucket"
ERRORS = {"500 Internal Server Error": "InternalError", "503 Service Unavailable": "SlowDown"}
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass
class FlakyS3:
    """An S3 that fails now and then; `share` may be changed while it runs."""

    app: Callable[..., Iterable[bytes]]
    """The one that doesn't fail."""
    share: float = 0.0
    """Share of the requests that fail, in [0, 1]."""
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    """Which ones."""
    answered: Counter[str] = field(default_factory=Counter)
    """Requests by method, and "errors"."""
    url: str = ""
    """Where it listens."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Of the counts."""

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self.lock:
            fails = self.draw.random() < self.share
            self.answered[environ["REQUEST_METHOD"]] += 1
            self.answered["errors"] += fails
            status, code = self.draw.choice(sorted(ERRORS.items()))
        if not fails:
            return self.app(environ, start)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"].read(length)
        body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
        start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


@contextlib.contextmanager
def flaky_s3() -> Iterator[FlakyS3]:
    """An S3 with an empty bucket, and the environment that points there, also for processes that are started."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    s3 = FlakyS3(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, s3, threaded=True)
    s3.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**SETTINGS, "AWS_ENDPOINT_URL": s3.url}.items():
            patch.setenv(name, value)
        for name in [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy")]:
            patch.delenv(name)
        import boto3

        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield s3
    server.shutdown()
    thread.join()
