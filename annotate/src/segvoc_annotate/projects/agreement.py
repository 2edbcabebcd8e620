"""How well two people agree on the same images: by word, by image, and where they differ."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int64, UInt8, UInt16
from PIL import Image

from segvoc import SegvocError, UsageError
from segvoc.imaging.label_maps import label_table
from segvoc.imaging.reading import read_image
from segvoc.storage.atomic_writes import write_atomically
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.records import DOCUMENTED, ImageState, NotInProjectError

DIFFERENT = (230, 0, 40)
"""RGB of pixels that differ, in a map of differences."""


@dataclass(frozen=True, kw_only=True)
class PairAgreement:
    """The labels of two people for an image."""

    __pydantic_config__: ClassVar = DOCUMENTED

    image: str
    other: str
    """The second image: a copy of the first one, or the image of this name in another project."""
    by: tuple[str, str]
    """Who labeled them (`Index.labelers`), whoever they are assigned to."""
    same: float
    """Share of the pixels with the same label, in [0, 1]."""
    miou: float | None
    """Mean IoU of the words that one of them uses, in [0, 1]; None without such words."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The agreement of two people on all images that both have labeled."""

    __pydantic_config__: ClassVar = DOCUMENTED

    pairs: tuple[PairAgreement, ...]
    """The worst first."""
    same: float | None
    """Share of all pixels with the same label, in [0, 1]; None without images."""
    miou: float | None
    """Mean over the words, in [0, 1]."""
    words: Mapping[str, float | None]
    """IoU of each word over all images, in [0, 1]; None if nobody uses it."""
    problems: tuple[str, ...] = ()
    """A line for each pair that can't be compared."""


@dataclass(frozen=True)
class _Side:
    """An image of a project."""

    project: ProjectFolder
    state: ImageState
    by: str = ""

    @property
    def name(self) -> str:
        return self.state.image

    def labels(self, words: Mapping[str, int]) -> UInt16[np.ndarray, "H W"]:
        """The place of each pixel's word; `len(words)`: unlabeled, or a removed word."""
        record = self.project.record
        places = {word: words[record.present[place].name] for word, place in record.places.items()}
        labels = label_table(places)[self.project.work(self.name)[1].labels]
        return np.minimum(labels, np.uint16(len(words)))


def agreement(
    project: ProjectFolder,
    other: ProjectFolder | None = None,
    *,
    only_done: bool = True,
    on_step: Callable[[int, int], None] = lambda *_: None,
) -> Agreement:
    """Compare images with their copies for a second person, or the images of two projects that have the same names.

    Args:
        project: the project.
        other: another project, whose words are compared by name; None: the project's own copies.
        only_done: whether to compare images that are done, or all that are labeled.
        on_step: called with the number of pairs so far and of all.

    Raises:
        UsageError: there are no such images.
    """
    pairs = list(_pairs(project, other, only_done=only_done))
    if not pairs:
        what = "done" if only_done else "labeled"
        raise UsageError(
            f"no image is {what} by two people; add copies for a second person: "
            "segvoc project assign DIR --copies --to NAME"
        )
    number = count(1)
    return _agreement(pairs, _words(project, other), lambda: on_step(next(number), len(pairs)))


def gold_scores(
    project: ProjectFolder, *, on_step: Callable[[int, int], None] = lambda *_: None
) -> dict[str, Agreement]:
    """How well each person agrees with the gold set: the images that are accepted, of which people labeled copies.

    Only copies that are done count, for who labeled them. `on_step`: see `agreement`.
    """
    found = defaultdict[str, list[tuple[_Side, _Side]]](list)
    for original, copy in _pairs(project, None, only_done=True):
        if original.state.review is not None and original.state.review.verdict == "accepted":
            found[copy.by].append((original, copy))
    words, number, total = _words(project, None), count(1), sum(map(len, found.values()))
    return {by: _agreement(pairs, words, lambda: on_step(next(number), total)) for by, pairs in found.items()}


def _agreement(
    pairs: Sequence[tuple[_Side, _Side]], words: Mapping[str, int], on_pair: Callable[[], None]
) -> Agreement:
    total, found, problems = np.zeros((len(words) + 1,) * 2, np.int64), list[PairAgreement](), list[str]()
    for first, second in pairs:
        try:
            counts = _counts(first, second, words)
        except SegvocError as error:
            problems.append(str(error))
            continue
        finally:
            on_pair()
        total += counts
        by = first.by, second.by
        same, miou = _same(counts), _mean(_ious(counts))
        found.append(PairAgreement(image=first.name, other=second.name, by=by, same=same, miou=miou))
    ious = _ious(total)
    shown = {name: None if np.isnan(iou) else float(iou) for name, iou in zip(words, ious, strict=True)}
    return Agreement(
        pairs=tuple(sorted(found, key=lambda pair: pair.same)),
        same=_same(total) if found else None,
        miou=_mean(ious),
        words=shown,
        problems=tuple(problems),
    )


def difference_map(project: ProjectFolder, name: str, other: ProjectFolder | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """The photograph in gray, with the pixels where an image and its other version differ in red.

    `name` is that of a copy, or of the image in both projects. `NotInProjectError` if it has no other version;
    `UsageError` if their sizes differ.
    """
    second = other or project
    state = second.state(second.image(name))
    original = name if other is not None else project.index.name_of(state.copy_of or "")
    if original is None:
        raise NotInProjectError(f"{name[:80]!r} is no copy of an image for a second person")
    image = project.image(original)
    words = _words(project, other)
    pixels = read_image(image.path)
    gray = np.asarray(Image.fromarray(pixels).convert("L"))
    shown = (gray // 2 + 96)[..., None].repeat(3, axis=2)
    one, two = _compared(_Side(project, project.state(image)), _Side(second, state), words)
    shown[one != two] = DIFFERENT
    return shown


def write_differences(found: Agreement, folder: Path, project: ProjectFolder, other: ProjectFolder | None) -> None:
    """Write the map of differences of each pair, `NAME.png`; `OutputError` if the folder can't be written."""
    for pair in found.pairs:
        image = Image.fromarray(difference_map(project, pair.other, other))
        write_atomically(folder / f"{pair.other}.png", lambda file, image=image: image.save(file, "PNG"))


def _pairs(project: ProjectFolder, other: ProjectFolder | None, *, only_done: bool) -> Iterator[tuple[_Side, _Side]]:
    def labeled(folder: ProjectFolder) -> dict[str, _Side]:
        states = [state for state in folder.states()[0] if state.revision and (state.done or not only_done)]
        by = folder.index.labelers()
        return {state.image: _Side(folder, state, by.get(state.id) or state.by or "") for state in states}

    sides = labeled(project)
    if other is not None:
        others = labeled(other)
        yield from ((sides[name], others[name]) for name in sorted(sides.keys() & others.keys()))
        return
    originals = {side.state.id: side for side in sides.values()}
    for copy in sides.values():
        if copy.state.copy_of in originals:
            yield originals[copy.state.copy_of], copy


def _words(project: ProjectFolder, other: ProjectFolder | None) -> dict[str, int]:
    """The place of each word, by name."""
    projects = (project,) if other is None else (project, other)
    names = dict.fromkeys(word.name for one in projects for word in one.record.present)
    return {name: place for place, name in enumerate(names)}


def _compared(first: _Side, second: _Side, words: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    one, two = first.labels(words), second.labels(words)
    if one.shape != two.shape:
        raise UsageError(f"{first.name!r} and {second.name!r} differ in size; compare versions of the same image")
    return one, two


def _counts(first: _Side, second: _Side, words: Mapping[str, int]) -> Int64[np.ndarray, "K1 K1"]:
    """How many pixels have one label in the first and another in the second."""
    one, two = _compared(first, second, words)
    size = len(words) + 1
    return np.bincount((one.astype(np.int64) * size + two).ravel(), minlength=size**2).reshape(size, size)


def _ious(counts: Int64[np.ndarray, "K1 K1"]) -> Float64[np.ndarray, " K"]:
    """IoU of each word; NaN without pixels."""
    both = np.diag(counts)
    either = counts.sum(axis=0) + counts.sum(axis=1) - both
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)[:-1]


def _mean(ious: Float64[np.ndarray, " K"]) -> float | None:
    return None if np.isnan(ious).all() else float(np.nanmean(ious))


def _same(counts: Int64[np.ndarray, "K1 K1"]) -> float:
    return float(np.trace(counts) / counts.sum())
