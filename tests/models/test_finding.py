"""Folders of transformers as models and as weights: whole, with their activation; runs by their folder."""

import json
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

import segvoc
from segvoc.checkpoints.files import read_weights
from segvoc.errors import CheckpointError, UsageError
from segvoc.models.presets import PRESETS
from segvoc.models.resolving import resolve
from segvoc.models.shipped import copy_tiny
from segvoc.networks.clip_network import ClipNetworkConfig, OpenAIEncoders
from tests.images import one_line_error
from tests.official_checkpoints import small_preset
from tests.transformers_models import small_clipseg, weights_of


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small networks in the table of presets, and an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRESETS, "clip-b", small_preset("clip-b"))
    clipseg = replace(PRESETS["clipseg"], build=lambda configuration: small_clipseg("refined", configuration.pixels))
    monkeypatch.setitem(PRESETS, "clipseg", clipseg)


def saved(folder: str, tensors: dict[str, torch.Tensor], config: dict, kind: str = "safetensors") -> Path:
    path = Path(folder)
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    if kind == "safetensors":
        save_file({key: value.contiguous() for key, value in tensors.items()}, path / "model.safetensors")
    else:
        torch.save(tensors, path / "pytorch_model.bin")
    return path


def test_a_folder_of_clipseg_is_a_model_as_safetensors_and_as_pickle():
    config = {"model_type": "clipseg", "use_complex_transposed_convolution": True}
    states = []
    for kind in ("safetensors", "bin"):
        folder = saved(f"saved_{kind}", weights_of("clipseg_refined"), config, kind)
        model = segvoc.load(folder, device="cpu")
        assert model.name == str(folder) and model.origin["preset"] == "clipseg"
        given = segvoc.load("clipseg", weights=folder, device="cpu")
        states += [model.network.state_dict(), given.network.state_dict()]
    assert all(torch.equal(value, state[key]) for state in states for key, value in states[0].items())


def test_what_a_folder_lacks_is_told(tmp_path):
    folder = saved("saved", weights_of("clipseg_refined"), {"model_type": "clipseg"})
    with one_line_error(UsageError, "has its own weights", "give one of them"):
        segvoc.load(folder, weights="model.safetensors")
    (folder / "model.safetensors").unlink()
    with one_line_error(CheckpointError, "is a folder; name the file", "none of model.safetensors, pytorch_model.bin"):
        read_weights(folder)
    with one_line_error(CheckpointError, "'saved' has none of model.safetensors, pytorch_model.bin"):
        segvoc.load(folder)


def test_a_run_is_a_model_by_its_folder_once_it_is_finished():
    folder = Path("run")
    folder.mkdir()
    (folder / "config.json").write_text('{"recipe": {}}')
    with one_line_error(CheckpointError, "isn't finished", "--resume"):
        segvoc.load("run")
    model = segvoc.load("clip-b", weights="random", device="cpu")
    segvoc.save(model, folder / "model.safetensors")
    assert segvoc.load("run", device="cpu").name == "run"
    Path("clip-b").mkdir()
    assert segvoc.load("clip-b", weights="random", device="cpu").name == "clip-b"  # the preset, not the folder
    with one_line_error(CheckpointError, "'./clip-b' holds files (nothing), no model of segvoc"):
        segvoc.load("./clip-b")


def test_an_exported_folder_only_labels_images():
    Path("exported").mkdir()
    copy_tiny(Path("exported"))
    assert isinstance(segvoc.load("exported"), segvoc.ExportedSegmenter)
    for function in (segvoc.load_network, segvoc.recipes.finetune):
        with one_line_error(UsageError, "'exported' is an exported model", "name the preset, file or run"):
            function("exported")
    for name in ("exported", "clip-b"):
        with one_line_error(UsageError, "optimize is 'nonsense'; give 'auto' or 'none' or 'compile'"):
            segvoc.load(name, optimize="nonsense")  # type: ignore[arg-type]


@pytest.mark.parametrize(("act", "activation"), [("gelu", "gelu"), ("quick_gelu", "quick_gelu"), (None, "quick_gelu")])
def test_the_activation_of_a_clip_is_known(act: str | None, activation: str) -> None:
    known = PRESETS["clip-b"].configuration
    assert isinstance(known, ClipNetworkConfig)
    vit = known.encoder.vit
    size = {"hidden_size": vit.width, "patch_size": vit.patch_size, "image_size": vit.pretrained_size}
    vision = size | ({} if act is None else {"hidden_act": act})
    saved("clip", {"logit_scale": torch.zeros(1)}, {"model_type": "clip", "vision_config": vision})
    spec = resolve("clip")
    configuration = spec.configuration or PRESETS["clip-b"].configuration
    assert (spec.preset, spec.source, spec.path) == ("clip-b", "file", "clip")
    assert isinstance(configuration, ClipNetworkConfig) and isinstance(configuration.encoder, OpenAIEncoders)
    assert configuration.encoder.activation == activation


SIGLIP = {"model_type": "siglip", "vision_config": {"model_type": "siglip_vision_model"}}


def test_a_siglip_of_transformers_is_known_by_its_sizes() -> None:
    folder = saved("siglip", {"logit_bias": torch.zeros(1)}, SIGLIP | {"text_config": {"vocab_size": 256000}})
    spec = resolve("siglip")
    assert (spec.preset, spec.path) == ("siglip2-b", str(folder))
    saved("first", {"logit_bias": torch.zeros(1)}, SIGLIP)
    with one_line_error(CheckpointError, "a SigLIP with 768 channels", "32000 tokens", "take a SigLIP 2"):
        resolve("first")


@pytest.mark.parametrize(
    ("model", "preset"), [("ViT-L-16-SigLIP2-512", "siglip2-l"), ("PE-Core-B-16", "pe-core-b"), ("ViT-B-16", None)]
)
def test_a_clip_of_open_clip_is_known_by_its_architecture(model: str, preset: str | None) -> None:
    folder = Path("open")
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": open_clip.get_model_config(model)}))
    torch.save({"logit_scale": torch.zeros(1)}, folder / "open_clip_pytorch_model.bin")
    if preset is None:
        with one_line_error(CheckpointError, "'open' holds files", "no model of segvoc"):
            resolve("open")
    else:
        spec = resolve("open")
        assert (spec.preset, spec.path) == (preset, "open")
