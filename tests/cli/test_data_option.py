"""The folder of the benchmarks, in every command that reads them: given, from the environment, or missing."""

import pytest

from segvoc.cli.dataset_options import DATASETS

CALLS = {
    "prepare": (("prepare", "pas-20"), "the data folder {root!r} does not exist"),
    "evaluate": (("evaluate", "tiny", "--benchmark", "pas-20", "--out", "x"), "segvoc prepare pas-20 --data {root}"),
    "train": (("train", "cat-seg-b", "--out", "x"), "segvoc prepare coco-stuff --data {root}"),
    "reproduce": (("reproduce", "cat-seg-b", "--out", "x"), "the data folder {root!r} does not exist"),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_is_given_or_from_the_environment(segvoc_command, monkeypatch, name):
    call, said = CALLS[name]
    segvoc_command(*call).refused("--data", f"or set {DATASETS}")
    monkeypatch.setenv(DATASETS, "")
    segvoc_command(*call).refused(f"or set {DATASETS}")
    monkeypatch.setenv(DATASETS, "there")
    segvoc_command(*call).refused(said.format(root="there"))
    segvoc_command(*call, "--data", "here").refused(said.format(root="here"))
    assert f"[default: ${DATASETS}]" in " ".join(segvoc_command(call[0], "--help").out.split())
