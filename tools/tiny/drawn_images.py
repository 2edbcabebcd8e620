"""Held-out photographs drawn by a seed: what is true, what a model says, and both as label maps with names.

The maps are flat colors without anything of the photographs, whose licenses differ.
"""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, ImageDraw

from segvoc.data.labeled_images import LabeledImage, LabeledImages, read_classes
from segvoc.errors import UsageError
from segvoc.imaging.fonts import default_font
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.legend import PANEL_COLOR, draw_legend, line_height
from segvoc.imaging.overlay import draw_overlay
from segvoc.imaging.palette import class_colors
from segvoc.imaging.regions import class_regions
from segvoc.models.network_segmenter import NetworkSegmenter
from tools.tiny.photos import NO_WORD

WIDTH = 300
"""Width of a map [px]; higher ones than wide are scaled to this height."""

TEXT_SIZE = 11
"""Size of the names [px]."""

LEGEND_LINES = 8
"""Words that a legend lists at most; the last line counts the others."""

GAP = 8
"""Distance of two maps [px]."""

BACKGROUND_COLOR = (95, 98, 104)
"""Gray, which no word has."""

HeldOut = tuple[str, str]
"""Data set and file name of a photograph."""

Labels = UInt16[np.ndarray, "H W"]


@dataclass(frozen=True, kw_only=True)
class WordScore:
    """A word that an image's truth contains."""

    word: str
    """The word."""
    fraction: float
    """Share of the image's pixels that it truly has, in [0, 1]."""
    iou: float
    """IoU of truth and prediction, in percent, over the labeled pixels."""


@dataclass(frozen=True, kw_only=True)
class DrawnImage:
    """Figures of one drawn image."""

    image: str
    """File name of its maps."""
    data_set: str
    """Its data set."""
    file: str
    """File name of the photograph there."""
    pixel_accuracy: float
    """Correct pixels among the labeled ones, in percent; background counts where the data set has it."""
    words: tuple[WordScore, ...]
    """The true words, largest first, without background."""
    background_pixels: int
    """True pixels of the background."""
    background_found: int
    """Those of them that the prediction calls background."""
    word_pixels: int
    """True pixels of words."""
    word_pixels_lost: int
    """Those of them that the prediction calls background."""


def read_held_out(path: Path) -> list[HeldOut]:
    """Read a JSON list of [data set, file name].

    Raises:
        UsageError: the file can't be read, or isn't such a list.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"the list of held-out photographs {str(path)!r} can't be read: {error}") from None
    if (
        not isinstance(entries, list)
        or not entries
        or not all(isinstance(entry, list) and [type(part) for part in entry] == [str, str] for entry in entries)
    ):
        raise UsageError(f'{str(path)!r} is not a list of photographs; write [["voc", "2007_000033.jpg"], ...]')
    return [(data_set, Path(file).name) for data_set, file in entries]


def draw_by_seed(held_out: Iterable[HeldOut], number: int, seed: int) -> list[HeldOut]:
    """Draw photographs: one of each data set in turn, in an order that the seed decides, until there are enough.

    The order of `held_out` doesn't matter, nor does a photograph that is listed twice.

    Raises:
        UsageError: there aren't enough photographs.
    """
    chance = random.Random(seed)
    piles: dict[str, list[str]] = defaultdict(list)
    for data_set, file in sorted(set(held_out)):
        piles[data_set].append(file)
    if (available := sum(map(len, piles.values()))) < number:
        raise UsageError(f"{number} photographs can't be drawn from {available}; list more, or draw fewer")
    for files in piles.values():
        chance.shuffle(files)
    order = list(piles)
    chance.shuffle(order)
    turns = [(turn, place, data_set) for place, data_set in enumerate(order) for turn in range(len(piles[data_set]))]
    return [(data_set, piles[data_set][turn]) for turn, _, data_set in sorted(turns)[:number]]


def data_set_at(root: Path, name: str) -> LabeledImages:
    """A data set with images/, labels/ and classes.json; "background" among its classes is none of the others.

    Raises:
        UsageError: a folder or file is missing.
    """
    folder = root / name
    background = NO_WORD if NO_WORD in read_classes(folder / "classes.json").words else None
    return LabeledImages.from_folders(
        folder / "images", folder / "labels", folder / "classes.json", background=background
    )


def find_photograph(images: LabeledImages, file: str) -> LabeledImage:
    """The photograph of a file name.

    Raises:
        UsageError: the data set has none of that name.
    """
    for image in images.images:
        if image.image.name == file:
            return image
    raise UsageError(f"{file!r} is not among the {len(images)} photographs of its data set; correct the list")


def measured(
    truth: Labels, prediction: Labels, words: Sequence[str], background: str | None
) -> tuple[dict[str, Any], tuple[WordScore, ...]]:
    """Figures of a prediction: the counts of `DrawnImage` and its pixel accuracy; the true words with their IoU."""
    known = truth != UNLABELED
    nothing = words.index(background) if background is not None else -1
    scores = []
    for label in np.unique(truth[known]).tolist():
        if label != nothing:
            true, given = truth == label, (prediction == label) & known
            scores.append(
                WordScore(
                    word=str(words[label]),
                    fraction=round(float(true.mean()), 4),
                    iou=round(100 * int((true & given).sum()) / int((true | given).sum()), 1),
                )
            )
    is_background, given_background = truth == nothing, prediction == nothing
    counts = {
        "pixel_accuracy": round(100 * float((truth == prediction)[known].mean()), 1) if known.any() else 0.0,
        "background_pixels": int(is_background.sum()),
        "background_found": int((is_background & given_background).sum()),
        "word_pixels": int((known & ~is_background).sum()),
        "word_pixels_lost": int((known & ~is_background & given_background).sum()),
    }
    return counts, tuple(sorted(scores, key=lambda score: -score.fraction))


def draw_maps(truth: Labels, prediction: Labels, words: Sequence[str], background: str | None) -> Image.Image:
    """Truth and prediction side by side, each with its own legend; a word has the same color in both."""
    names, colors, maps = _shared(truth, prediction, words, background)
    panels = [_panel(title, labels, names, colors) for title, labels in zip(("truth", "prediction"), maps, strict=True)]
    return beside(panels)


def beside(panels: Sequence[Image.Image]) -> Image.Image:
    """Images in a row, aligned at the top."""
    size = sum(panel.width for panel in panels) + GAP * (len(panels) - 1), max(panel.height for panel in panels)
    canvas, left = Image.new("RGB", size, PANEL_COLOR), 0
    for panel in panels:
        canvas.paste(panel, (left, 0))
        left += panel.width + GAP
    return canvas


def _shared(
    truth: Labels, prediction: Labels, words: Sequence[str], background: str | None
) -> tuple[list[str], UInt8[np.ndarray, "K 3"], list[Labels]]:
    """Names and colors of the words that occur in either map, and the maps with these indices.

    The truly largest words come first, so that they get the colors that are easiest to tell apart; background is last.
    """
    counts = [np.bincount(labels.ravel(), minlength=UNLABELED + 1)[: len(words)] for labels in (truth, prediction)]
    nothing = np.array([word == background for word in words])
    order = np.lexsort((-counts[1], -counts[0], nothing)).tolist()
    present = [label for label in order if counts[0][label] + counts[1][label]]
    table = np.full(UNLABELED + 1, UNLABELED, np.uint16)
    table[present] = np.arange(len(present))
    names: list[str] = [words[int(label)] for label in present]
    colors = class_colors(len(names)).copy()
    if background in names:
        colors[names.index(background)] = BACKGROUND_COLOR
    return names, colors, [table[labels] for labels in (truth, prediction)]


def _panel(title: str, labels: Labels, names: Sequence[str], colors: UInt8[np.ndarray, "K 3"]) -> Image.Image:
    """A map below its title and above its legend."""
    scale = WIDTH / max(labels.shape)
    size = round(labels.shape[1] * scale), round(labels.shape[0] * scale)
    small = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    nothing = np.zeros((*small.shape, 3), np.uint8)
    flat = draw_overlay(nothing, class_regions(small, names, colors), alpha=1.0, names=False, legend=False)
    entries = class_regions(labels, names, colors).entries  # shares at full size
    rows = line_height(TEXT_SIZE) * (LEGEND_LINES + 1)
    legend = draw_legend(entries, WIDTH, rows, TEXT_SIZE)
    assert legend is not None  # it holds at least a shortened name
    top = line_height(TEXT_SIZE) + 4
    canvas = Image.new("RGB", (WIDTH, top + flat.height + legend.height), PANEL_COLOR)
    ImageDraw.Draw(canvas).text((4, top // 2), title, (255, 255, 255), default_font(TEXT_SIZE), anchor="lm")
    canvas.paste(flat, ((WIDTH - flat.width) // 2, top))
    canvas.paste(legend, (0, top + flat.height), legend)
    return canvas


def draw_all(
    model: NetworkSegmenter, root: Path, chosen: Sequence[HeldOut], out: Path, with_photos: Path | None = None
) -> list[DrawnImage]:
    """Label the chosen photographs with all words of their data sets, and write the maps.

    Args:
        model: labels them.
        root: folder of the data sets.
        chosen: the photographs.
        out: folder of the maps, 01.png, 02.png, ...
        with_photos: folder for the same beside the photographs, as JPEG.

    Returns:
        Figures of each image, in the same order.
    """
    out.mkdir(parents=True, exist_ok=True)
    sets = {name: data_set_at(root, name) for name in dict.fromkeys(data_set for data_set, _ in chosen)}
    drawn = []
    for number, (data_set, file) in enumerate(chosen, start=1):
        images = sets[data_set]
        words = images.vocabulary.words
        photograph, truth = find_photograph(images, file).read(len(words))
        prediction = model.segment(photograph, images.vocabulary, background=images.background).labels
        maps = draw_maps(truth, prediction, words, images.background)
        name = f"{number:02}.png"
        maps.quantize(256, dither=Image.Dither.NONE).save(out / name, optimize=True)
        if with_photos is not None:
            with_photos.mkdir(parents=True, exist_ok=True)
            small = Image.fromarray(photograph)
            small.thumbnail((WIDTH, WIDTH))
            beside([small, maps]).save(with_photos / f"{number:02}_{data_set}_{Path(file).stem}.jpg", quality=90)
        counts, scores = measured(truth, prediction, words, images.background)
        drawn.append(DrawnImage(image=name, data_set=data_set, file=file, words=scores, **counts))
        print(f"{name} {data_set} {file}: {counts['pixel_accuracy']:.1f} %", flush=True)
    return drawn


def as_json(drawn: Sequence[DrawnImage]) -> list[dict[str, Any]]:
    """The figures as plain values."""
    return [asdict(image) for image in drawn]


def from_json(entries: Sequence[dict[str, Any]]) -> list[DrawnImage]:
    """The figures that `as_json` made plain."""
    drawn = []
    for entry in entries:
        scores = tuple(WordScore(**score) for score in entry["words"])
        drawn.append(DrawnImage(words=scores, **{key: value for key, value in entry.items() if key != "words"}))
    return drawn
