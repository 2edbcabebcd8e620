"""FiftyOne on a database in memory, where no MongoDB server is named (FIFTYONE_DATABASE_URI)."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest


def use_memory_database() -> None:
    """Let FiftyOne, which isn't imported yet, keep its data sets in `mongomock`, unless a server is named."""
    os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"
    if "FIFTYONE_DATABASE_URI" in os.environ:
        return
    import mongoengine  # pyright: ignore[reportMissingImports]
    import mongomock  # pyright: ignore[reportMissingImports]
    import pymongo  # pyright: ignore[reportMissingImports]

    server = mongomock.MongoClient()
    server._closed = False  # FiftyOne asks; else it would be the name of a database
    os.environ["FIFTYONE_DATABASE_URI"] = "mongodb://in-memory"
    os.environ["FIFTYONE_DATABASE_VALIDATION"] = "false"
    connect = mongoengine.connect
    pymongo.MongoClient = lambda *_, **__: server
    mongoengine.connect = lambda name, **_: connect(name, mongo_client_class=lambda *_, **__: server)


@pytest.fixture(scope="session")
def fiftyone() -> Iterator[Any]:
    """FiftyOne itself; its data sets of the tests are deleted in the end."""
    if find_spec("fiftyone") is None:
        pytest.skip("FiftyOne isn't installed: make viewers-check")
    use_memory_database()
    import fiftyone  # pyright: ignore[reportMissingImports]

    yield fiftyone
    for name in fiftyone.list_datasets("segvoc-test-*"):
        fiftyone.delete_dataset(name)
