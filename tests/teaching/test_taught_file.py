"""Files of taught words that are cut off, foreign or damaged are refused in one line."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from segvoc.errors import CheckpointError
from segvoc.teaching.taught_words import TaughtQuery, TaughtWord, TaughtWords, TeachingRecord


def made_up(**changes: object) -> TaughtWords:
    record = TeachingRecord(
        model="tiny",
        words=(TaughtWord(name="zebra", images=2, pixels=9, before=1.0, after=2.0),),
        channels={"map_0": 3},
        images=2,
        penalty=(0.1, 0.01),
        miou_before=1.0,
        miou=2.0,
        accuracy_before=1.0,
        accuracy=2.0,
        segvoc="1.0",
    )
    arrays = {"weights": np.ones((1, 3), np.float16), "bias": np.zeros(1, np.float32)}
    ones = {name: np.ones(3, np.float32) for name in ("mean", "scale", "probe")}
    return TaughtWords(**{"record": record, **arrays, **ones, **changes})


def refused(path, said):
    with pytest.raises(CheckpointError, match=said) as found:
        TaughtWords.load(path)
    assert "\n" not in str(found.value)


def test_missing_foreign_cut_off_and_damaged(tmp_path):
    refused(tmp_path / "none", "can't be read")
    file = tmp_path / "file"
    for content in (b"", (1 << 40).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]"):
        file.write_bytes(content)
        refused(file, "is no file of taught words")
    made_up().save(file)
    whole = file.read_bytes()
    for length in (7, 50, len(whole) - 1):
        file.write_bytes(whole[:length])
        refused(file, "no file of taught words|cut off")
    file.write_bytes(whole.replace(b'format\\": 1', b'format\\": 2'))
    refused(file, "another version")
    made_up(bias=np.full(1, np.nan, np.float32)).save(file)
    refused(file, "not finite")
    for wrong in (
        {"scale": np.zeros(3, np.float32)},
        {"weights": np.ones((2, 3), np.float16), "bias": np.zeros(2, np.float32)},
    ):
        made_up(**wrong).save(file)
        refused(file, "wrong shape")


def test_regions(tmp_path):
    file, toward = tmp_path / "file", np.ones((1, 5), np.float16)
    mixed = made_up(record=replace(made_up().record, share=0.25), toward=toward)
    mixed.save(file)
    loaded = TaughtWords.load(file)
    assert load_file(file)["weights"].shape == (1, 3)
    assert loaded.digest == mixed.digest and np.array_equal(loaded.toward, toward)
    query = TaughtQuery.of([loaded], ["zebra", "cup"], 2)
    with pytest.raises(CheckpointError, match="of another length than the model's"):
        query.embeddings(np.ones((2, 1, 4), np.float32))
    for share, regions in ((0.25, None), (0.0, toward), (1.5, toward), (-0.25, toward)):
        made_up(record=replace(made_up().record, share=share), toward=regions).save(file)
        refused(file, "wrong shape")
