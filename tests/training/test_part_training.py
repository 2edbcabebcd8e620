"""Networks of parts and of timm's encoders in the ordinary loop."""

from pathlib import Path

import pytest
import torch

from segvoc.data.labeled_images import LabeledImages
from segvoc.errors import UsageError
from segvoc.inference.protocols import Protocol
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.part_cat_seg import PART_CAT_SEG, PCA_PART
from segvoc.training.objectives import PartObjective
from segvoc.training.run_folder import RunFolder
from tests.timm_clips import ALL, small_network_on
from tests.training.runs import RECIPE, drawn_images, open_run
from tests.training.small_runs import drawn_parts, open_parts, part_network


@pytest.fixture
def images(tmp_path: Path) -> LabeledImages:
    return drawn_parts(tmp_path / "set")


TERMS = {"loss", "segmentation", "specific", "part", "object", "compositional"}


@pytest.mark.slow
@pytest.mark.parametrize(("config", "loss"), [(PART_CAT_SEG, "released"), (PCA_PART, "competing")])
def test_the_loss_falls_and_every_term_is_told(images, tmp_path, config, loss):
    changes = {"steps": 60, "batch_size": 2, "lr": 5e-3, "max_grad_norm": 1.0, "loss": loss}
    training = open_parts(images, tmp_path / "run", config, fod_weight=0.01 * (config is PCA_PART), **changes)
    training.run()
    lines = RunFolder(tmp_path / "run").read_lines("metrics.jsonl")
    told = {name for name in lines[0] if name in TERMS or name.startswith(("fod", "cosine"))}
    assert told == TERMS | ({"fod", "fod_1", "fod_2", "cosine_1", "cosine_2"} if config is PCA_PART else set())
    for line in lines[:3]:
        parts = sum(line[name] for name in TERMS - {"loss", "segmentation"})
        assert line["segmentation"] == pytest.approx(parts, rel=1e-4)
        assert line["loss"] == pytest.approx(line["segmentation"] + line.get("fod", 0), rel=1e-4)
    first, last = (sum(line["segmentation"] for line in part) / 5 for part in (lines[:5], lines[-5:]))
    assert last < 0.95 * first


def test_its_own_rule_takes_the_background(images, tmp_path):
    """A network that has learned where no part is needs no threshold; with one, that counts."""
    training = open_parts(images, tmp_path / "run", PART_CAT_SEG, steps=1)
    training.run()
    own = NetworkSegmenter(
        name="own", network=training.network, protocols={"auto": Protocol(size=64)}, templates=("{}",)
    )
    image = images.read(0).image
    with torch.no_grad():
        training.network.aggregation.none.fill_(1)
    result = own.segment(image, images.vocabulary, background="ground", return_probabilities=True)
    assert result.words == images.vocabulary.words
    assert (result.probabilities.argmax(0) == result.labels).all()
    never = own.segment(image, images.vocabulary, background="ground", threshold=0.0)
    assert not (never.labels == 0).any()
    added = own.segment(image, ["sign's red disc", "sign's blue disc"], background="nothing")
    assert added.words == ("sign's red disc", "sign's blue disc", "nothing")


@pytest.mark.parametrize("changes", [{"num_sampled_classes": 2}, {"num_kept_classes": 2}])
def test_what_it_can_not_do_is_refused(changes):
    with pytest.raises(UsageError, match="at 0"):
        PartObjective(part_network(PART_CAT_SEG), RECIPE.with_settings(**changes))


def test_classes_without_any_part_are_refused(images, tmp_path):
    plain = LabeledImages.from_folders(tmp_path / "set/images", tmp_path / "set/labels", tmp_path / "set/classes.json")
    with pytest.raises(UsageError, match="none of the classes is a part of an object"):
        open_parts(plain, tmp_path / "run", PART_CAT_SEG).run()


@pytest.mark.parametrize(
    "family", [pytest.param(family, marks=pytest.mark.slow if place else ()) for place, family in enumerate(ALL)]
)
def test_what_is_published_as_fine_tuned_learns_and_nothing_else_of_an_encoder(family: str, tmp_path: Path) -> None:
    network, before = small_network_on(family), small_network_on(family).state_dict()
    images, changes = drawn_images(tmp_path / "data", 3), {"steps": 2, "batch_size": 2, "fod_weight": 0.0}
    changes |= {"crop_size": 64, "short_sides": (64,), "trainable": "published", "trainable_encoders": "both"}
    open_run(images, tmp_path / "run", network=network, **changes).run()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    tuned = {f"image_encoder.{name}" for name in network.image_encoder.fine_tuned_parameters()}
    assert {name for name in changed if name.startswith("image_encoder.")} == tuned
