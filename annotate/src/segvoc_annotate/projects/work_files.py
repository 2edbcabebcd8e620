"""The work file of an image: a zip of PNGs and the image's state, from which its other files are derived."""

import io
import json
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float32, UInt8, UInt16
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from segvoc import InputError, UsageError
from segvoc.errors import one_line
from segvoc.imaging.label_maps import (
    UNLABELED,
    UNLABELED_8_BIT,
    label_map_image,
    label_palette,
    label_table,
    labels_of,
    object_counts,
)
from segvoc.storage.files import strict_json
from segvoc.storage.records import field_value, from_json, to_json
from segvoc_annotate.projects.images import encoded
from segvoc_annotate.projects.png_bands import BANDED_PIXELS, BandedPng
from segvoc_annotate.projects.records import (
    LONGEST_ANSWERS,
    ImageState,
    PixelPlace,
    ProjectRecord,
    Source,
    damaged_file,
)

STATE_ENTRY, LABELS_ENTRY, DRAFT_ENTRY, CONFIDENCE_ENTRY, PARTS_ENTRY, CORRECTIONS_ENTRY, OBJECTS_ENTRY = (
    *("state.json", "labels.png", "draft.png", "confidence.png", "parts.png"),
    *("corrections.png", "objects.png"),
)
"""Files in the zip. Parts, which come with a draft, are opaque to the server and stored unchanged."""

DRAFT_PLANES = (DRAFT_ENTRY, CONFIDENCE_ENTRY, PARTS_ENTRY)
"""What the model found."""

_PLANES = (LABELS_ENTRY, DRAFT_ENTRY, CONFIDENCE_ENTRY, PARTS_ENTRY, CORRECTIONS_ENTRY, OBJECTS_ENTRY)
_STATE_BYTES = 1_000_000

_LISTED, _MOST_LISTED = b"PK\x01\x02", 100
"""Begins a file's entry in a zip's list; PNGs may have it by chance."""
_BLOCK = 262_144

UNDECIDED, NO_WORD, FIRST_WORD = 0, 1, 2
"""Values of corrections: uncorrected; word removed by a person; offset of ids."""

LOOSE = 0x8000
"""Added to corrections that give way to clicks, since whole regions got them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelWork:
    """The pixel data of an image."""

    labels: UInt16[np.ndarray, "H W"]
    """The id of each pixel's word; 65535: unlabeled."""
    draft: UInt16[np.ndarray, "h w"] | None = None
    """The model's labels: ids, 65535 for none; those of a large image may be smaller, as it was labeled."""
    confidence: UInt8[np.ndarray, "h w"] | None = None
    """Probability of the draft's word, scaled to 255."""
    corrections: UInt16[np.ndarray, "H W"] | None = None
    """Corrections: 0: none, 1: no word, id + 2: that word; `LOOSE` more where a whole region got it."""
    objects: UInt16[np.ndarray, "H W"] | None = None
    """The number of each pixel's object; 0: none."""
    parts: bytes | None = None
    """`parts.png`, as it was sent."""
    source: Source = "person"
    answers: str | None = None
    """See `ImageState`."""
    least_certain: PixelPlace | None = None
    """See `ImageState`."""

    @classmethod
    def of_labels(
        cls, labels: UInt16[np.ndarray, "H W"], objects: UInt16[np.ndarray, "H W"] | None = None
    ) -> "LabelWork":
        """Create the work of imported labels, all of which count as corrected."""
        corrections = np.where(labels == UNLABELED, 0, labels + np.uint16(FIRST_WORD)).astype(np.uint16)
        return cls(labels=labels, corrections=corrections, objects=objects, source="import")

    def planes(self) -> dict[str, np.ndarray]:
        """The arrays by file name, always with a draft and corrections, which the page needs."""
        shape = self.labels.shape
        return {
            DRAFT_ENTRY: np.full(shape, UNLABELED, np.uint16) if self.draft is None else self.draft,
            CONFIDENCE_ENTRY: np.zeros(shape, np.uint8) if self.confidence is None else self.confidence,
            CORRECTIONS_ENTRY: np.zeros(shape, np.uint16) if self.corrections is None else self.corrections,
            **({} if self.objects is None else {OBJECTS_ENTRY: self.objects}),
        }

    def confidence_map(self) -> Float32[np.ndarray, "H W"]:
        """Probability of each pixel's label, in [0, 1]: 1 where a person decided, and where nothing is known."""
        shape = self.labels.shape
        if self.confidence is None:
            return np.ones(shape, np.float32)
        result = (self.confidence / np.float32(255))[np.ix_(*_nearest(shape, self.confidence.shape))]
        if self.corrections is not None:
            result[self.corrections > UNDECIDED] = 1
        return result

    def state(self, image: str) -> ImageState:
        """The state of an image with this work, at revision 0."""
        labels = self.labels
        counts = counts_of(labels)
        words = np.flatnonzero(counts[:UNLABELED])
        decided = np.zeros(labels.shape, bool) if self.corrections is None else self.corrections > UNDECIDED
        least = self.least_certain
        if least is not None and not (0 <= least.x < labels.shape[1] and 0 <= least.y < labels.shape[0]):
            least = None
        return ImageState(
            image=image,
            width=labels.shape[1],
            height=labels.shape[0],
            source=self.source,
            answers=self.answers,
            corrected=int(np.count_nonzero(decided)),
            pixels=by_word(dict(zip(words.tolist(), counts[words].tolist(), strict=True))),
            unlabeled=int(counts[UNLABELED]),
            uncertainty=self._uncertainty(decided),
            least_certain=least,
            objects=None if self.objects is None else by_word(object_counts(labels, self.objects)),
        )

    def _uncertainty(self, decided: np.ndarray) -> float | None:
        if self.confidence is None or self.draft is None or not (self.draft != UNLABELED).any():
            return None
        if decided.shape != self.draft.shape:
            decided = decided[np.ix_(*_nearest(self.draft.shape, decided.shape))]
        left = decided.size - int(np.count_nonzero(decided))
        sure = float(np.sum(self.confidence, where=~decided, dtype=np.float64)) / 255
        return round(1 - sure / left, 4) if left else 0.0


def _nearest(size: tuple[int, ...], of: tuple[int, ...]) -> list[np.ndarray]:
    """Rows and columns of a map of another size that are nearest to those of this one."""
    return [
        ((np.arange(cells) + 0.5) * (others / cells)).astype(np.int64) for cells, others in zip(size, of, strict=True)
    ]


def counts_of(labels: UInt16[np.ndarray, "H W"]) -> np.ndarray:
    """How many pixels have each value; in pieces, since counting takes eight bytes for each pixel."""
    counts, rows = np.zeros(UNLABELED + 1, np.int64), max(1, 4_000_000 // labels.shape[1])
    for top in range(0, len(labels), rows):
        counts += np.bincount(labels[top : top + rows].ravel(), minlength=UNLABELED + 1)
    return counts


def by_word(counts: Mapping[int, int]) -> dict[str, int]:
    """Counts by id, with JSON's string keys."""
    return {str(word): count for word, count in counts.items()}


@dataclass(frozen=True, kw_only=True)
class PackedWork:
    """The encoded files of an image."""

    state: ImageState
    """The state at revision 0."""
    planes: Mapping[str, bytes]
    """The PNGs by name in the work file; `labels.png` and `objects.png` also serve as the derived files."""

    def content(self, state: ImageState) -> bytes:
        """Encode the work file with a state."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, data in {STATE_ENTRY: strict_json(to_json(state)).encode(), **self.planes}.items():
                # a constant date, so that equal work has equal bytes
                archive.writestr(zipfile.ZipInfo(name), data)
        return buffer.getvalue()


def packed_work(work: LabelWork, image: str, colors: Mapping[int, tuple[int, int, int]]) -> PackedWork:
    """Encode the files of an image; `colors` are RGB by id."""
    planes = {name: encoded(Image.fromarray(values), "PNG") for name, values in work.planes().items()}
    parts = {} if work.parts is None else {PARTS_ENTRY: work.parts}
    labels = labels_png(work.labels, colors)
    return PackedWork(state=work.state(image), planes={LABELS_ENTRY: labels, **planes, **parts})


def labels_png(labels: UInt16[np.ndarray, "H W"], colors: Mapping[int, tuple[int, int, int]]) -> bytes:
    """Encode a label map as a PNG of ids: palette of the words' colors up to id 254, 16 bits beyond."""
    return encoded(label_map_image(labels, color_table(colors)), "PNG")


def received(
    file: BinaryIO | io.BytesIO,
    image: str,
    size: tuple[int, int],
    record: ProjectRecord,
    draft: Mapping[str, bytes] | None = None,
) -> PackedWork:
    """Check an untrusted work file, a zip for an image of this height and width [px].

    Its PNGs are stored as they were sent, but for labels in another form than ours, or with merged words. `draft` has
    the `DRAFT_PLANES` if they aren't sent. `UsageError` if the zip is invalid or too large for the image, sizes differ,
    or an id belongs to no word.
    """
    files, facts = received_files(file, size)
    if draft is not None and (sent := files.keys() & set(DRAFT_PLANES)):
        raise UsageError(f"the work file has {min(sent)!r}, but draft=kept; leave one of them out")
    files = {**files, **(draft or {})}
    work, colors = work_of(files, size, facts), record.colors
    check_ids(work, colors)
    if (merged := with_merged(work, record)) is not work:
        work, files = merged, {**files, **packed_work(merged, image, colors).planes}
    is_8_bit = max(colors, default=0) < UNLABELED_8_BIT
    if size[0] * size[1] >= BANDED_PIXELS:
        # a stroke changes some rows then
        files[LABELS_ENTRY] = bands_of(work.labels, colors if is_8_bit else None).encoded()
        if work.corrections is not None:
            files[CORRECTIONS_ENTRY] = bands_of(work.corrections, None).encoded()
    elif not _is_our_form(files[LABELS_ENTRY], is_8_bit):
        files[LABELS_ENTRY] = labels_png(work.labels, colors)
    return PackedWork(state=work.state(image), planes=files)


def bands_of(values: np.ndarray, colors: Mapping[int, tuple[int, int, int]] | None) -> BandedPng:
    """Encode a map in bands: a label map of 8 bits with RGB by id, or one of 16 bits."""
    if colors is None:
        return BandedPng.of(values, None)
    return BandedPng.of(values.astype(np.uint8), label_palette(color_table(colors)[:UNLABELED_8_BIT]).tobytes())


def received_files(file: BinaryIO | io.BytesIO, size: tuple[int, int]) -> tuple[dict[str, bytes], Mapping[str, Any]]:
    """The PNGs of an untrusted work file for a height and width, and the accepted fields of its state."""
    try:
        _check_number(file)
        with zipfile.ZipFile(file) as archive:
            files = _entries(archive, size[0] * size[1])
    except UsageError:
        raise
    except Exception as error:  # zipfile raises a dozen exception types on damaged data
        raise UsageError(f"the work file is not a zip of PNGs: {one_line(error)}; save it again") from None
    return files, _facts(files.pop(STATE_ENTRY))


def _is_our_form(png: bytes, is_8_bit: bool) -> bool:
    """Whether a label map is stored in 8 bits with a palette, or in 16 bits."""
    return png[24:26] == (_EIGHT_BITS_OF_PALETTE if is_8_bit else _SIXTEEN_BITS)


def _check_number(file: BinaryIO | io.BytesIO) -> None:
    """Refuse a zip of very many files, whose list would be garbage that holds all threads when it is collected."""
    number, end = 0, b""
    while block := file.read(_BLOCK):
        number += (end + block).count(_LISTED)
        end = block[1 - len(_LISTED) :]
    if number > _MOST_LISTED:
        raise UsageError(f"the work file has {number} files, which is more than an image has; save it again")
    file.seek(0)


def _entries(archive: zipfile.ZipFile, pixels: int) -> dict[str, bytes]:
    files = {}
    for entry in archive.infolist():
        name = entry.filename
        most = _STATE_BYTES if name == STATE_ENTRY else 2 * pixels + pixels // 8 + 1_000_000
        if name in files or name not in (STATE_ENTRY, *_PLANES):
            raise UsageError(f"the work file has {name[:60]!r}, which is unknown or a duplicate")
        if entry.file_size > most:
            raise UsageError(f"{name!r} of the work file has {entry.file_size} bytes, too many for the image")
        files[name] = archive.read(entry)
    if missing := [name for name in (STATE_ENTRY, LABELS_ENTRY) if name not in files]:
        raise UsageError(f"the work file has no {missing[0]}; save it again")
    return files


def _facts(content: bytes) -> Mapping[str, Any]:
    """The accepted fields of a sent state; the rest is computed."""
    try:
        state = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"state.json of the work file isn't JSON: {one_line(error)}; save it again") from None
    if not isinstance(state, dict):
        raise UsageError("state.json of the work file isn't an object; save it again")
    facts = {
        "source": field_value(Source | None, state.get("source"), "source") or "person",
        "answers": field_value(str | None, state.get("answers"), "answers"),
        "least_certain": field_value(PixelPlace | None, state.get("least_certain"), "least_certain"),
        "uncertainty": field_value(float | None, state.get("uncertainty"), "uncertainty"),
    }
    if facts["uncertainty"] is not None and not 0 <= facts["uncertainty"] <= 1:
        raise UsageError(f"uncertainty {facts['uncertainty']:g} is not in [0, 1]; save the work file again")
    if len(facts["answers"] or "") > LONGEST_ANSWERS:
        raise UsageError(f"answers has more than {LONGEST_ANSWERS} characters; use fewer words")
    return facts


def plane_of(name: str, content: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decode a PNG after checking its size; drafts may be smaller, in the image's shape."""
    height, width = size
    try:
        image = PngImageFile(io.BytesIO(content))
        is_smaller = name in DRAFT_PLANES and image.width < width and _has_shape(image.size, (width, height))
        if image.size != (width, height) and not is_smaller:
            raise UsageError(f"{name} has {image.width} x {image.height} pixels, the image has {width} x {height}")
        if name == LABELS_ENTRY:
            labels = labels_of(image, name)
            if labels.shape != (height, width):
                raise UsageError(f"{name} is turned by its EXIF orientation; send it upright")
            return labels
        mode, kind = ("L", "8-bit") if name == CONFIDENCE_ENTRY else ("I;16", "16-bit")
        if image.mode != mode:
            raise UsageError(f"{name} is a {image.mode} image; send a {kind} gray PNG")
        return np.array(image)
    except UsageError:
        raise
    except InputError as error:
        raise UsageError(str(error)) from None
    except Exception as error:  # damaged data raises a dozen exception types
        raise UsageError(f"{name} of the work file is damaged: {one_line(error)}; save it again") from None


def _has_shape(size: tuple[int, int], of: tuple[int, int]) -> bool:
    """Whether a width and height are those of another size scaled down, up to rounding."""
    return abs(size[0] / of[0] * of[1] - size[1]) <= 1


def work_of(files: Mapping[str, bytes], size: tuple[int, int], facts: Mapping[str, Any]) -> LabelWork:
    """Decode the PNGs of a work file for a height and width; `UsageError` if one doesn't fit."""
    planes = {name: plane_of(name, data, size) for name, data in files.items()}
    if len({planes[name].shape for name in DRAFT_PLANES if name in planes}) > 1:
        raise UsageError("draft.png, confidence.png and parts.png differ in size; save them again")
    facts = {name: value for name, value in facts.items() if name != "uncertainty"}
    return LabelWork(
        labels=planes[LABELS_ENTRY],
        draft=planes.get(DRAFT_ENTRY),
        confidence=planes.get(CONFIDENCE_ENTRY),
        corrections=planes.get(CORRECTIONS_ENTRY),
        objects=planes.get(OBJECTS_ENTRY),
        parts=files.get(PARTS_ENTRY),
        **facts,
    )


def check_ids(work: LabelWork, colors: Mapping[int, object]) -> None:
    """`UsageError` if a pixel has an id without a color."""
    ids = [*colors, UNLABELED]
    firm = [NO_WORD, *(number + FIRST_WORD for number in colors)]
    decided = [UNDECIDED, *firm, *(code + LOOSE for code in firm)]
    planes = ((LABELS_ENTRY, work.labels, ids), (DRAFT_ENTRY, work.draft, ids))
    for name, values, known in (*planes, (CORRECTIONS_ENTRY, work.corrections, decided)):
        table = np.zeros(UNLABELED + 1, bool)
        table[known] = True
        if values is not None and not (fits := table[values]).all():
            raise UsageError(f"{name} has the value {int(values[~fits][0])}, which stands for no word of the project")


def read_packed(path: Path, *, planes: Collection[str] = _PLANES) -> PackedWork:
    """Read a project's work file, written by segvoc, with some of its PNGs, which aren't decoded.

    `DamagedProjectError` if it is damaged; `FileNotFoundError` if there is none.
    """
    try:
        with path.open("rb") as file:
            return _unpacked(path, file, planes)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise damaged_file(path, f"it can't be read ({error.strerror or error})") from None


def _unpacked(path: Path, file: BinaryIO | io.BytesIO, planes: Collection[str]) -> PackedWork:
    try:
        with zipfile.ZipFile(file) as archive:
            state = from_json(ImageState, json.loads(archive.read(STATE_ENTRY)))
            names = set(archive.namelist())
            return PackedWork(state=state, planes={name: archive.read(name) for name in planes if name in names})
    except OSError:
        raise
    except Exception as error:  # zipfile raises a dozen exception types on damaged data
        raise damaged_file(path, one_line(error)) from None


def state_in(path: Path, content: bytes) -> ImageState:
    """Read the state from the content of a work file; raises `DamagedProjectError`."""
    return _unpacked(path, io.BytesIO(content), ()).state


def read_state_of(path: Path) -> ImageState:
    """Read only the state in a work file; raises the errors of `read_packed`."""
    return read_packed(path, planes=()).state


def read_work(path: Path) -> tuple[ImageState, LabelWork]:
    """Read a work file of a project with all of its arrays; raises the errors of `read_packed`."""
    found = read_packed(path)
    size = found.state.height, found.state.width
    try:
        source = found.state.source or "person"
        facts = {"source": source, "answers": found.state.answers, "least_certain": found.state.least_certain}
        return found.state, work_of(found.planes, size, facts)
    except (UsageError, KeyError) as error:
        raise damaged_file(path, one_line(error)) from None


def relabeled(work: LabelWork, labels: np.ndarray) -> LabelWork:
    """Apply externally changed labels to the work."""
    differs = labels != work.labels
    corrections = np.zeros(labels.shape, np.uint16) if work.corrections is None else work.corrections.copy()
    decided = np.where(labels == UNLABELED, np.uint16(NO_WORD), labels + np.uint16(FIRST_WORD))
    corrections[differs] = decided[differs]
    return replace(work, labels=labels, corrections=corrections, source="import")


def with_merged(work: LabelWork, record: ProjectRecord) -> LabelWork:
    """Give pixels of merged words to those that they went into; the same object if it has none."""
    if not (merged := list(record.merged)):
        return work
    codes = [word + FIRST_WORD + strength for word in merged for strength in (0, LOOSE)]
    planes = ((work.labels, merged), (work.draft, merged), (work.corrections, codes))
    if not any(values is not None and np.isin(values, ids).any() for values, ids in planes):
        return work
    return with_ids(work, {word: word for word in record.ids} | dict(record.merged))


def with_ids(work: LabelWork, ids: Mapping[int, int]) -> LabelWork:
    """Give words other ids; pixels of words that have none lose their word."""
    table, decided = label_table(ids), np.zeros(UNLABELED + 1, np.uint16)
    decided[:FIRST_WORD] = range(FIRST_WORD)
    decided[NO_WORD + LOOSE] = NO_WORD + LOOSE
    for strength in (0, LOOSE):
        decided[[old + FIRST_WORD + strength for old in ids]] = [new + FIRST_WORD + strength for new in ids.values()]
    draft = None if work.draft is None else table[work.draft]
    corrections = None if work.corrections is None else decided[work.corrections]
    return replace(work, labels=table[work.labels], draft=draft, corrections=corrections)


_EIGHT_BITS_OF_PALETTE, _SIXTEEN_BITS = b"\x08\x03", b"\x10\x00"


def color_table(colors: Mapping[int, tuple[int, int, int]]) -> UInt8[np.ndarray, "K 3"]:
    """Build an array of colors up to the highest id, from RGB by id; black for unused ids."""
    table = np.zeros((max(colors, default=-1) + 1, 3), np.uint8)
    for number, color in colors.items():
        table[number] = color
    return table
