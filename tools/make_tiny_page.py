"""Write docs/explanation/what_tiny_can_do.md: what the embedded model can and can't do, in figures and label maps.

    python -m tools.make_tiny_page
    python -m tools.make_tiny_page --weights FOLD.safetensors --held-out FOLD.json --photos DIR [--with-photos DIR]

The figures come from the record (src/segvoc/weights/tiny.json), the drawn images and the fine-tuning benchmark
(benchmarks/results/tiny_finetune.json); the first call writes the page from them. The second call draws the images
again: a seed takes photographs out of FOLD.json, a list of [data set, file name] that a model of the cross-validation
hasn't seen, and this model labels them with all words of their data sets. Maps and figures are kept in
docs/images/tiny/. The photographs are not, since their licenses differ; `--with-photos` writes maps beside photographs
to a folder outside the repository, or below build/.
"""

import argparse
import itertools
import json
import re
import statistics
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import segvoc
from segvoc.errors import UsageError
from segvoc.models.presets import find_preset
from segvoc.storage.digests import file_sha256
from segvoc.storage.json_files import write_json
from tools.tiny.drawn_images import (
    DrawnImage,
    HeldOut,
    WordScore,
    as_json,
    data_set_at,
    draw_all,
    draw_by_seed,
    from_json,
    read_held_out,
)
from tools.tiny.whole_file import write_whole_file

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "explanation" / "what_tiny_can_do.md"
IMAGES = ROOT / "docs" / "images" / "tiny"
FIGURES = IMAGES / "images.json"
FINE_TUNING = ROOT / "benchmarks" / "results" / "tiny_finetune.json"
NUMBER = 24
MOST_BYTES = 1_500_000
"""All maps together may have this size."""

KINDS = {
    "caltech": "one animal or thing, often on plain ground",
    "clothing": "garments on people in the street",
    "coco-minis": "everyday scenes; things only",
    "coco-panoptic": "everyday scenes; things and surfaces",
    "coco-things": "everyday scenes; things only",
    "indoor": "corridors and rooms of one building",
    "lvis": "everyday scenes; many rare things",
    "pantry": "foods, many of them alike",
    "voc": "common things, animals and vehicles",
}
"""What the data sets show."""

SIZES = (0.02, 0.1)
"""Shares of an image that separate small, middle-sized and large regions."""

COLUMNS = 120
"""Length of the page's lines, where they can be wrapped."""

LONG = 100
"""Words that a long list has at least."""

BEFORE = "*Before* is a model with the data and costs of the previous version, trained and scored alike: "

TEXT = """# What tiny can and can't do

`tiny` ships with segvoc, so most people's first label map comes from it. It is a small model of our own, with
{megabytes} MB of weights, and no match for the published networks. This page says what to expect of it. Everything here
was measured on photographs that the scored model hadn't seen; `python -m tools.make_tiny_page` writes the page with all
its figures.

## In figures

{protocol} mIoU is the mean intersection over union of the words, and pixel accuracy the share of correct pixels. Both
are in percent, ± standard error.

{scores}

{compared}Words without a single labeled pixel in training:

{unseen}

{compared_unseen}## What it can do

- **Common things and surfaces.** It is best on {best}: animals, vehicles, furniture, people, sky, grass and water, in
  photographs as people take them.
- **Large regions.** {large}
- **Words that it wasn't trained on.** It relates any English word to those that it knows and to the classes of
  ImageNet, so it also finds things that no data set of its training names. The second table shows how well.
- **A short list of the right words.** In all scores above, every word of a data set competes. Results get better with
  fewer wrong words: ask for what may be there, and for the surroundings.

## What it can't do

- **Long lists of similar or rare words.** {long_lists}
- **Small things and fine edges.** {small}
  It sees an image as a square of {side} px, whatever its size, so thin poles, cutlery and distant people get lost.
- **Know that none of the words is there.** {background}
  Without `--background` or `--threshold`, every pixel gets one of your words, however unlikely. See
  [Choose your words](../how_to/words.md#background-and-thresholds).
- **Parts.** It has learned whole things, and garments on people. {parts}
  See [Segment parts](../how_to/parts.md).
- **Other kinds of images.** It has learned from photographs of everyday scenes, single things, garments, foods and
  rooms. Drawings, aerial and medical images, microscopy, night and fog are not measured here; expect less.
- **Counting and reading.** All things of a word share one label, and writing is not read.
- **Languages other than English.**

## When you have labeled photographs

[Fine-tuning](../how_to/own_data.md) helps most where tiny is poor. {fine_tuning}

## {number} images that nobody chose

A seed ({seed}) drew them from {held_out:,} photographs of one fold of the cross-validation, one of each data set in
turn. The model of that fold, which hasn't seen them, labeled them with all words of their data sets. Where a data set
has a background, the model was told so (`background=`), and the background counts. The photographs can't be shown,
since their licenses differ. Black is unlabeled in the truth; what the prediction says there counts nowhere. The
legends show each word's share of the image.

Pixel accuracy is {median:.0f} % in the median image, {lowest:.0f} % in the worst and {highest:.0f} % in the best.

{gallery}
## What it was trained on

{origins}"""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Everything that the page's figures come from."""

    record: Mapping[str, Any]
    """The record of the shipped weights."""
    drawn: Mapping[str, Any]
    """Figures of the drawn images, see `draw`."""
    fine_tuning: Sequence[Mapping[str, Any]] = ()
    """Rows of the fine-tuning benchmark, if it has been run."""

    @classmethod
    def read(cls) -> "Sources":
        """Read the files in the repository.

        Raises:
            UsageError: no images have been drawn yet.
        """
        if not FIGURES.exists():
            raise UsageError(
                f"{str(FIGURES)!r} does not exist; draw the images with --weights, --held-out and --photos"
            )
        rows = json.loads(FINE_TUNING.read_text(encoding="utf-8"))["rows"] if FINE_TUNING.exists() else ()
        drawn = json.loads(FIGURES.read_text(encoding="utf-8"))
        return cls(record=find_preset("tiny").read_record(), drawn=drawn, fine_tuning=rows)

    @property
    def held_out(self) -> Mapping[str, Mapping[str, Any]]:
        """Scores of each data set, best first.

        Raises:
            UsageError: the record has none.
        """
        return _best_first(self._scores("held_out"))

    @property
    def unseen(self) -> Mapping[str, Mapping[str, Any]]:
        """Scores of words that weren't trained on, best first.

        Raises:
            UsageError: the record has none.
        """
        return _best_first(self._scores("unseen_words"))

    @property
    def images(self) -> list[DrawnImage]:
        """The drawn images."""
        return from_json(self.drawn["images"])

    def words_of(self, data_set: str) -> int:
        """Number of words of a data set, without background; 0 if that isn't known."""
        return self.drawn["data_sets"].get(data_set, {}).get("words", 0)

    def _scores(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        found = self.record.get("scores", {}).get(name)
        if not found:
            raise UsageError(
                f"the record of tiny has no scores under {name!r}; make the weights again with `make tiny`"
            )
        return found


def _best_first(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return dict(sorted(scores.items(), key=lambda item: -item[1]["miou"]))


def page(sources: Sources | None = None) -> list[str]:
    """The lines of the page.

    Args:
        sources: where its figures come from; None: the files in the repository.

    Raises:
        UsageError: no images have been drawn, or the record lacks scores.
    """
    sources = sources or Sources.read()
    images = sources.images
    small, *_, large = region_sizes(images)
    accuracies = [image.pixel_accuracy for image in images]
    best = [
        f"`{name}` ({score['pixel_accuracy']:.0f} % of the pixels right)" for name, score in sources.held_out.items()
    ]
    origins = sources.record["origin"]["photographs"]
    text = TEXT.format(
        megabytes=f"{sum(sources.record['bytes'].values()) / 1e6:.0f}",
        protocol=_sentence(sources.record["scores"]["protocol"]),
        scores=_scores_table(sources),
        compared=_compared(sources.held_out, BEFORE),
        compared_unseen=_compared(sources.unseen),
        unseen=_unseen_table(sources.unseen),
        best=" and ".join(best[:2]),
        large=_size_text(large, f"cover at least {_percent(SIZES[-1])} of an image"),
        small=_size_text(small, f"cover less than {_percent(SIZES[0])} of an image"),
        long_lists=_long_lists(sources),
        side=find_preset("tiny").protocols["single"].size,
        background=_background_text(images),
        parts=_parts_text(sources.fine_tuning),
        fine_tuning=_fine_tuning_table(sources.fine_tuning),
        number=len(images),
        seed=sources.drawn["seed"],
        held_out=sources.drawn["held_out"],
        median=statistics.median(accuracies),
        lowest=min(accuracies),
        highest=max(accuracies),
        gallery="".join(_shown(image, sources.words_of(image.data_set)) for image in images),
        origins="\n".join(f"- `{name}`: {origin}" for name, origin in origins.items()),
    )
    return wrapped(text).splitlines()


def wrapped(text: str) -> str:
    """Markdown with paragraphs and list items of at most 120 columns; tables, headings and images stay as they are."""
    blocks = []
    for block in text.split("\n\n"):
        if block.startswith(("|", "#", "!")):
            blocks.append(block)
        else:
            blocks.append("\n".join(_filled(item) for item in re.split(r"\n(?=- )", block)))
    return "\n\n".join(blocks)


def _filled(item: str) -> str:
    indent = "  " if item.startswith("- ") else ""
    text = " ".join(item.split())
    return textwrap.fill(text, COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def region_sizes(images: Sequence[DrawnImage]) -> list[list[WordScore]]:
    """The true words of all images, grouped by the share of the image that they cover: small, middle-sized, large."""
    scores = [score for image in images for score in image.words]
    limits = itertools.pairwise((0.0, *SIZES, float("inf")))
    return [[score for score in scores if low <= score.fraction < high] for low, high in limits]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _sentence(text: str) -> str:
    text = text.strip().removesuffix(".")
    return f"{text[:1].upper()}{text[1:]}."


def _scores_table(sources: Sources) -> str:
    rows = [
        ([f"`{name}`", KINDS.get(name, ""), str(sources.words_of(name) or "")], score)
        for name, score in sources.held_out.items()
    ]
    return _table(["data set", "what it shows", "words"], rows)


def _unseen_table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    return _table(["words"], [([name], score) for name, score in scores.items()])


def _table(columns: Sequence[str], rows: Sequence[tuple[Sequence[str], Mapping[str, Any]]]) -> str:
    """A Markdown table of own columns and scores, with those of before where there are any."""
    before = any("before" in score for _, score in rows)
    names = {"miou": "mIoU", "pixel_accuracy": "pixel accuracy"}
    lines = [[*columns, *(title for name in names.values() for title in (name, "before")[: 1 + before])]]
    lines.append(["---"] * len(lines[0]))
    for cells, score in rows:
        both = (score, score.get("before", {}))[: 1 + before]
        lines.append([*cells, *(_figure(of, measure) for measure in names for of in both)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _figure(score: Mapping[str, Any], measure: str) -> str:
    if measure not in score:
        return ""
    error = score.get(f"{measure}_error")
    return f"{score[measure]:.1f}" + ("" if error is None else f" ± {error:.1f}")


def _compared(scores: Mapping[str, Mapping[str, Any]], introduction: str = "") -> str:
    """Where the mIoU differs from that of before by more than two standard errors of the difference."""
    differences = {name: score["difference"] for name, score in scores.items() if "difference" in score}
    if not differences:
        return ""
    sure = {name: of["miou"] for name, of in differences.items() if abs(of["miou"]) > 2 * of["miou_error"]}
    rest = [name for name in differences if name not in sure]
    parts = [
        f"{word} on {_enumerated(names)}"
        for word, names in (
            ("higher", [name for name, change in sure.items() if change > 0]),
            ("lower", [name for name, change in sure.items() if change < 0]),
        )
        if names
    ]
    if rest:
        parts.append(f"about the same on {_enumerated(rest)} (within two standard errors of the difference)")
    return f"{introduction}mIoU is now {'; '.join(parts)}.\n\n"


def _enumerated(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _size_text(scores: Sequence[WordScore], which: str) -> str:
    if not scores:
        return f"No words in the images below {which}."
    iou, missed = statistics.fmean(score.iou for score in scores), sum(score.iou < 1 for score in scores)
    return (
        f"Words that {which} have a mean IoU of {iou:.0f} % in the images below "
        f"({len(scores)} words in all images, {missed} of them missed)."
    )


def _long_lists(sources: Sources) -> str:
    long = [
        f"{score['miou']:.0f} % on `{name}` ({sources.words_of(name)} words)"
        for name, score in sources.held_out.items()
        if sources.words_of(name) >= LONG
    ]
    return f"Of data sets with {LONG} words or more, mIoU is {', '.join(long) or 'not known'}."


def _background_text(images: Sequence[DrawnImage]) -> str:
    known = [image for image in images if image.background_pixels]
    if not known:
        return "None of the images below has a labeled background."
    found = sum(image.background_found for image in known) / sum(image.background_pixels for image in known)
    lost = sum(image.word_pixels_lost for image in known) / max(1, sum(image.word_pixels for image in known))
    return (
        f"With `--background`, it finds {_percent(found)} of the background of the {len(known)} images below that have "
        f"any, and takes {_percent(lost)} of their other pixels for background."
    )


def _parts_text(rows: Sequence[Mapping[str, Any]]) -> str:
    for row in rows:
        if row["photographs"] == 0 and row["score"] == "mIoU, within the parts":
            return f"Of the parts of cars, which it hasn't learned, mIoU is {row['shipped']:.1f} % within the parts."
    return "Expect little of other parts without fine-tuning."


def _fine_tuning_table(rows: Sequence[Mapping[str, Any]]) -> str:
    chosen = [row for row in rows if row["score"].startswith("mIoU")]
    if not chosen:
        return ""
    lines = [
        "For example, it has seen no parts of cars. Scores are those of held-out photographs, after a few steps on "
        "small images (`benchmarks/results/tiny_finetune.md`):\n",
        "| photographs to learn from | score | from the previous version | from this one | difference |",
        "|---|---|---|---|---|",
    ]
    for row in chosen:
        error = "" if row["standard_error"] is None else f" ± {row['standard_error']:.1f}"
        figures = f"{row['against']:.1f} | {row['shipped']:.1f} | {row['difference']:+.1f}{error}"
        lines.append(f"| {row['photographs']} | {row['score']} | {figures} |")
    return "\n".join(lines)


def _shown(image: DrawnImage, words: int) -> str:
    found = ", ".join(f"{score.word} {score.iou:.0f}" for score in image.words)
    return (
        f"![Label maps of {image.data_set}, {image.file}: truth and prediction](../images/tiny/{image.image})\n\n"
        f"`{image.data_set}`, {words} words: pixel accuracy {image.pixel_accuracy:.0f} %. "
        f"{f'IoU: {found}.' if found else 'None of the words is in it.'}\n\n"
    )


def draw(weights: Path, held_out: Sequence[HeldOut], photos: Path, seed: int, with_photos: Path | None) -> None:
    """Draw the images again and write their maps and figures.

    Raises:
        UsageError: a file or folder is missing or can't be used, or the maps are too large.
    """
    if with_photos is not None:
        check_outside(with_photos)
    chosen = draw_by_seed(held_out, NUMBER, seed)
    sets = {name: data_set_at(photos, name) for name in sorted({name for name, _ in held_out})}
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.safetensors"
        write_whole_file(weights, whole)
        model = segvoc.load(whole)
    for stale in IMAGES.glob("*.png"):
        stale.unlink()
    drawn = draw_all(model, photos, chosen, IMAGES, with_photos)
    check_size(IMAGES)
    figures = {
        "seed": seed,
        "weights": file_sha256(weights),
        "held_out": len(set(held_out)),
        "data_sets": {
            name: {
                "words": len(images.vocabulary) - (images.background is not None),
                "held_out": len({file for data_set, file in held_out if data_set == name}),
            }
            for name, images in sets.items()
        },
        "images": as_json(drawn),
    }
    write_json(FIGURES, figures)


def check_outside(folder: Path, root: Path = ROOT) -> None:
    """Check that photographs in a folder can't be committed: it is outside the repository, or below build/.

    Raises:
        UsageError: it isn't.
    """
    place = folder.resolve()
    if place.is_relative_to(root) and not place.is_relative_to(root / "build"):
        raise UsageError(f"{str(folder)!r} is in the repository, where no photograph may be; take one below build/")


def check_size(folder: Path, most: int = MOST_BYTES) -> None:
    """Check that the maps in a folder are small enough for the repository.

    Raises:
        UsageError: they aren't.
    """
    total = sum(path.stat().st_size for path in folder.glob("*.png"))
    if total > most:
        raise UsageError(f"the maps have {total / 1e6:.2f} MB, more than {most / 1e6:.2f}; draw fewer or smaller ones")


def main() -> None:
    """Draw the images where weights are given, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weights of a fold's model, to draw images")
    parser.add_argument("--held-out", type=Path, metavar="FILE", help="JSON list of the fold's [data set, file name]")
    parser.add_argument("--photos", type=Path, default=ROOT.parent / "shared" / "data" / "photos", metavar="DIR")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing")
    parser.add_argument("--with-photos", type=Path, metavar="DIR", help="also write maps beside photographs: build/...")
    chosen = parser.parse_args()
    if (chosen.weights is None) != (chosen.held_out is None):
        parser.error("--weights and --held-out go together; give both, or neither to write the page only")
    if chosen.weights is not None:
        draw(chosen.weights, read_held_out(chosen.held_out), chosen.photos, chosen.seed, chosen.with_photos)
    PAGE.write_text("\n".join(page()) + "\n", encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
