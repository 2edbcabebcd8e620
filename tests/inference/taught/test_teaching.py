"""Words taught by drawn images: they get better, others stay, and engines agree."""

import numpy as np
import pytest

import segvoc
from segvoc.errors import UsageError
from segvoc.inference import job
from segvoc.inference.taught import learning
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.models.digests import model_record
from segvoc.models.network_segmenter import NetworkSegmenter
from tests.inference.small_network import small_segmenter
from tests.inference.taught.drawn_examples import UNLABELED, DrawnExamples, drawn_examples


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """Enough for drawn colors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "STEPS", 20)
        yield


@pytest.fixture(scope="module")
def model() -> NetworkSegmenter:
    return small_segmenter()


@pytest.fixture(scope="module")
def taught(model: NetworkSegmenter) -> TaughtWords:
    return segvoc.teach(model, drawn_examples(6))


def unlabeled() -> DrawnExamples:
    examples = drawn_examples(3)
    for labels in examples.labels:
        labels[:] = UNLABELED
    return examples


def right(model: NetworkSegmenter, examples: DrawnExamples) -> float:
    """The share of pixels that get their word."""
    pairs = [
        (model.segment(image, examples.vocabulary).labels, labels)
        for image, labels in zip(examples.images, examples.labels, strict=True)
    ]
    return float(np.mean([(found == labels).mean() for found, labels in pairs]))


def test_examples_make_words_better(model, taught):
    unseen = drawn_examples(9)
    assert right(model.with_taught(taught), unseen) > 0.9 > right(model, unseen) + 0.2
    record = taught.record
    assert record.accuracy > record.accuracy_before
    assert [word.name for word in record.words] == ["grass", "sky", "brick"]
    drawn = drawn_examples(6).labels
    assert [word.pixels for word in record.words] == [sum((one == index).sum() for one in drawn) for index in range(3)]


def test_every_task_reports_its_progress_from_the_start(model):
    steps: list[tuple[str, int, int]] = []
    segvoc.teach(model, drawn_examples(3), on_step=lambda *step: steps.append(step))
    assert steps[0] == ("finding regions", 0, 3)
    tasks = list(dict.fromkeys(what for what, _, _ in steps))
    assert {"reading images", "fitting classifiers"} <= set(tasks)
    for task in tasks:
        done = [number for what, number, _ in steps if what == task]
        assert done == list(range(len(done))) and done[-1] <= next(total for what, _, total in steps if what == task)


def test_untaught_words_keep_their_logits(model, taught, monkeypatch):
    monkeypatch.setattr(job, "softmax_logits", lambda logits, _: logits)
    image, words = drawn_examples(1).images[0], ["cup", "grass", "spoon", "sky"]
    one, other = (each.segment(image, words, return_probabilities=True) for each in (model, model.with_taught(taught)))
    assert np.array_equal(one.probabilities[[0, 2]], other.probabilities[[0, 2]])
    assert not np.array_equal(one.probabilities[1], other.probabilities[1])


def test_the_original_is_unchanged_and_weights_are_shared(model, taught):
    other = model.with_taught(taught)
    assert model.taught == () and other.network is model.network
    assert model_record(other) != model_record(model)
    assert other.with_taught(taught).taught == (taught, taught)


def test_same_examples_give_the_same_bytes(model, taught, tmp_path):
    again = segvoc.teach(model, drawn_examples(6))
    for number, one in enumerate((taught, again)):
        one.save(tmp_path / str(number))
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()
    loaded = TaughtWords.load(tmp_path / "0")
    assert loaded.digest == taught.digest and loaded.record == taught.record
    assert taught.record.temperature != 1


def test_words_that_get_worse_keep_their_text_unless_asked(model):
    examples = drawn_examples(4)
    for number, labels in enumerate(examples.labels):  # a color is another word in every image
        labels[:] = (labels + number) % 3
    careful, everything = (segvoc.teach(model, examples, **way).record for way in ({}, {"keep_worse": True}))
    assert careful.miou + careful.accuracy >= careful.miou_before + careful.accuracy_before
    assert [any(word.keeps_text for word in record.words) for record in (careful, everything)] == [True, False]


def test_word_of_a_single_image_is_trusted_by_half(model, monkeypatch):
    examples = drawn_examples(4)
    for labels in examples.labels[1:]:
        labels[labels == 2] = UNLABELED
    examples.labels[0][:32, :32] = 2
    half = segvoc.teach(model, examples, keep_worse=True)
    assert [word.images for word in half.record.words][2] == 1 < min(word.images for word in half.record.words[:2])
    monkeypatch.setattr(learning, "SINGLE_IMAGE", 1.0)
    whole = segvoc.teach(model, examples, keep_worse=True)
    for one, other in ((half.weights, whole.weights), (half.bias, whole.bias)):
        assert np.abs(other[2]).max() > 0
        np.testing.assert_allclose(one[2], other[2] / 2, rtol=1e-2, atol=1e-6)
        np.testing.assert_array_equal(one[:2], other[:2])


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        (drawn_examples(0), "there are no images"),
        (drawn_examples(1), "only one image has labels"),
        (drawn_examples(4, words=1), "only 'grass' has labeled pixels"),
        (unlabeled(), "none of the 3 images has a labeled pixel"),
    ],
)
def test_what_cannot_be_learned_from(model, examples, said):
    with pytest.raises(UsageError, match=said):
        segvoc.teach(model, examples)
