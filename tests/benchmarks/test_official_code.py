"""Imports of the official code, of a checkout that only looks like one."""

import sys
from pathlib import Path

import pytest
import torch

from benchmarks.official_code import CLIP_FILE, ERR_FILE, USED, find_model, official_code, official_file
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


def test_fused_attention_is_that_of_xformers():
    q, k, v = torch.randn(3, 2, 5, 4, 8)
    weights = torch.einsum("blnc,bmnc->bnlm", q, k) * 0.3
    found = USED["memory_efficient_attention"](q, k, v, p=0.0, scale=0.3, attn_bias=None)
    assert torch.allclose(found, torch.einsum("bnlm,bmnc->blnc", weights.softmax(-1), v), atol=1e-6)
    causal = weights.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf).softmax(-1)
    found = USED["memory_efficient_attention"](q, k, v, p=0.0, scale=0.3, attn_bias=USED["LowerTriangularMask"]())
    assert torch.allclose(found, torch.einsum("bnlm,bmnc->blnc", causal, v), atol=1e-6)
