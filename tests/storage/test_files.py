"""Names and texts of files."""

import base64

import numpy as np
import pytest

from segvoc.storage.files import base64_bytes


def test_base64_of_any_writer_is_decoded() -> None:
    for size in (0, 1, 2, 3, 57, 58, 1000, 3_000_001):
        content = np.random.default_rng(size).bytes(size)
        plain, url = base64.b64encode(content).decode(), base64.urlsafe_b64encode(content).decode()
        bare = url.rstrip("=") if {*"-_"} & {*url} else plain
        for text in (plain, url, bare, base64.encodebytes(content).decode(), f" {plain}\r\n"):
            assert base64_bytes(text) == content


@pytest.mark.parametrize(("text", "said"), [("AAAA!AAA", "'!' at 4"), ("AA==AAAA", "'=' at 3"), ("AAAAAA", "padding")])
def test_what_is_no_base64_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        base64_bytes(text)
