"""Images are suggested by what they would teach: uncertain ones, and not the same twice."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from segvoc.errors import InputError, UsageError
from segvoc.inference.suggesting import Summarizer
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.teaching.suggesting import standardized, suggestions_of
from segvoc.teaching.uncertainty import (
    GRID,
    REGIONS,
    ImageSummary,
    cell_probabilities,
    connected,
    summary_of,
)
from tests.inference.small_network import small_segmenter
from tests.teaching.drawn_examples import drawn_examples

WORDS = ["grass", "sky", "brick"]


@pytest.fixture(scope="module")
def model() -> NetworkSegmenter:
    return small_segmenter()


def summary(name: str, seed: int, doubt: float = 0.5) -> ImageSummary:
    """That of an image of eight features, the same for a seed."""
    mean = np.random.default_rng(seed).normal(size=8).astype(np.float16)
    return ImageSummary(
        image=name,
        width=8,
        height=8,
        uncertainty=doubt,
        mean=mean,
        rms=np.sqrt(mean**2 + np.float16(1)).astype(np.float16),
        regions=(),
    )


def order(summaries: list[ImageSummary], count: int = 20) -> list[str]:
    found = suggestions_of(summaries, count, model="small", words=WORDS)
    assert [one.rank for one in found.suggestions] == list(range(1, len(found.suggestions) + 1))
    return [one.image for one in found.suggestions]


def test_a_near_duplicate_comes_after_all_others():
    one = summary("one", 1)
    again = ImageSummary(**{**vars(one), "image": "again", "mean": one.mean + np.float16(0.01)})
    found = order([one, again, *(summary(f"other {seed}", seed) for seed in range(2, 6))])
    assert len(found) == 6 and found[-1] in ("one", "again")


def test_a_certain_image_comes_after_uncertain_ones():
    found = order([summary("certain", 0, 0.02), *(summary(f"uncertain {seed}", seed, 0.6) for seed in range(1, 6))])
    assert found[-1] == "certain"


def test_the_farthest_image_is_next():
    places = {"middle": 0.0, "near": 1.0, "left": -8.0, "right": 7.0}
    shown = [
        replace(summary(name, 1), mean=np.array([at], np.float16), rms=np.array([9], np.float16))
        for name, at in places.items()
    ]
    found = suggestions_of(shown, 4, model="small", words=WORDS).suggestions
    assert [one.image for one in found] == ["middle", "left", "right", "near"]
    scale = 1 / standardized(shown)[1, 0]
    assert [one.distance * scale for one in found] == pytest.approx([0, 8, 7, 1], abs=1e-2)


def test_features_are_measured_in_standard_deviations_of_cells():
    cells = np.random.default_rng(0).normal([3, -5], [0.1, 20], size=(40, 50, 2))
    shown = [
        replace(
            summary("image", 1),
            mean=one.mean(axis=0).astype(np.float16),
            rms=np.sqrt((one**2).mean(axis=0)).astype(np.float16),
        )
        for one in cells
    ]
    ratio = standardized(shown)[0] / shown[0].mean
    assert 1 / ratio == pytest.approx(cells.reshape(-1, 2).std(axis=0), rel=0.2)


def test_images_without_any_uncertainty_are_ranked_too():
    assert sorted(order([summary("a", 1, 0.0), summary("b", 2, 0.0)])) == ["a", "b"]


def test_connected_cells():
    values = np.array([[1, 1, 2, 1], [3, 1, 2, 1], [1, 3, 1, 1]])
    inside = values != 3
    assert connected(values, inside).tolist() == [[1, 1, 2, 3], [0, 1, 2, 3], [4, 0, 3, 3]]


def test_probabilities_of_cells_are_means_of_those_of_finer_ones():
    logits = np.random.default_rng(0).normal(size=(1, 3, 2 * GRID, 3)).astype(np.float32)
    found = cell_probabilities(logits)
    exact = np.exp(logits[0]) / np.exp(logits[0]).sum(axis=0)
    assert found.shape == (3, GRID, 3)
    np.testing.assert_allclose(found, exact.reshape(3, GRID, 2, 3).mean(axis=2), rtol=1e-5)


def test_cells_count_by_their_uncertainty():
    logits = np.zeros((1, 3, 4, 8), np.float32)
    logits[0, 0, :, 4:] = 50  # the right half is sure
    features = {
        "map_0": np.concatenate([np.full((1, 2, 4, 4), 3.0), np.full((1, 2, 4, 4), -5.0)], axis=3, dtype=np.float32)
    }
    found = summary_of("photo", (4, 8), WORDS, logits, features)
    assert found.uncertainty == pytest.approx(0.5)
    assert found.mean == pytest.approx([3, 3], abs=0.02) and found.rms == pytest.approx([17**0.5] * 2, abs=0.01)


def test_regions_name_the_words_that_a_model_hesitates_between():
    logits = np.zeros((1, 3, 8, 8), np.float32)
    logits[0, 0] = 9  # grass for sure
    logits[0, 1, 2:4, 4:8] = 9.2  # sky or grass
    features = {"map_0": np.ones((1, 4, 8, 8), np.float32)}
    found = summary_of("photo", (80, 160), WORDS, logits, features)
    (region,) = found.regions
    assert (region.x, region.y, region.width, region.height) == (80, 20, 80, 20)
    assert region.words == ("sky", "grass")
    assert region.margin == pytest.approx(np.tanh(0.1), abs=1e-3)
    assert found.uncertainty == pytest.approx((1 - np.tanh(0.1)) / 8, abs=1e-3)


def test_a_model_suggests_images(model):
    images = drawn_examples(5).images
    names: list[tuple[int, int]] = []
    found = model.suggest(images, WORDS, count=3, on_image=lambda done, total: names.append((done, total)))
    assert names[-1] == (5, 5) and found.images == 5 and found.words == tuple(WORDS)
    assert len({one.image for one in found.suggestions}) == 3
    assert all(len(one.regions) <= REGIONS and one.distance >= 0 for one in found.suggestions)
    for one in found.suggestions:
        for region in one.regions:
            assert region.x + region.width <= one.width and region.y + region.height <= one.height
    again = model.suggest(images, WORDS, count=3)
    assert again == found
    assert len(model.suggest(images, WORDS, count=9).suggestions) == 5


def test_a_drawn_near_duplicate_comes_last(model):
    images = drawn_examples(4).images
    again = np.clip(images[1].astype(int) + 1, 0, 255).astype(np.uint8)
    found = [one.image for one in model.suggest([*images, again], WORDS).suggestions]
    assert found[-1] in ("image 2", "image 5")


def test_after_teaching_an_uncertain_image_comes_before_one_that_differs_a_little_more():
    near = replace(summary("uncertain", 1, 0.9), mean=np.array([5], np.float16), rms=np.array([9], np.float16))
    far = replace(summary("surer", 1, 0.5), mean=np.array([-6], np.float16), rms=np.array([9], np.float16))
    middle = replace(summary("middle", 1, 0.9), mean=np.array([0], np.float16), rms=np.array([9], np.float16))
    for taught, second in ((False, "surer"), (True, "uncertain")):
        found = suggestions_of([near, far, middle], 2, model="small", words=WORDS, taught=taught).suggestions
        assert [one.image for one in found] == ["middle", second]


def test_taught_words_change_what_is_uncertain(model):
    examples = drawn_examples(6)
    better = model.with_taught(model.teach(examples))
    before, after = (one.suggest(examples.images, WORDS) for one in (model, better))
    assert better.suggest(examples.images).words == tuple(WORDS)
    mean = [np.mean([one.uncertainty for one in found.suggestions]) for found in (before, after)]
    assert mean[1] < mean[0]


def test_what_cannot_be_suggested(model, tmp_path):
    image = drawn_examples(1).images[0]
    for images, words, count in (([], WORDS, 3), ([image], ["sky"], 3), ([image], None, 3), ([image], WORDS, 0)):
        with pytest.raises(UsageError):
            model.suggest(images, words, count=count)
    (bad := tmp_path / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(InputError):
        model.suggest([bad, image], WORDS)
    errors: list[InputError] = []
    assert model.suggest([bad, image], WORDS, on_error=errors.append).images == 1
    assert len(errors) == 1 and "bad.jpg" in str(errors[0])


def test_images_are_named_by_their_files(model, tmp_path):
    Image.fromarray(drawn_examples(1).images[0]).save(path := tmp_path / "a.png")
    assert [one.image for one in model.suggest([path], WORDS).suggestions] == [str(path)]


def test_a_summary_is_small(model):
    from segvoc.inference.read_ahead import ReadImage

    image = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    kept = Summarizer(model, WORDS)(ReadImage.of(image), "image")
    assert kept.mean.nbytes + kept.rms.nbytes <= 5000 and (kept.width, kept.height) == (1200, 900)
