"""How a network gets its initial weights: given, shipped, or fetched from a hub on loopback."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from segvoc.checkpoints.files import write_weights
from segvoc.checkpoints.published import PUBLISHED, UNCONFIRMED
from segvoc.encoders.clip_with_dino import ClipWithDino
from segvoc.errors import CheckpointError, UsageError
from segvoc.layers.cost_sum import NoAggregation
from segvoc.models.presets import PRESETS
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PART_CAT_SEG, part_segmentation_network
from segvoc.storage.files import SHIPPED
from segvoc.training.recipe import Recipe
from segvoc.training.recipes import RECIPES, finetune
from segvoc.training.start import Start, build
from tests.loopback_hub import LoopbackHub, use_hub, without_network
from tests.networks.golden_stages import tiny_network
from tests.official_checkpoints import official_weights, publish_tensors, use_small_published
from tests.transformers_models import in_memory, small_dino, small_towers, weights_of

pytestmark = pytest.mark.filterwarnings("ignore::segvoc.errors.ActivationWarning")  # weights without OpenAI's sizes

CLIP = "sem_seg_head.predictor.clip_model."
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def cache(hub: LoopbackHub, tmp_path: Path, monkeypatch: Patch) -> Path:
    use_hub(monkeypatch, tmp_path / "home", hub.url)
    return tmp_path / "home"


def test_a_paper_s_recipe_starts_from_fetched_encoders(hub: LoopbackHub, monkeypatch: Patch) -> None:
    encoders, *_ = use_small_published(hub, monkeypatch, "pca-seg-clip-b")
    released = official_weights("pca-seg-clip-b")[f"{CLIP}visual.conv1.weight"]
    recipe = RECIPES["pca-seg-clip-b"]().with_settings(crop_size=96)
    built, random = build(recipe, Start(), 0), build(recipe, Start(weights="random"), 0)
    assert built.started_from == (encoders.record(),) and random.started_from == ()
    assert built.started_from[0]["url"].endswith("/ViT-B-16.pt") and len(hub.transfers()) == 1
    states = [one.network.state_dict() for one in (built, random)]
    assert [torch.equal(one["image_encoder.tower.conv1.weight"], released) for one in states] == [True, False]
    heads = [{n: x for n, x in one.items() if n.startswith("aggregation.")} for one in states]
    torch.testing.assert_close(heads[0], heads[1], rtol=0, atol=0)
    without_network(monkeypatch)
    build(recipe, Start(), 0)


def test_fine_tuning_starts_from_the_published_network(hub: LoopbackHub, monkeypatch: Patch) -> None:
    encoders, network = use_small_published(hub, monkeypatch, "cat-seg-b")
    recipe = finetune("cat-seg-b").with_settings(crop_size=96)
    built = build(recipe, Start(), 0)
    assert built.started_from == (network.record(),)
    assert built.started_from[0]["revision"] == PUBLISHED["cat-seg-b"].record()["revision"]
    fresh = build(recipe.with_settings(["init_from=encoders"]), Start(), 0)
    assert fresh.started_from == (encoders.record(),)
    theirs, ours = (network.aggregation.state_dict() for network in (built.network, fresh.network))
    assert not all(torch.equal(theirs[name], ours[name]) for name in ours)


@pytest.mark.parametrize("known", [True, False])
def test_files_that_are_given_are_recorded_and_nothing_is_fetched(hub, monkeypatch, tmp_path, known):
    (encoders,) = use_small_published(hub, monkeypatch, "pca-seg-clip-b")
    (content,) = hub.files.values()
    (tmp_path / "own.pt").write_bytes(content)
    if not known:
        monkeypatch.setitem(PUBLISHED, "openai-clip-b", replace(encoders, sha256="0" * 64))
    own = {"filename": "own.pt", "sha256": hashlib.sha256(content).hexdigest()}
    recipe = RECIPES["pca-seg-clip-b"]().with_settings(crop_size=96)
    built = build(recipe, Start(encoder_weights=str(tmp_path / "own.pt")), 0)
    assert built.started_from == (encoders.record() if known else own,)
    assert hub.asked == []


def test_shipped_weights_are_recorded(hub: LoopbackHub) -> None:
    built = build(RECIPES["tiny"](), Start(), 0)
    assert [file["filename"] for file in built.started_from] == ["minilm_l6.safetensors", "tiny.safetensors"]
    digest = hashlib.sha256((SHIPPED / "tiny.safetensors").read_bytes()).hexdigest()
    assert built.started_from[1]["sha256"] == digest
    assert hub.asked == []


def part_network(seed: int = 0) -> SegmentationNetwork:
    torch.manual_seed(seed)
    clip, text = small_towers()
    tower = ClipWithDino(clip.config, dino=small_dino())
    return part_segmentation_network(replace(PART_CAT_SEG, kind="none"), tower, text)


def test_networks_of_parts_fetch_clip_and_dinov2(hub: LoopbackHub, monkeypatch: Patch) -> None:
    released = part_network(1)
    tower = released.image_encoder
    assert isinstance(tower, ClipWithDino)
    clip = {name.replace("tower.", "visual.", 1): value for name, value in tower.clip.state_dict().items()}
    clip |= {name.removeprefix("tower."): value for name, value in released.text_encoder.state_dict().items()}
    dino = {name.removeprefix("tower."): value for name, value in tower.dino.state_dict().items()}
    files = {"openai-clip-b": clip, "dinov2-s": dino}
    encoders = tuple(publish_tensors(hub, monkeypatch, name, tensors) for name, tensors in files.items())
    preset = replace(PRESETS["pca-part-b"], build=lambda _: part_network(), encoders=encoders)
    monkeypatch.setitem(PRESETS, "pca-part-b", preset)
    built = build(Recipe(model="pca-part-b").with_settings(crop_size=448), Start(), 0)
    assert built.started_from == tuple(file.record() for file in encoders)
    theirs, ours = tower.state_dict(), built.network.image_encoder.state_dict()
    assert theirs and all(torch.equal(theirs[name], ours[name]) for name in theirs)


@pytest.mark.parametrize(("recipe", "missing"), [("pca-seg-b", "declip-b"), ("err-seg-b", "convnext-clip-b")])
def test_encoders_that_are_not_confirmed_are_named_with_page_and_option(hub, monkeypatch, recipe, missing):
    preset = PRESETS[RECIPES[recipe]().model]
    monkeypatch.setitem(PRESETS, RECIPES[recipe]().model, replace(preset, build=lambda _: tiny_network("cat")))
    with pytest.raises(UsageError) as refusal:
        build(RECIPES[recipe](), Start(), 0)
    (line,) = str(refusal.value).splitlines()
    assert UNCONFIRMED[missing].page in line and "--encoder-weights" in line and "--weights random" in line
    assert hub.asked == []


def test_a_crop_that_does_not_fit_is_refused_before_anything_is_fetched(hub: LoopbackHub, monkeypatch: Patch) -> None:
    use_small_published(hub, monkeypatch, "pca-seg-clip-b")
    with pytest.raises(UsageError, match="crop_size=97 does not divide"):
        build(RECIPES["pca-seg-clip-b"]().with_settings(crop_size=97), Start(), 0)
    assert hub.asked == []


PARTS = RECIPES["part-cat-seg-b"]()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clip").mkdir()
    save_file(weights_of("clip"), "clip/model.safetensors")
    save_file(weights_of("dinov2"), "dinov2.safetensors")
    torch.save({"state_dict": in_memory(weights_of("dinov2"), "dinov2")}, "dinov2.pth")


def started(network: SegmentationNetwork, encoder_weights: str) -> dict[str, Tensor]:
    preset = replace(PRESETS["part-cat-seg-b"], build=lambda _: network)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "part-cat-seg-b", preset)
        build(PARTS, Start(encoder_weights=encoder_weights), 0)
    return {name: value for name, value in network.state_dict().items() if not name.startswith("aggregation.")}


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("dino", ["dinov2.safetensors", "dinov2.pth"])
def test_a_network_of_parts_starts_from_two_files_of_transformers(dino):
    network = part_network()
    assert isinstance(network.aggregation, NoAggregation)
    state = started(network, f"clip/model.safetensors,{dino}")
    clip, guide = weights_of("clip"), weights_of("dinov2")
    expected = {
        "image_encoder.clip.tower.proj": clip["visual_projection.weight"].T,
        "image_encoder.dino.tower.pos_embed": guide["embeddings.position_embeddings"],
        "text_encoder.tower.text_projection": clip["text_projection.weight"].T,
    }
    for name, value in expected.items():
        assert torch.equal(state[name], value)


@pytest.mark.usefixtures("files")
def test_one_file_is_told_with_the_mend():
    with pytest.raises(CheckpointError, match=r"two kinds.*--encoder-weights"):
        started(part_network(), "clip/model.safetensors")
    with pytest.raises(CheckpointError, match="does not exist"):
        started(part_network(), "run/model.safetensors")
    with pytest.raises(UsageError, match="names one file"):
        started(part_network(), "clip.pt")


@pytest.mark.usefixtures("files")
def test_a_file_of_segvoc_has_both_and_stands_alone():
    first = part_network()
    state = {name: value + 1 if value.is_floating_point() else value for name, value in first.state_dict().items()}
    write_weights("run,1.safetensors", state, "part-cat-seg-b")
    after = started(part_network(), "run,1.safetensors")
    assert all(torch.equal(value, state[name]) for name, value in after.items())
    with pytest.raises(UsageError, match="holds all encoders; give only this file"):
        Path("run,1.safetensors").rename("run.safetensors")
        started(part_network(), "run.safetensors,dinov2.pth")
