"""The result of labelling one picture."""

import functools
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8, UInt16
from PIL import Image

from segvoc.atomic_write import write_atomically
from segvoc.inference.overlay import draw_overlay
from segvoc.label_maps import UNLABELLED, class_colors, write_label_map
from segvoc.parts import Part
from segvoc.result_paths import ResultPaths, refuse_overwriting


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation:
    """A labelled picture; the arrays are at the picture's own size (H, W), for K words.

    labels: index into `words` of each pixel's class; 65535 is unlabelled.
    words: the class names, in the order given.
    confidence: probability of each pixel's class, in [0, 1].
    selected: the words that class selection kept, in any window (all, if there was none; the background always).
    image: the picture itself, upright RGB.
    model: name of the network that labelled it.
    seconds: time that it took [s].
    probabilities: of every class, in [0, 1], as independent sigmoids; only where they were asked for.
    among: for each of G groups of words that were asked for, the index of its most likely word at each pixel.
    source: the path that the picture was read from, as it was named; None for pictures from memory.
    parts: the parts that were asked for, in the order given.
    part_labels: index into `parts` of each pixel's part; 65535 is none. A part lies inside its object. None where no
        parts were asked for.
    part_confidence: probability of each pixel's part, in [0, 1]; 0 where there is none.
    """

    labels: UInt16[np.ndarray, "H W"]
    words: tuple[str, ...]
    confidence: Float32[np.ndarray, "H W"]
    selected: Bool[np.ndarray, " K"]
    image: UInt8[np.ndarray, "H W 3"]
    model: str
    seconds: float
    probabilities: Float32[np.ndarray, "K H W"] | None = None
    among: UInt16[np.ndarray, "G H W"] | None = None
    source: str | None = None
    parts: tuple[Part, ...] = ()
    part_labels: UInt16[np.ndarray, "H W"] | None = None
    part_confidence: Float32[np.ndarray, "H W"] | None = None

    @property
    def height(self) -> int:
        """Of the picture [pixels]."""
        return self.labels.shape[0]

    @property
    def width(self) -> int:
        """Of the picture [pixels]."""
        return self.labels.shape[1]

    @functools.cached_property
    def colors(self) -> UInt8[np.ndarray, "K 3"]:
        """RGB of each class, in the label map's palette, the overlay and the report alike."""
        return class_colors(len(self.words))

    def overlay(self, *, alpha: float = 0.5, legend: bool = True) -> Image.Image:
        """The classes as colours over the picture, at its own size.

        Args:
            alpha: weight of the colours, in [0, 1].
            legend: list the classes in a corner, largest first, where the picture is large enough to read it.

        Raises:
            ValueError: alpha is not in [0, 1].
        """
        return draw_overlay(self.image, self.labels, self.words, self.colors, alpha=alpha, legend=legend)

    def report(self) -> dict[str, Any]:
        """What `out/photo.json` holds; plain Python values, ready for strict JSON.

        Returns: "image" (as it was named, None for one from memory), "width", "height", "model", "classes",
            "unlabelled" (pixels) and "seconds". "classes" lists every word: its "id" in the label map, "name", "color"
            (RGB), "pixels", their "fraction" of the picture, and "mean_confidence" over them (None without any).
            Pixels and unlabelled add up to width x height.
        """
        flat = self.labels.ravel()
        pixels = np.bincount(flat, minlength=UNLABELLED + 1)
        confidence = np.bincount(flat, weights=self.confidence.ravel(), minlength=UNLABELLED + 1)
        classes = [
            {
                "id": label,
                "name": name,
                "color": self.colors[label].tolist(),
                "pixels": int(pixels[label]),
                "fraction": round(float(pixels[label] / flat.size), 6),
                "mean_confidence": _mean(float(confidence[label]), int(pixels[label])),
            }
            for label, name in enumerate(self.words)
        ]
        return {
            "image": self.source,
            "width": self.width,
            "height": self.height,
            "model": self.model,
            "classes": classes,
            "unlabelled": int(pixels[UNLABELLED]),
            "seconds": round(self.seconds, 3),
        }

    def save(self, out_dir: str | os.PathLike[str], stem: str | None = None) -> ResultPaths:
        """Write the label map, the overlay and the report, each atomically; earlier results are replaced.

        Args:
            out_dir: the folder to write to; made where needed.
            stem: the files' common name, which may begin with sub-folders; by default the picture's own name without
                suffix, or "segmentation" for one from memory.

        Returns: the three paths.

        Raises:
            UsageError: a result would overwrite the picture itself.
            OutputError: a file can't be written, for example because the disk is full.
        """
        if stem is None:
            stem = "segmentation" if self.source is None else Path(self.source).stem
        paths = ResultPaths.below(out_dir, stem)
        if self.source is not None:
            refuse_overwriting([self.source], paths)
        overlay = self.overlay()
        write_label_map(paths.label_map, self.labels, self.colors)
        # Level 1: a photograph packs hardly better at level 6, which takes four times as long.
        write_atomically(paths.overlay, lambda file: overlay.save(file, "PNG", compress_level=1))
        write_atomically(paths.report, lambda file: file.write(_json_text(self.report())))
        return paths


def _mean(total: float, count: int) -> float | None:
    # Strict JSON has no NaN, which a network that overflowed could give.
    return round(total / count, 6) if count and math.isfinite(total) else None


def _json_text(report: dict[str, Any]) -> bytes:
    """Strict JSON with one class a line; a file name that is no Unicode keeps its bytes as escapes."""
    fields = {key: _dumps(value) for key, value in report.items()}
    fields["classes"] = "[\n" + ",\n".join(f"  {_dumps(entry)}" for entry in report["classes"]) + "\n ]"
    text = "{\n" + ",\n".join(f' "{key}": {value}' for key, value in fields.items()) + "\n}\n"
    return text.encode("utf-8", "backslashreplace")


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
