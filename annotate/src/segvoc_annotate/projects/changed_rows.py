"""Rows of a large image that changed, put into its stored work without decoding the rest."""

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from segvoc import UsageError
from segvoc.imaging.label_maps import UNLABELED, UNLABELED_8_BIT
from segvoc_annotate.projects.png_bands import BandedPng
from segvoc_annotate.projects.records import ImageState, ProjectRecord
from segvoc_annotate.projects.work_files import (
    CORRECTIONS_ENTRY,
    LABELS_ENTRY,
    OBJECTS_ENTRY,
    PackedWork,
    bands_of,
    by_word,
    check_ids,
    counts_of,
    plane_of,
    received_files,
    with_merged,
    work_of,
)


def received_rows(
    file: BinaryIO | io.BytesIO,
    stored: PackedWork,
    rows: tuple[int, int],
    record: ProjectRecord,
) -> PackedWork:
    """Put rows, first and end, of an untrusted work file into a stored one with its state; see `received`.

    What its state says of where the model doubts is taken over, and pixels are counted where they changed.
    """
    top, bottom = rows
    state = stored.state
    if not 0 <= top < bottom <= state.height:
        raise UsageError(f"rows={top}-{bottom} are no rows of an image that is {state.height} pixels high")
    size = bottom - top, state.width
    sent, facts = received_files(file, size)
    if strange := sent.keys() - {LABELS_ENTRY, CORRECTIONS_ENTRY} or OBJECTS_ENTRY in stored.planes:
        raise UsageError(
            f"rows can't be sent with {strange if strange is True else min(strange)!r}; send the whole image"
        )
    work, colors = work_of(sent, size, facts), record.colors
    check_ids(work, colors)
    work = with_merged(work, record)
    corrections = np.zeros(size, np.uint16) if work.corrections is None else work.corrections
    is_8_bit = max(colors, default=0) < UNLABELED_8_BIT
    labels = _banded(stored.planes[LABELS_ENTRY], LABELS_ENTRY, state, is_8_bit=is_8_bit, colors=colors)
    before = labels.rows(top, bottom)
    if is_8_bit:
        before[before == UNLABELED_8_BIT] = UNLABELED
    decided = _banded(stored.planes.get(CORRECTIONS_ENTRY), CORRECTIONS_ENTRY, state)
    counts = counts_of(work.labels) - counts_of(before)
    words = sorted({*map(int, state.pixels), *np.flatnonzero(counts[:UNLABELED]).tolist()})
    pixels = {word: state.pixels.get(str(word), 0) + int(counts[word]) for word in words}
    corrected = np.count_nonzero(corrections) - np.count_nonzero(decided.rows(top, bottom))
    planes = {
        **stored.planes,
        LABELS_ENTRY: labels.with_rows(top, work.labels.astype(np.uint8 if is_8_bit else np.uint16)).encoded(),
        CORRECTIONS_ENTRY: decided.with_rows(top, corrections).encoded(),
    }
    made = replace(
        work.state(state.image),
        height=state.height,
        corrected=state.corrected + int(corrected),
        pixels=by_word({word: count for word, count in pixels.items() if count}),
        unlabeled=state.unlabeled + int(counts[UNLABELED]),
        uncertainty=facts["uncertainty"],
        least_certain=facts["least_certain"],
        objects=None,
    )
    return PackedWork(state=made, planes=planes)


def _banded(
    png: bytes | None,
    name: str,
    state: ImageState,
    *,
    is_8_bit: bool = False,
    colors: Mapping[int, tuple[int, int, int]] | None = None,
) -> BandedPng:
    """A stored map in bands, as which it is packed anew if it isn't; None: nothing is in it."""
    size = state.height, state.width
    known = None if png is None else BandedPng.read(png)
    if known is not None and known.is_8_bit == is_8_bit:
        return known
    values = np.zeros(size, np.uint16) if png is None else plane_of(name, png, size)
    return bands_of(values, colors if is_8_bit else None)
