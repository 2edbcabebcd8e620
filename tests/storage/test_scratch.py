"""A temporary folder: gone afterwards, and one line where the system refuses it."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from segvoc.errors import OutputError
from segvoc.storage.files import scratch_folder


def test_scratch_folder_is_gone_afterwards() -> None:
    with scratch_folder() as folder:
        Path(folder, "result.png").write_bytes(b"mask")
    assert not Path(folder).exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.ENOENT])
def test_no_scratch_folder_is_one_line(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*args: object, **options: object) -> str:
        raise OSError(code, os.strerror(code), "/tmp/segvoc-1")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    line = f"^no temporary folder can be made: {os.strerror(code)}; free some space, or set TMPDIR to another folder$"
    with pytest.raises(OutputError, match=line), scratch_folder():
        pass
