"""Taught words: few-shot classifiers, added to the words' text-based logits."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from array_api_compat import device
from jaxtyping import Float, Float16, Float32, Int

from segvoc.errors import CheckpointError, UsageError
from segvoc.inference.taught.examples import mixed
from segvoc.inference.taught.features import (
    CLASS_LOGITS,
    GROUPS,
    FeatureArrays,
    FeaturePyramid,
    as_float32,
    channels_of,
    first_map,
    pyramid_inputs,
    pyramid_shapes,
    read_features,
    scored,
)
from segvoc.runtime.arrays import Array, array_namespace, to_numpy
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.records import from_json, to_json
from segvoc.vocabulary.names import folded

TAUGHT_HEADER = "segvoc_taught"
"""Key of our entry in the safetensors metadata; its value is a JSON object."""

LARGEST_HEADER = 1 << 26
"""Maximum size of a header [bytes]."""

_TYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    name = os.fspath(path)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"the taught words {name!r} can't be read: {error.strerror}; check the path") from None
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 0 < length <= min(LARGEST_HEADER, len(content) - 8):
        raise _foreign(name)
    try:
        entries = json.loads(content[8 : 8 + length])
        record = json.loads(entries.pop("__metadata__")[TAUGHT_HEADER])
        shapes = {
            key: (_TYPES[one["dtype"]], tuple(one["shape"]), *one["data_offsets"]) for key, one in entries.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _foreign(name) from None
    if not isinstance(record, dict):
        raise _foreign(name)
    data, arrays = content[8 + length :], {}
    for key, (dtype, shape, start, end) in shapes.items():
        whole = all(isinstance(side, int) and side >= 0 for side in (*shape, start, end))
        if not whole or end - start != math.prod(shape) * dtype.itemsize or end > len(data):
            raise CheckpointError(
                f"the taught words {name!r} are cut off or damaged; copy the file again, or teach again"
            )
        arrays[key] = np.frombuffer(data[start:end], dtype).reshape(shape).copy()  # writable, for tensors
        if not np.isfinite(arrays[key]).all():
            raise CheckpointError(f"the taught words {name!r} have numbers that are not finite; teach them again")
    return record, arrays


def _foreign(name: str) -> CheckpointError:
    return CheckpointError(f"{name!r} is no file of taught words, or a damaged one; `segvoc teach` writes them")


TAUGHT_FORMAT = 1

MARGIN = 2.0
"""Minimum gain from examples of a cell's best taught word [logits] before it can win over untaught words."""

PYRAMID = "pyramid."
"""Prefix of the arrays of a pyramid in a file."""

PROBE_TOLERANCE = 0.05
"""Maximum difference between two engines' features of the same image, relative to their length. With other weights,
they differ by more than half."""


def is_half(name: str) -> bool:
    """Whether an array of a file is in float16, by its name."""
    return name in ("weights", "toward") or name.startswith(PYRAMID)


@dataclass(frozen=True, kw_only=True)
class TaughtWord:
    """A taught word and its scores."""

    name: str
    """The word, as in a vocabulary."""
    images: int
    """Number of images with the word."""
    pixels: int
    """Number of its labeled pixels."""
    before: float | None
    """IoU zero-shot on held-out images [%]; None if it isn't in them."""
    after: float | None
    """IoU with examples on held-out images [%]."""
    keeps_text: bool = False
    """Whether it only uses its text, because examples made it worse."""


@dataclass(frozen=True, kw_only=True)
class TeachingRecord:
    """Provenance of taught words, and their model."""

    model: str
    """Name of the model."""
    words: tuple[TaughtWord, ...]
    """The words; the arrays cover those with classifiers, in this order."""
    channels: Mapping[str, int]
    """Channels of the features that the classifiers read, in order."""
    images: int
    """Images with at least one labeled pixel."""
    penalty: tuple[float, float] | None
    """Weights of the penalties on weights and bias, chosen by cross-validation; None for fine-tuned words."""
    miou_before: float | None
    """Mean IoU over the words zero-shot, on held-out images [%]."""
    miou: float | None
    """With examples [%]."""
    accuracy_before: float | None
    """Pixel accuracy zero-shot, on held-out images [%]; None without held-out images."""
    accuracy: float | None
    """With examples [%]."""
    segvoc: str
    """Version of segvoc."""
    pyramid_channels: int = 0
    """Channels of the pyramid; 0: no pyramid."""
    share: float = 0.0
    """Share of the regions in the words' embeddings, chosen on held-out images; 0: text only."""
    edges: bool = False
    """Whether maps refined by the image's edges scored better on some of the images, so that they are the default."""
    temperature: float = 1.0
    """Temperature of the confidence (`softmax_logits`), fitted on held-out images; 1 without any."""
    background: str | None = None
    """The class that means "none of the others", if it was learned, too. Its logit is 0 in place of its text's, plus
    the score of its classifier, if it is one of `words`: any name for it gives the same labels."""
    unlabeled: Mapping[str, float] = field(default_factory=dict)
    """If more than a third of the examples' pixels have no label: what these get with the words, in some of the images,
    as shares of all pixels by word."""
    format: int = TAUGHT_FORMAT
    """Version of the file."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TaughtWords:
    """Words learned from examples for a specific model; apply them with `Segmenter.with_taught`.

    A word's classifier from `Segmenter.teach` is s = W (x - mean) / scale + b, with features x of a cell. Words from
    `segvoc train finetune` have a network p on the standardized features: s = W p(x) + b.
    """

    record: TeachingRecord
    """Their provenance and model."""
    weights: Float16[np.ndarray, "T _"]
    """W: for each word, weights of the D features, or of the C channels of the pyramid."""
    bias: Float32[np.ndarray, " T"]
    """b."""
    mean: Float32[np.ndarray, " D"]
    """Mean of each feature over the images."""
    scale: Float32[np.ndarray, " D"]
    """Standard deviation of each feature."""
    probe: Float32[np.ndarray, " D"]
    """Mean features of a synthetic image, the model's fingerprint."""
    toward: Float16[np.ndarray, "T C"] | None = None
    """Directions to mix into the words' embeddings (`toward_examples`); None without a share."""
    pyramid: FeaturePyramid | None = None
    """The network p, if any, with weights in float16."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words that have a classifier."""
        return tuple(word.name for word in self.record.words if not word.keeps_text)

    @property
    def foreground(self) -> tuple[str, ...]:
        """Those of them that aren't the background."""
        background = folded(self.record.background or "")
        return tuple(word for word in self.words if folded(word) != background)

    @property
    def known(self) -> tuple[str, ...]:
        """All words that the examples show, and the background."""
        names, background = [word.name for word in self.record.words], self.record.background
        return tuple(names if background is None or background in names else [*names, background])

    @property
    def background_row(self) -> int | None:
        """The row of the background's classifier; None if it has none."""
        names = list(map(folded, self.words))
        background = folded(self.record.background or "")
        return names.index(background) if background in names else None

    def __repr__(self) -> str:
        words = ", ".join(self.words[:5]) + (f" and {len(self.words) - 5} more" if len(self.words) > 5 else "")
        return f"<TaughtWords for {self.record.model!r}, {self.record.images} images: {words or 'none'}>"

    @cached_property
    def digest(self) -> str:
        """Digest of the content; files with equal digests give equal labels."""
        found = hashlib.blake2b(digest_size=16)
        found.update(json.dumps(to_json(self.record), sort_keys=True).encode("utf-8", "surrogatepass"))
        for array in self.arrays().values():
            found.update(array.tobytes())
        return found.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .safetensors file, reproducibly; by convention it is named `*.words.safetensors`.

        Raises: OutputError: the file can't be written.
        """
        names, arrays = {dtype: name for name, dtype in _TYPES.items()}, self.arrays()
        # not sorted: the channels are in the order of the arrays' columns
        entries: dict[str, object] = {
            "__metadata__": {TAUGHT_HEADER: json.dumps(to_json(self.record), ensure_ascii=False)}
        }
        ends = np.cumsum([array.nbytes for array in arrays.values()]).tolist()
        for (name, array), end in zip(arrays.items(), ends, strict=True):
            offsets = [end - array.nbytes, end]
            entries[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        header = json.dumps(entries, ensure_ascii=False).encode()
        header += b" " * (-len(header) % 8)

        def write(file: BinaryIO) -> None:
            file.write(len(header).to_bytes(8, "little") + header)
            for array in arrays.values():
                file.write(np.ascontiguousarray(array).tobytes())

        write_atomically(path, write)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "TaughtWords":
        """Load a file written by `save`.

        Raises: CheckpointError: the file is missing, damaged, not finite, or not a file of taught words.
        """
        return cls.of(os.fspath(path), *_read(path))

    @classmethod
    def of(cls, name: str, record: object, arrays: Mapping[str, np.ndarray]) -> "TaughtWords":
        """Build taught words from a `TeachingRecord` as JSON and the arrays by name; `name` is the file, in errors."""
        if not isinstance(record, dict):
            raise CheckpointError(f"the taught words {name!r} are damaged (they have no record); teach them again")
        if record.get("format", TAUGHT_FORMAT) != TAUGHT_FORMAT:
            raise CheckpointError(f"{name!r} is of another version of segvoc; update segvoc, or teach the words again")
        try:
            about = from_json(TeachingRecord, record)
        except UsageError as error:
            raise CheckpointError(f"the taught words {name!r} are damaged ({error}); teach them again") from None
        known, size = sum(not word.keeps_text for word in about.words), sum(about.channels.values())
        shapes = {"weights": (known, size), "bias": (known,)} | dict.fromkeys(("mean", "scale", "probe"), (size,))
        if about.share:
            shapes["toward"] = (known, *(arrays["toward"].shape[1:] if "toward" in arrays else ()))
        coarse = about.channels.get(first_map(about.channels), 0)
        if about.pyramid_channels and (about.pyramid_channels % GROUPS or not coarse):
            raise CheckpointError(
                f"the taught words {name!r} are damaged (their pyramid has no maps); teach them again"
            )
        if about.pyramid_channels:
            fine = size - coarse - about.channels.get(CLASS_LOGITS, 0)
            of_pyramid = pyramid_shapes(about.pyramid_channels, coarse, fine)
            shapes |= {f"{PYRAMID}{key}": shape for key, shape in of_pyramid.items()}
            shapes["weights"] = (known, about.pyramid_channels)
        fits = {key: array.shape for key, array in arrays.items()} == shapes and 0 <= about.share < 1
        fits = fits and 0 < about.temperature < np.inf
        if not fits or not np.all(arrays["scale"] > 0):
            raise CheckpointError(f"the taught words {name!r} have arrays or numbers that don't fit; teach them again")
        pyramid = {key.removeprefix(PYRAMID): array for key, array in arrays.items() if key.startswith(PYRAMID)}
        own = {key: array for key, array in arrays.items() if not key.startswith(PYRAMID)}
        return cls(record=about, pyramid=FeaturePyramid(**pyramid) if pyramid else None, **cast(Any, own))

    def pyramid_features(self, features: FeatureArrays) -> Float[Array, "N C H W"]:
        """The output of the pyramid, of the maps that classifiers read (`read_features`)."""
        assert self.pyramid is not None
        maps = pyramid_inputs(features, self.mean, self.scale)
        return self.pyramid.to_like(maps[0])(maps)

    def check_model(self, name: str, features: FeatureArrays) -> None:
        """Raise `CheckpointError` unless they were taught to the model with these features of `probe_image`."""
        if channels_of(features) == dict(self.record.channels):
            found = mean_features(features)
            if np.linalg.norm(found - self.probe) <= PROBE_TOLERANCE * np.linalg.norm(self.probe):
                return
        raise CheckpointError(
            f"these words were taught to {self.record.model!r}, and {name!r} has other weights; teach them to it again"
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays, by their names in files."""
        arrays = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("record", "pyramid")}
        if self.pyramid is not None:
            arrays |= {f"{PYRAMID}{name}": array for name, array in self.pyramid.named().items()}
        return {name: array for name, array in arrays.items() if array is not None}


WordScores = Callable[[FeatureArrays, tuple[int, int]], Float[Array, "N T h w"]]
"""The scores of T classifiers at the cells of a grid, by the maps that classifiers read."""


def _scores_of(taught: TaughtWords, rows: Sequence[int]) -> WordScores:
    """The scores of some classifiers of a file, from its pyramid's output or the raw features."""
    weights, bias = taught.weights[list(rows)].astype(np.float32), taught.bias[list(rows)]
    if taught.pyramid is not None:
        return lambda features, grid: scored({PYRAMID: taught.pyramid_features(features)}, (weights,), bias, grid)
    raw = weights / taught.scale
    parts = np.split(raw, np.cumsum(list(taught.record.channels.values()))[:-1], axis=1)
    bias = bias - raw @ taught.mean
    return lambda features, grid: scored(features, parts, bias, grid)


@dataclass(frozen=True, eq=False)
class TaughtQuery:
    """The classifiers of a query's taught words, ready to apply."""

    has_untaught_words: bool
    """Whether the query has untaught words."""
    indices: Int[np.ndarray, " T"]
    """Indices of the taught words in the query."""
    places: Int[np.ndarray, " T"]
    """Indices among the taught words, in the order of the scores."""
    scores: tuple[WordScores, ...]
    """Those of each file."""
    shares: Float32[np.ndarray, " T"]
    """Shares of the regions in the embeddings."""
    toward: tuple[Float16[np.ndarray, " C"], ...]
    """Regions of the words whose share isn't 0."""
    edges: bool
    """Whether refined maps were better for all of these words."""
    temperature: float
    """Temperature of the query's confidence: the highest of the files'."""
    none: int | None = None
    """Index of the query's map for "none of the words", if a file learned it (`TeachingRecord.background`)."""

    @classmethod
    def of(
        cls, taught: Sequence[TaughtWords], words: Iterable[str], asked: int, none: int | None = None
    ) -> "TaughtQuery | None":
        """Collect the classifiers of words, the last if a word was taught several times; None if none was taught.

        `asked` is the number of the query's maps, which may include a map for "none of the words", at the index `none`.
        """
        places = {
            folded(word): (number, row) for number, one in enumerate(taught) for row, word in enumerate(one.words)
        }
        known = {folded(name) for one in taught for name in one.known}
        words = list(map(folded, words))
        found = {index: places[word] for index, word in enumerate(words) if word in places and index != none}
        learned = [number for number, _ in found.values() if taught[number].record.background is not None]
        none = none if learned else None
        if none is not None and (row := taught[max(learned)].background_row) is not None:
            found[none] = max(learned), row
        if not found:
            return None
        sources: dict[int, list[tuple[int, int]]] = {}
        shares, toward = np.zeros(len(found), np.float32), list[np.ndarray]()
        for place, index in enumerate(sorted(found)):
            number, row = found[index]
            sources.setdefault(number, []).append((place, row))
            if (by := taught[number].toward) is not None and index != none:
                shares[place] = taught[number].record.share
                toward.append(by[row])
        records = [taught[number].record for number in sources]
        named = [word for index, word in enumerate(words) if index != none]
        return cls(
            has_untaught_words=len(known.intersection(named)) < asked - (none is not None),
            indices=np.array(sorted(found)),
            places=np.array([place for rows in sources.values() for place, _ in rows]),
            scores=tuple(_scores_of(taught[number], [row for _, row in rows]) for number, rows in sources.items()),
            shares=shares,
            toward=tuple(toward),
            edges=all(record.edges for record in records),
            temperature=max(record.temperature for record in records),
            none=none,
        )

    def embeddings(self, text: Array) -> Array:
        """Mix regions into the text embeddings (K P C) of taught words; returns `text` if there is nothing to mix."""
        if not self.toward:
            return text
        has_share = self.shares > 0
        if any(len(one) != text.shape[-1] for one in self.toward):
            raise CheckpointError("these taught words have embeddings of another length than the model's; teach again")
        return mixed(text, self.indices[has_share], np.stack(self.toward), self.shares[has_share])

    def __call__(
        self, logits: Float[Array, "N P h w"], kept: Int[Array, "N P"] | None, features: FeatureArrays
    ) -> Float[Array, "N P h w"]:
        """Add the classifiers' scores to the logits of the P kept words, indices of the query's (None: all).

        Logits of untaught words are unchanged; that of "none of the words" is first set to 0. The features are those of
        the same views.
        """
        features, grid = read_features(features), (logits.shape[2], logits.shape[3])
        xp, where = array_namespace(logits), device(logits)
        scores = xp.concat([of_file(features, grid) for of_file in self.scores], axis=1)
        scores = scores[:, xp.asarray(np.argsort(self.places), device=where)]
        if self.none is not None:
            logits = xp.asarray(logits, copy=True)
            if kept is None:
                logits[:, self.none] = 0.0
            else:
                logits = xp.where((kept == self.none)[:, :, None, None], xp.zeros_like(logits), logits)
        if kept is None:
            return self._added(logits, xp.asarray(self.indices, device=where), scores)
        views: list[Array] = []
        for number in range(logits.shape[0]):
            _, *both = np.intersect1d(np.asarray(kept[number, :].tolist()), self.indices, return_indices=True)
            places, of_scores = (xp.asarray(column, device=where) for column in both)
            view = logits[number : number + 1, ...]
            if places.shape[0]:
                view = self._added(view, places, scores[number : number + 1, ...][:, of_scores])
            views.append(view)
        return xp.concat(views) if len(views) > 1 else views[0]

    def _added(self, logits: Array, places: Array, scores: Array) -> Array:
        xp = array_namespace(logits)
        before = logits[:, places]
        after = before + scores
        if self.has_untaught_words:
            after = after - untaught_margin(xp.max(before, axis=1, keepdims=True), xp.max(after, axis=1, keepdims=True))
        added = xp.asarray(logits, copy=True)
        added[:, places] = after
        return added


def untaught_margin(before: Array, after: Array) -> Array:
    """The margin to subtract from all taught words in a query with untaught words: min(max(after - before, 0), MARGIN).

    `before` and `after` are the highest logits of the taught words zero-shot and with examples. Examples say
    nothing about untaught words. So they decide among taught words, and may lower them, but win cells from untaught
    words only by more than a margin.
    """
    xp = array_namespace(before)
    return xp.clip(after - before, min=0.0, max=MARGIN)


def mean_features(features: FeatureArrays) -> Float32[np.ndarray, " D"]:
    """The mean of each feature over an image."""
    means = [to_numpy(as_float32(one))[0].mean(axis=(1, 2)) for one in features.values()]
    return np.concatenate(means)


def probe_image() -> np.ndarray:
    """The synthetic image (H W 3) whose features are a model's fingerprint: waves in three colors."""
    row, column = np.mgrid[:256, :256] / 256
    waves = [np.sin(2 * np.pi * (3 * row + 5 * column * row)), np.cos(17 * column), np.sin(40 * row * column)]
    return np.round(127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8)
