"""The queue and its batches: order, room, time, and places that are given back."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from segvoc.imaging.color_profiles import Colors
from segvoc.inference.label_options import LabelOptions
from segvoc.serving.answers import ServiceFailure
from segvoc.serving.image_cache import ImageCache
from segvoc.serving.labeler import BATCHES, Labeler, LabelQuery, PixelBudget, UploadedImage
from segvoc.serving.middleware import ServiceMetrics
from segvoc.serving.settings import ServiceSettings
from segvoc.vocabulary import Vocabulary
from tests.inference.numpy_engine import NumpySegmenter
from tests.serving.services import GatedSegmenter, drawn_image, png


def work(
    seed: int = 0,
    words: str = "cat, wall",
    answer: Any = lambda result, words: result,
    size: tuple[int, int] = (48, 64),
    **options: Any,
) -> Any:
    image = UploadedImage.read(io.BytesIO(png(drawn_image(seed, size))), max_pixels=10**6)
    return image, LabelQuery(Vocabulary(words), None, LabelOptions(**options)), answer


def run(
    scenario: Callable[[Labeler], Awaitable[None]], model: NumpySegmenter | None = None, **settings: Any
) -> ServiceMetrics:
    metrics = ServiceMetrics()

    async def with_labeler() -> None:
        chosen = ServiceSettings(**settings)
        budget = PixelBudget(chosen.max_pixels, ImageCache(chosen.image_cache * 10**6, metrics))
        labeler = Labeler(model or NumpySegmenter(), chosen, metrics, budget)
        await labeler.start()
        try:
            await asyncio.wait_for(scenario(labeler), 300)
        finally:
            if isinstance(model, GatedSegmenter):
                model.gate.set()
            await labeler.stop()

    asyncio.run(with_labeler())
    return metrics


async def crowd(labeler: Labeler, waiting: int) -> list[asyncio.Task[Any]]:
    """Callers whose work keeps a model busy whose gate is closed, the last ones of which wait in the queue."""
    tasks: list[asyncio.Task[Any]] = []
    for number in range(BATCHES + waiting):
        tasks.append(asyncio.create_task(labeler.label(*work(number))))
        left = max(0, number + 1 - BATCHES)
        await asyncio.sleep(0.01)
        while len(labeler._waiting) != left:
            assert not any(task.done() for task in tasks)
            await asyncio.sleep(0.01)
    return tasks


def test_equal_requests_go_through_the_network_together_and_the_callers_model_stays_as_it_is():
    model = GatedSegmenter()
    batch = model.batch

    async def scenario(labeler: Labeler) -> None:
        model.sizes.clear()
        works = [work(0), work(1), work(2, "dog"), work(3), work(4, threshold=0.5), work(5), work(6)]
        await asyncio.gather(*(labeler.label(*arguments) for arguments in works))
        assert model.sizes == [4, 1, 1, 1]  # no more than four at a time

    metrics = run(scenario, model, batch=4, batch_wait=0.2)
    names, labels = ("batch_size_sum", "batch_size_count", "queue"), {"model": model.name}
    assert [metrics.registry.get_sample_value(f"segvoc_{name}", labels) for name in names] == [7, 4, 0]
    assert model.batch == batch != 4


def test_only_so_many_pixels_are_decoded_at_a_time():
    model = GatedSegmenter()
    held: list[None] = []
    peaks: list[int] = []

    class CountedImage(UploadedImage):
        def decoded(self, options: LabelOptions, colors: Colors) -> Any:
            held.append(None)
            peaks.append(len(held))
            return super().decoded(options, colors)

    async def scenario(labeler: Labeler) -> None:
        def answer(result: Any, words: Any) -> Any:
            held.pop()
            return result

        def label(seed: int, *size: int) -> Any:
            image, query, _ = work(seed, size=size)
            return labeler.label(CountedImage(**vars(image)), query, answer)

        model.sizes.clear()
        await asyncio.gather(*(label(seed, 5, 10) for seed in range(6)))
        assert (max(peaks), model.sizes) == (2, [2, 2, 2])
        peaks.clear()
        await asyncio.gather(label(9, 20, 50), *(label(seed, 10, 10) for seed in range(3)))  # a larger one takes all
        assert max(peaks) == 1

    run(scenario, model, batch=4, batch_wait=0.2, max_pixels=100)


def test_equal_images_of_a_batch_are_labeled_once_and_answered_each():
    model = GatedSegmenter()

    async def scenario(labeler: Labeler) -> None:
        model.sizes.clear()
        works = [
            work(seed, answer=lambda result, _, number=number: (number, result))
            for number, seed in enumerate([0, 1, 0])
        ]
        (first, one), (second, other), (third, same) = await asyncio.gather(
            *(labeler.label(*arguments) for arguments in works)
        )
        assert (model.sizes, first, second, third) == ([2], 0, 1, 2)
        np.testing.assert_array_equal(one.labels, same.labels)
        assert (one.labels != other.labels).any()

    run(scenario, model, batch=4, batch_wait=0.2)


@pytest.mark.parametrize(
    ("settings", "waiting", "status", "said", "seconds"),
    [
        ({"queue": 2}, 2, 429, "2 requests are waiting", 10),  # half of 2 + 3 images of 4 s
        ({"queue_seconds": 0.1}, 0, 503, r"timed out in the queue after 0\.1 s", 6),
    ],
    ids=["full", "too long"],
)
def test_a_queue_that_is_full_or_takes_too_long_says_when_to_come_back(settings, waiting, status, said, seconds):
    model = GatedSegmenter()

    async def scenario(labeler: Labeler) -> None:
        labeler._seconds_per_image = 4.0
        model.gate.clear()
        tasks = await crowd(labeler, waiting)
        with pytest.raises(ServiceFailure, match=said) as refused:
            await labeler.label(*work(9))
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (status, str(seconds))
        model.gate.set()
        assert len(await asyncio.gather(*tasks)) == BATCHES + waiting

    run(scenario, model, **settings)


def test_an_output_that_is_not_finite_is_no_fault_of_the_caller():
    model = NumpySegmenter()

    async def scenario(labeler: Labeler) -> None:
        model.colors = model.colors * np.float32(np.nan)
        with pytest.raises(RuntimeError, match="not finite"):
            await labeler.label(*work())

    run(scenario, model)


def test_an_answer_that_cannot_be_made_fails_alone():
    def unanswerable(result: object, hints: object) -> None:
        raise RuntimeError("inside")

    async def scenario(labeler: Labeler) -> None:
        calls = labeler.label(*work()), labeler.label(*work(answer=unanswerable))
        good, failed = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(failed, RuntimeError) and good.labels.size

    run(scenario, batch=4, batch_wait=0.1)


def test_what_waits_at_the_end_is_told_so():
    model = GatedSegmenter()

    async def scenario(labeler: Labeler) -> None:
        model.gate.clear()
        tasks = await crowd(labeler, 1)
        stopping = asyncio.create_task(labeler.stop())
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert {getattr(one, "status", 0) for one in found} == {503}
        model.gate.set()
        await stopping

    run(scenario, model)
