"""Batches from and to S3, on this machine, with errors."""

import contextlib
import io
import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from segvoc.errors import OutputError, UnavailableError, UsageError
from segvoc.labeling.batch.done import DoneLog
from segvoc.labeling.batch.listing import units_below
from segvoc.labeling.batch.storages import folder_at
from tests.images import one_line_error
from tests.labeling.batch.runs import Loop, Stopped, contents, folder_of, jpeg, label, rows_of, tar_of
from tests.lazy_modules import LazyModule, lazily

lazily("moto", "needs moto's server")

parquet = LazyModule("pyarrow.parquet")

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
    requests: int = 0

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self.lock:
            self.requests += 1
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
    assert (done.images, done.before, done.failed) == (4, 4, 1)
    for path, _, _ in units_below(folder_at("s3://bucket/out"), report=pytest.fail):
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
    assert (done.images, done.failed) == (3, 3)


ODD = (
    *("sub/x.jpg", "a//b.jpg", "//two.jpg", "/lead.jpg", "x/y//z///w.jpg", "a//b#1.jpg", "#1/x.jpg", "q?x=1&y=2/z.jpg"),
    *(f"{marks} {marks}.jpg" for marks in ("#%", "?+&", "=;:@", "!$'\"()", "*,~`", "^|<>", "{}[]\\")),
    *("a%20b.jpg", "%2F.jpg", "%.jpg", "a+b/c+d.jpg", " lead.jpg", "end .jpg", "tab\t.jpg", "\x01.jpg", "\x7f.jpg"),
    *("dot./x.jpg", "dots.../x.jpg", "../up.jpg", "./here.jpg", "a/../b.jpg", "a/./b.jpg", "C:\\x.jpg"),
    *("caf\u00e9.jpg", "cafe\u0301.jpg", "\u0642\u0637.jpg", "\U0001f408.jpg", "\u200b.jpg", "\ufffe.jpg"),
    *("s3://in/x.jpg", "file:///x.jpg", "A.JPG", "a.jpg", "a.jpeg", "a.jpg.png"),
    *("n" * 1017 + ".jpg", "\u732b" * 338 + ".jpg", "d/" * 9 + "x.jpg"),
)
"""Keys that S3 allows, without the bucket's and the folder's part; the longest has 1,024 bytes with it."""


def test_every_key_is_labeled_or_gets_its_error(s3: FlakyS3, tmp_path: Path) -> None:
    import boto3

    client, image = boto3.client("s3"), jpeg(3)
    for key in ODD:
        client.put_object(Bucket="bucket", Key=f"#?/{key}", Body=image)
    assert max(len(f"#?/{key}".encode()) for key in ODD) == 1024
    source, table, files = "s3://bucket/#?", tmp_path / "table", tmp_path / "files"
    done = label(source, table, sink="parquet", shard_images=16)
    assert (done.images, done.failed, done.problems) == (len(ODD), 0, [])
    rows = rows_of(table)
    assert [(row["key"], row["image"]) for row in rows] == [(key, f"{source}/{key}") for key in sorted(ODD)]
    assert not any(row["error"] for row in rows)

    done = label(source, files, sink="files", shard_images=16)
    assert (done.images, done.problems) == (len(ODD), [])
    labeled = {report["image"] for name, report in contents(files).items() if name.endswith(".json")}
    entries = DoneLog(folder_at(str(files))).entries_until(None)
    failed = {address for entry in entries for address, _ in entry.problems}
    assert len(failed) == done.failed
    assert labeled | failed == {f"{source}/{key}" for key in ODD} and not labeled & failed
    # a disk allows 255 bytes for a part
    assert len(failed) == sum(any(len(part.encode()) > 240 for part in key.split("/")) for key in ODD)
    assert not list(tmp_path.glob("*.json"))  # nothing beside the folder of the results
    for out, sink in ((table, "parquet"), (files, "files")):
        label(source, out, again := Loop(), sink=sink)
        assert again.labeled == 0


def test_an_address_is_taken_literally(s3: FlakyS3, tmp_path: Path) -> None:
    for name in ("set#2/two.jpg", "set/one.jpg", "odd//double.jpg", "a b%20/c.jpg"):
        folder_at("s3://bucket/lit").write(name, jpeg(1))
    for source, keys in {
        "lit/set#2": ["two.jpg"],
        "lit/odd": ["/double.jpg"],
        "lit/odd//": ["double.jpg"],
        "lit/odd//double.jpg": ["double.jpg"],
        "lit/a b%20": ["c.jpg"],
    }.items():
        out = f"s3://bucket/labels of/{source}#x"
        assert label(f"s3://bucket/{source}", out).failed == 0
        (table,) = [name for name, _, _ in folder_at(out).units("") if name.endswith(".parquet")]
        found = parquet.read_table(io.BytesIO(folder_at(out).read(table)))
        assert found["key"].to_pylist() == keys
    folder_of(tmp_path / "photos#2", ["a.jpg"])
    folder_of(tmp_path / "photos", ["b.jpg"])
    label(f"file://{tmp_path}/photos#2", tmp_path / "out")
    assert [row["key"] for row in rows_of(tmp_path / "out")] == ["a.jpg"]


def test_a_large_file_is_read_by_ranges_and_written_in_parts(s3: FlakyS3, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, content = folder_at("s3://bucket/large"), random.Random(0).randbytes(20_000_000)
    folder.write("x#y", content)
    with folder.open("x#y") as file:
        assert file.read(10) == content[:10]
        assert file.seek(-10, os.SEEK_END) == len(content) - 10 and file.read() == content[-10:]
        file.seek(9_000_000)
        before = s3.requests
        assert file.read() == content[9_000_000:]
        assert s3.requests == before + 1
    assert folder.read("x#y") == content


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
