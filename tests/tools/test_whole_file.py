"""Files of tiny's weights without text encoder become files that load by themselves."""

from pathlib import Path

import pytest
import torch

import segvoc
from segvoc.checkpoints.files import read_header, read_weights, write_weights
from segvoc.errors import CheckpointError
from segvoc.models.headers import CONFIGURATION
from segvoc.models.presets import WEIGHTS
from tools.tiny.whole_file import FAMILIAR, fitting_configuration, write_whole_file

SHIPPED = WEIGHTS / "tiny.safetensors"


def test_the_shipped_file_becomes_the_shipped_model(tmp_path: Path):
    write_whole_file(SHIPPED, tmp_path / "whole.safetensors")
    whole = segvoc.load(tmp_path / "whole.safetensors", device="cpu").network.state_dict()
    shipped = segvoc.load("tiny", device="cpu").network.state_dict()
    assert whole.keys() == shipped.keys()
    assert all(torch.equal(whole[name], value) for name, value in shipped.items())


def test_weights_of_another_number_of_words_state_it(tmp_path: Path):
    tensors = read_weights(SHIPPED).tensors
    if FAMILIAR not in tensors:
        pytest.skip("the shipped weights know no familiar words")
    tensors[FAMILIAR] = tensors[FAMILIAR][:7].clone()
    write_weights(tmp_path / "few.safetensors", tensors, "tiny", origin="a fold")
    write_whole_file(tmp_path / "few.safetensors", tmp_path / "whole.safetensors")
    record = read_header(tmp_path / "whole.safetensors").record
    assert record[CONFIGURATION]["aggregation"]["familiar_words"] == 7
    assert record["origin"] == "a fold"
    network = segvoc.load(tmp_path / "whole.safetensors", device="cpu").network
    assert network.state_dict()[FAMILIAR].shape[0] == 7


def test_other_weights_are_refused(tmp_path: Path):
    write_weights(tmp_path / "other.safetensors", {"x": torch.zeros(1)}, "pca-seg-b")
    with pytest.raises(CheckpointError, match="holds no weights of tiny"):
        write_whole_file(tmp_path / "other.safetensors", tmp_path / "whole.safetensors")
    write_weights(tmp_path / "odd.safetensors", {"x": torch.zeros(1)}, "tiny")
    with pytest.raises(CheckpointError, match="states no configuration and fits none"):
        fitting_configuration(read_weights(tmp_path / "odd.safetensors"))
