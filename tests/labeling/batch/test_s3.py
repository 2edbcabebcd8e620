"""Batches from and to S3, on this machine, with errors."""

import contextlib
import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from segvoc.errors import OutputError, UnavailableError, UsageError
from segvoc.labeling.batch.sources import folder_at
from tests.images import one_line_error
from tests.labeling.batch.runs import Loop, Stopped, contents, folder_of, label, tar_of
from tests.lazy_modules import lazily

lazily("moto", "needs moto's server")

NAMES = ["a.jpg", "b.jpg", "bad.jpg", "sub/c.jpg"]
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
    """The S3 `app`, with drawn failures; `share` may be changed while it runs."""

    app: Callable[..., Iterable[bytes]]
    share: float = 0.0
    """Share of the requests that fail, in [0, 1]."""
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self.lock:
            fails = self.draw.random() < self.share
            status, code = self.draw.choice(sorted(ERRORS.items()))
        if not fails:
            return self.app(environ, start)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"].read(length)
        body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
        start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


@pytest.fixture(scope="module")
def s3() -> Iterator[FlakyS3]:
    """Moto's S3 with an empty bucket, and the environment that points there, also for processes that are started."""
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

        boto3.client("s3").create_bucket(Bucket="bucket")
        yield s3
    server.shutdown()
    thread.join()


def test_a_stopped_run_goes_on_in_spite_of_errors(s3: FlakyS3, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", NAMES)
    for name in NAMES:
        folder_at("s3://bucket/in").write(name, (source / name).read_bytes())
    with pytest.raises(Stopped):
        label("s3://bucket/in", "s3://bucket/out", Loop(1, before_record=True))
    s3.share = 0.1  # Arrow asks again, and so does the user
    try:
        for _ in range(9):
            with contextlib.suppress(OutputError, UnavailableError):
                done = label("s3://bucket/in", "s3://bucket/out")
                if not done.problems:
                    break
    finally:
        s3.share = 0.0
    done = label("s3://bucket/in", "s3://bucket/out")
    assert (done.images, done.before, len(done.failed)) == (4, 4, 1)
    for path, _, _ in folder_at("s3://bucket/out").files():
        (tmp_path / "out" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / path).write_bytes(folder_at("s3://bucket/out").read(path))
    label("s3://bucket/in", tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_tars_stream_from_s3_and_a_bucket_that_is_not_there_is_refused(s3: FlakyS3, tmp_path: Path) -> None:
    with one_line_error(UsageError, "s3://nobody/in"):
        label("s3://nobody/in", tmp_path / "out")
    images = {f"{n}.jpg": (b"x" if n == 2 else b"") for n in range(3)}
    folder_at("s3://bucket/tars").write("0.tar", tar_of(images))
    done = label("s3://bucket/tars/0.tar", "s3://bucket/from_tars")
    assert (done.images, len(done.failed)) == (3, 3)


@pytest.mark.slow
def test_a_storage_that_does_not_answer_is_one_line(s3: FlakyS3) -> None:
    folder = folder_at("s3://bucket/down")
    folder.write("a.jpg", b"x")
    s3.share = 1.0
    try:
        with one_line_error(UnavailableError, "s3://bucket/down/a.jpg", "run the same call again"):
            folder.read("a.jpg")
        with one_line_error(OutputError, "s3://bucket/down/out", "can't be written"):
            folder.write("out", b"x")
    finally:
        s3.share = 0.0
