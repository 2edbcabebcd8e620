"""Imports of the official code, of a checkout that only looks like one."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.official_code import CLIP_FILE, ERR_FILE, USED, find_model, official_code, official_file, randomize
from segvoc.errors import UsageError
from tests.benchmarks.official_stand_in import make_checkout


def test_a_checkout_is_known_by_its_files(tmp_path: Path):
    assert find_model(make_checkout(tmp_path / "cat")) == "cat-seg-b"
    assert official_file(tmp_path / "cat") == tmp_path / "cat" / CLIP_FILE
    make_checkout(tmp_path / "pca")
    (tmp_path / "pca" / CLIP_FILE).write_text("class DualFeatureMoE: ...")
    assert find_model(tmp_path / "pca") == "pca-seg-b"
    (tmp_path / "err" / ERR_FILE).parent.mkdir(parents=True)
    (tmp_path / "err" / ERR_FILE).touch()
    assert find_model(tmp_path / "err") == "err-seg-b"
    with pytest.raises(UsageError, match="give a checkout of CAT-Seg, PCA-Seg or ERR-Seg"):
        find_model(tmp_path)


def test_missing_libraries_are_replaced_while_importing_and_named_when_called(tmp_path: Path):
    before = dict(sys.modules)
    with official_code(make_checkout(tmp_path)) as find:
        code = find("cat_seg.modeling.transformer.model")
        assert "cca_zoo.models" in sys.modules
    assert not [name for name in sys.modules if name.startswith(("cca_zoo", "cat_seg", "detectron2", "xformers"))]
    assert {name: sys.modules[name] for name in before} == before
    with pytest.raises(UsageError, match=r"calls cca_zoo\.models\.CCA; install cca_zoo"):
        code.Aggregator.correlate(None)


def test_two_checkouts_are_told_apart(tmp_path: Path):
    for scale in (2.0, 3.0):
        with official_code(make_checkout(tmp_path / str(scale), scale)) as find:
            assert find("cat_seg.modeling.transformer.scale").SCALE == scale


def test_images_are_padded_and_results_cropped_as_in_detectron2():
    padded = USED["ImageList"].from_tensors([torch.ones(3, 30, 33)], 32)
    assert padded.tensor.shape == (1, 3, 32, 64)
    assert padded.image_sizes == [(30, 33)]
    assert padded.tensor.sum() == 3 * 30 * 33
    assert USED["ImageList"].from_tensors([torch.ones(3, 30, 33)], -1).tensor.shape == (1, 3, 30, 33)
    result = torch.arange(12.0).view(1, 3, 4)
    assert torch.equal(USED["sem_seg_postprocess"](result, (2, 3), 2, 3), result[:, :2, :3])
    assert USED["sem_seg_postprocess"](result, (640, 640), 6, 9).shape == (1, 6, 9)


def test_fused_attention_is_that_of_xformers():
    q, k, v = torch.randn(3, 2, 5, 4, 8)
    weights = torch.einsum("blnc,bmnc->bnlm", q, k) * 0.3
    found = USED["memory_efficient_attention"](q, k, v, p=0.0, scale=0.3, attn_bias=None)
    assert torch.allclose(found, torch.einsum("bnlm,bmnc->blnc", weights.softmax(-1), v), atol=1e-6)
    causal = weights.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf).softmax(-1)
    found = USED["memory_efficient_attention"](q, k, v, p=0.0, scale=0.3, attn_bias=USED["LowerTriangularMask"]())
    assert torch.allclose(found, torch.einsum("bnlm,bmnc->blnc", causal, v), atol=1e-6)


def test_random_weights_leave_no_zeros_and_no_ones():
    module = nn.Sequential(nn.Linear(400, 30), nn.BatchNorm1d(30))
    module.register_buffer("attn_mask", torch.zeros(2, 2))
    randomize(module)
    state = module.state_dict()
    assert not state["attn_mask"].any()
    assert 0.04 < state["0.weight"].std() < 0.06
    for name in ("0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
        assert not torch.isin(state[name], torch.tensor([0.0, 1.0])).any()
    assert state["1.running_var"].min() > 0.4
