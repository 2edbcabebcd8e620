"""Taught words: classifiers learned from examples, which add to the logits that words have by their text."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, cast

import numpy as np
from array_api_compat import device
from jaxtyping import Float, Float16, Float32, Int

from segvoc.arrays import Array, array_namespace, to_numpy
from segvoc.errors import CheckpointError, UsageError
from segvoc.records import from_json, to_json
from segvoc.teaching.features import FeatureArrays, as_float32, channels_of, read_features, scored
from segvoc.teaching.regions import mixed
from segvoc.teaching.taught_file import read_taught_file, write_taught_file

TAUGHT_FORMAT = 1
"""Version of the file."""

MARGIN = 2.0
"""Logits by which examples have to raise the best taught word of a cell before untaught words lose by it."""

PROBE_TOLERANCE = 0.05
"""Largest difference between two engines' features of the same image, relative to their length. Those of other weights
differ by more than half."""


@dataclass(frozen=True, kw_only=True)
class TaughtWord:
    """A word that was taught, and how well."""

    name: str
    """The word, as in a vocabulary."""
    images: int
    """Images that show it."""
    pixels: int
    """Its labeled pixels in them."""
    before: float | None
    """IoU of its text alone on images that were held out [%]; None if they don't show it."""
    after: float | None
    """IoU with examples from the other images [%]."""
    keeps_text: bool = False
    """Whether it keeps its text alone, because examples made it worse."""


@dataclass(frozen=True, kw_only=True)
class TeachingRecord:
    """What taught words were made from and for."""

    model: str
    """Name of the model."""
    words: tuple[TaughtWord, ...]
    """The words; the arrays are of those that don't keep their text, in this order."""
    channels: Mapping[str, int]
    """Channels of the features that the classifiers read, in order."""
    images: int
    """Images with at least one labeled pixel."""
    penalty: tuple[float, float]
    """Weights of the penalties on weights and bias, as cross-validation chose them."""
    miou_before: float | None
    """Mean IoU over the words by their text alone, on held-out images [%]."""
    miou: float | None
    """With examples [%]."""
    accuracy_before: float
    """Share of held-out pixels that are right by text alone [%]."""
    accuracy: float
    """With examples [%]."""
    segvoc: str
    """Version of segvoc."""
    share: float = 0.0
    """Share of the regions in the words' embeddings, as held-out images chose it; 0: they are those of the text."""
    format: int = TAUGHT_FORMAT
    """Version of the file."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TaughtWords:
    """Words learned from examples, for one model; `Segmenter.teach` makes them, `Segmenter.with_taught` uses them.

    A word's classifier is s = W (x - mean) / scale + b, with features x of a cell.
    """

    record: TeachingRecord
    """What they were made from and for."""
    weights: Float16[np.ndarray, "T D"]
    """W."""
    bias: Float32[np.ndarray, " T"]
    """b."""
    mean: Float32[np.ndarray, " D"]
    """Mean of each feature in the images."""
    scale: Float32[np.ndarray, " D"]
    """Standard deviation of each feature."""
    probe: Float32[np.ndarray, " D"]
    """Mean features of a drawn image, by which a model is recognized."""
    toward: Float16[np.ndarray, "T C"] | None = None
    """What the words' embeddings are mixed with (`toward_examples`); None without a share."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words that have a classifier."""
        return tuple(word.name for word in self.record.words if not word.keeps_text)

    @cached_property
    def digest(self) -> str:
        """A digest of all content: equal for files that give equal labels."""
        found = hashlib.blake2b(digest_size=16)
        found.update(json.dumps(to_json(self.record), sort_keys=True).encode("utf-8", "surrogatepass"))
        for array in self._arrays().values():
            found.update(array.tobytes())
        return found.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .safetensors file; its name ends by convention in `.words.safetensors`.

        Raises:
            OutputError: the file can't be written.
        """
        write_taught_file(path, to_json(self.record), self._arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "TaughtWords":
        """Read what `save` wrote.

        Raises:
            CheckpointError: the file is missing, damaged, not finite, or no file of taught words.
        """
        record, arrays = read_taught_file(path)
        name = os.fspath(path)
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
        fits = {key: array.shape for key, array in arrays.items()} == shapes and 0 <= about.share < 1
        if not fits or not np.all(arrays["scale"] > 0):
            raise CheckpointError(f"the taught words {name!r} have arrays of the wrong shape; teach them again")
        return cls(record=about, **cast(Any, arrays))

    def check_model(self, name: str, features: FeatureArrays) -> None:
        """Check that the words were taught to a model.

        Args:
            name: the model.
            features: its features of the drawn image (`probe_image`).

        Raises:
            CheckpointError: they were taught to another model, or to the same with other weights.
        """
        if channels_of(features) == dict(self.record.channels):
            found = mean_features(features)
            if np.linalg.norm(found - self.probe) <= PROBE_TOLERANCE * np.linalg.norm(self.probe):
                return
        raise CheckpointError(
            f"these words were taught to {self.record.model!r}, and {name!r} has other weights; teach them to it again"
        )

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "record"}
        return {name: array for name, array in arrays.items() if array is not None}


@dataclass(frozen=True, eq=False)
class TaughtQuery:
    """The classifiers of those words of a query that were taught, ready to be applied."""

    has_strangers: bool
    """Whether the query has words that no image showed when the others were taught."""
    indices: Int[np.ndarray, " T"]
    """Indices of the taught words among them."""
    weights: tuple[Float32[np.ndarray, "T _"], ...]
    """For each feature map, the weights on its values as they are."""
    bias: Float32[np.ndarray, " T"]
    """The biases."""
    shares: Float32[np.ndarray, " T"]
    """Shares of the regions in the embeddings."""
    toward: tuple[Float16[np.ndarray, " C"], ...]
    """Regions of the words whose share isn't 0."""

    @classmethod
    def of(cls, taught: Sequence[TaughtWords], words: Iterable[str], asked: int) -> "TaughtQuery | None":
        """The classifiers of some words; None if none of them was taught.

        Args:
            taught: taught words; of a word that was taught several times, the last counts.
            words: the words of the query, as in a vocabulary.
            asked: the number of its maps: there may be one for "none of the words" too.
        """
        places = {word: (one, index) for one in taught for index, word in enumerate(one.words)}
        known = {word.name for one in taught for word in one.record.words}
        words = list(words)
        found = [number for number, word in enumerate(words) if word in places]
        if not found:
            return None
        weights: list[np.ndarray] = []
        bias: list[float] = []
        shares: list[float] = []
        toward: list[np.ndarray] = []
        for number in found:
            one, index = places[words[number]]
            raw = one.weights[index].astype(np.float32) / one.scale
            weights.append(raw)
            bias.append(float(one.bias[index] - raw @ one.mean))
            shares.append(0.0 if one.toward is None else one.record.share)
            if one.toward is not None:
                toward.append(one.toward[index])
        channels = list(places[words[found[0]]][0].record.channels.values())
        parts = np.split(np.stack(weights), np.cumsum(channels)[:-1], axis=1)
        return cls(
            len(known.intersection(words)) < asked,
            np.array(found),
            tuple(parts),
            np.array(bias, np.float32),
            np.array(shares, np.float32),
            tuple(toward),
        )

    def embeddings(self, text: Array) -> Array:
        """The words' embeddings (K P C), those of taught words mixed with their regions; the same if none are.

        Args:
            text: the words of the query, encoded by their text.

        Raises:
            CheckpointError: the regions aren't of the model's space; the file was changed.
        """
        if not self.toward:
            return text
        has_share = self.shares > 0
        if any(len(one) != text.shape[-1] for one in self.toward):
            raise CheckpointError("these taught words have embeddings of another length than the model's; teach again")
        return mixed(text, self.indices[has_share], np.stack(self.toward), self.shares[has_share])

    def __call__(
        self, logits: Float[Array, "N P h w"], kept: Int[Array, "N P"] | None, features: FeatureArrays
    ) -> Float[Array, "N P h w"]:
        """The logits with what examples add; those of untaught words are returned as they are.

        Args:
            logits: the logits by text alone of the P words that were kept.
            kept: their indices among the query's words; None: all.
            features: the feature maps of the same views.
        """
        scores = scored(read_features(features), self.weights, self.bias, (logits.shape[2], logits.shape[3]))
        xp, where = array_namespace(logits), device(logits)
        if kept is None:
            return self._added(logits, xp.asarray(self.indices, device=where), scores)
        views: list[Array] = []
        for number in range(logits.shape[0]):
            own = kept[number, :]
            here = [
                (place, at)
                for at, index in enumerate(self.indices.tolist())
                for place in np.flatnonzero(np.asarray(own.tolist()) == index)
            ]
            view = logits[number : number + 1, ...]
            if here:
                places, of_scores = (xp.asarray(list(column), device=where) for column in zip(*here, strict=True))
                view = self._added(view, places, scores[number : number + 1, ...][:, of_scores])
            views.append(view)
        return xp.concat(views) if len(views) > 1 else views[0]

    def _added(self, logits: Array, places: Array, scores: Array) -> Array:
        xp = array_namespace(logits)
        before = logits[:, places]
        after = before + scores
        if self.has_strangers:
            after = after - withheld(xp.max(before, axis=1, keepdims=True), xp.max(after, axis=1, keepdims=True))
        added = xp.asarray(logits, copy=True)
        added[:, places] = after
        return added


def withheld(before: Array, after: Array) -> Array:
    """What all taught words lose again where words are asked that weren't taught: min(max(after - before, 0), MARGIN).

    Examples of some words say nothing of others. So they decide between the taught words, and may take cells from
    themselves, but take cells from an untaught word only where they are surer than by a margin.

    Args:
        before: the highest logit of the taught words by their text.
        after: the highest with examples.
    """
    xp = array_namespace(before)
    return xp.clip(after - before, min=0.0, max=MARGIN)


def mean_features(features: FeatureArrays) -> Float32[np.ndarray, " D"]:
    """The mean of each feature over an image."""
    means = [to_numpy(as_float32(one))[0].mean(axis=(1, 2)) for one in features.values()]
    return np.concatenate(means)


def probe_image() -> np.ndarray:
    """The drawn image (H W 3) by whose features a model is recognized: waves in three colors."""
    row, column = np.mgrid[:256, :256] / 256
    waves = [np.sin(2 * np.pi * (3 * row + 5 * column * row)), np.cos(17 * column), np.sin(40 * row * column)]
    return np.round(127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8)
