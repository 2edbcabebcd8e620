"""Does SynSeg learn masks of nouns from the captions of a few photographs, without any mask?

    python -m benchmarks.syn_seg_learning PHOTOS [--rows all ...] [--seeds 0 1 2] [--folder DIR]

PHOTOS contains images/, labels/, classes.json and captions.json (COCO id -> captions). `tiny`'s trunk, pretrained on
ImageNet, and its text encoder stand in for CLIP. The recipe `tiny-syn` is trained on the captions of one half of the
photographs. The other half is segmented with the nouns of its captions, and where a noun names a class in the image
(`CALLED` lists other names of classes), its mask is compared with the ground truth. Scores are means over these masks:
"mask": probability above 0.5; "tuned": above the threshold that is best on the training half; "argmax": the noun is the
most likely one of its caption. "cost" is the trunk's cost, "untrained" the recipe's initial state, "random" the same
decoder with random weights and without the cost.

Finished runs stay in the folder, so that an interrupted call resumes; the table is FOLDER/table.json (that of
2026-11-20: results/syn_seg_learning.json; three seeds of the losses, one of the other settings).
"""

import argparse
import json
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.data.captions.caption_dataset import CaptionDataset
from segvoc.data.captions.caption_index import build_index
from segvoc.data.captions.cleaning import CleaningRules
from segvoc.data.captions.sources import find_captions
from segvoc.encoders.base import TokenFeatures
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.models.loading import load_network
from segvoc.networks.syn_seg import SynSeg
from segvoc.storage.json_files import write_json
from segvoc.training.caption_task import CaptionFiles
from segvoc.training.recipe import Recipe
from segvoc.training.recipes.syn_seg import tiny_syn
from segvoc.training.run import train
from segvoc.training.start import Start, build
from segvoc.vocabulary import Vocabulary

CALLED = {
    "person": "man woman men women people boy girl child children kid guy lady player skateboarder surfer skier "
    "snowboarder rider chef baby pedestrian crowd toddler batter umpire pitcher catcher male female",
    "dining table": "table",
    "couch": "sofa",
    "tv": "television",
    "cell phone": "phone cellphone",
    "airplane": "plane jet aircraft",
    "bicycle": "bike",
    "motorcycle": "motorbike",
    "potted plant": "plant",
    "refrigerator": "fridge",
    "donut": "doughnut",
    "tennis racket": "racket racquet",
    "baseball bat": "bat",
    "sports ball": "ball",
    "oven": "stove",
    "handbag": "purse",
    "suitcase": "luggage",
    "cow": "cattle",
}
"""Other names of COCO's classes, as their last word."""

ASKED = 8
"""Phrases of a photograph, at most, that it is asked for."""

SIDE = 112
"""Masks are compared on squares of this side [px]."""

THRESHOLDS = torch.linspace(-6, 6, 49)
"""Logits."""

ROWS: dict[str, tuple[str, ...]] = {
    "all": (),
    "without align": ("align_weight=0",),
    "without cont": ("cont_weight=0",),
    "without back": ("back_weight=0",),
    "without sep": ("sep_weight=0",),
    "v2": ("loss_version=v2",),
    "eps 0.05": ("loss_eps=0.05",),
    "eps 0.0005": ("loss_eps=0.0005",),
    "cont where the cosine exceeds 0.3": ("active_threshold=0.3",),
    "rate / 3": (f"lr={tiny_syn().optimizer.lr / 3}",),
    "rate x 3": (f"lr={tiny_syn().optimizer.lr * 3}",),
    "no warm-up": ("warmup_steps=0",),
    "weight decay 1e-4": ("weight_decay=1e-4",),
    "align x 2": ("align_weight=2",),
    "cont x 2": ("cont_weight=3",),
    "back x 2": ("back_weight=2",),
    "sep x 2": ("sep_weight=1",),
    "8 phrases": ("max_phrases=8",),
    "nothing mirrored": ("flip=false",),
    "substrings excluded": ("match=substring",),
    "film=mlp": ("film=mlp",),
    "pooled=map": ("pooled=map",),
    "pooled=conditional": ("pooled=conditional",),
}
"""Changes to the recipe, as for `--set`: first the ablation of the losses, then a sensitivity study."""

MEASURES = ("mask", "tuned", "argmax")


@dataclass(frozen=True, eq=False)
class Photo:
    """A photograph and the classes that its caption names."""

    name: str
    """Its file name without suffix."""
    text: Tensor
    """Embeddings of its noun phrases."""
    tokens: TokenFeatures
    """Features of the image encoder."""
    classes: tuple[tuple[str, tuple[int, ...], Tensor], ...]
    """For each named class in the image: its name, the phrases that name it, and its mask."""
    known: Tensor
    """Mask of labeled pixels."""


def class_of(phrase: str, classes: Iterable[str]) -> str | None:
    """The class that a noun phrase names."""
    for name in classes:
        for other in (name, *CALLED.get(name, "").split()):
            if re.search(rf"(^|\s){re.escape(other)}(s|es)?$", phrase):
                return name
    return None


def read_photos(folder: Path, dataset: CaptionDataset, network: SynSeg, side: int) -> list[Photo]:
    """All photographs with phrases."""
    classes = json.loads((folder / "classes.json").read_text(encoding="utf-8"))[:-1]
    encode, found = VocabularyEncoder(network.text_encoder, ("{}",)), []
    for entry in dataset.entries():
        stem, names = entry.name, dataset.phrases(entry)
        image = Image.fromarray(entry.location.read()).resize((side, side), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
        labels = Image.open(folder / "labels" / f"{stem}.png").resize((SIDE, SIDE), Image.Resampling.NEAREST)
        label = torch.from_numpy(np.array(labels))
        named = [class_of(name, classes) for name in names]
        present = [name for name in dict.fromkeys(named) if name is not None and (label == classes.index(name)).any()]
        masks = tuple(
            (name, tuple(i for i, other in enumerate(named) if other == name), label == classes.index(name))
            for name in present
        )
        with torch.no_grad():
            tokens = network.image_encoder.tokens(pixels, dense=False)  # pyright: ignore[reportCallIssue]
        found.append(Photo(stem, encode(Vocabulary(names)), tokens, masks, label != 255))
    return found


def overlaps(photos: Iterable[Photo], decoder: nn.Module) -> dict[str, Tensor]:
    """IoU of each named class in each photograph by each rule; "tuned" has a column per threshold."""
    found: dict[str, list[Tensor]] = {"mask": [], "tuned": [], "argmax": []}
    for photo in photos:
        context = AggregationContext((1, 1), None, len(photo.text))
        with torch.no_grad():
            logits = decoder(photo.tokens, photo.text[None], context)[0]
        logits = F.interpolate(logits, size=(SIDE, SIDE), mode="bilinear")[0]
        best = logits.argmax(dim=0)
        for _, own, mask in photo.classes:
            highest = logits[list(own)].amax(dim=0)
            found["mask"].append(_iou(highest > 0, mask, photo.known))
            found["argmax"].append(_iou(torch.isin(best, torch.tensor(own)), mask, photo.known))
            found["tuned"].append(torch.stack([_iou(highest > t, mask, photo.known) for t in THRESHOLDS]))
    return {name: torch.stack(values) for name, values in found.items()}


def _iou(predicted: Tensor, true: Tensor, known: Tensor) -> Tensor:
    return (predicted & true & known).sum() / ((predicted | true) & known).sum()


def scores(network: nn.Module, training: list[Photo], held_out: list[Photo]) -> dict[str, list[float]]:
    """IoU in percent of each mask of the held-out half."""
    found, threshold = overlaps(held_out, network), overlaps(training, network)["tuned"].mean(dim=0).argmax()
    found["tuned"] = found["tuned"][:, threshold]
    return {name: [round(100 * value, 3) for value in values.tolist()] for name, values in found.items()}


def initial_decoder(recipe: Recipe, weights: str, seed: int) -> nn.Module:
    """A decoder before training: "untrained", the recipe's initial state, or "random", random weights without cost."""
    start = Start(weights="random" if weights == "random" else None)
    decoder = build(recipe, start, seed).network.eval().aggregation
    if weights == "random":
        skip = decoder.get_submodule("skip")
        for parameter in skip.parameters():
            parameter.data.zero_()
    return decoder


def main() -> None:
    """Train the missing runs and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/syn_seg_learning"))
    arguments = parser.parse_args()
    journal = arguments.folder / "runs.json"
    done = json.loads(journal.read_text()) if journal.exists() else {}
    recipe, features = tiny_syn(), arguments.folder / "features"
    images = arguments.photos / "images"
    source = find_captions(arguments.photos / "captions.json", images)
    captions = {image.name: image.captions for image in source.images()}
    dataset = CaptionDataset(build_index(source, features, "rules", CleaningRules(most=ASKED)))
    network = build(recipe, Start(), 0).network.eval()
    assert isinstance(network, SynSeg)
    photos = read_photos(arguments.photos, dataset, network, recipe.data.crop_size)
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(0)).tolist()
    halves = [order[::2], order[1::2]]

    def save(key: str, decoder: nn.Module, fold: int) -> None:
        training, held_out = ([photos[index] for index in halves[half]] for half in (fold, 1 - fold))
        done[key] = scores(decoder, training, held_out)
        write_json(journal, done)
        print(key, {name: round(statistics.fmean(values), 2) for name, values in done[key].items()}, flush=True)

    for seed in arguments.seeds:
        for fold in (0, 1):
            for weights in ("untrained", "random"):
                if (key := f"{weights} {seed} {fold}") not in done:
                    save(key, initial_decoder(recipe, weights, seed), fold)
    for row in arguments.rows:
        for seed in arguments.seeds:
            for fold, half in enumerate(halves):
                key, out = f"{row} {seed} {fold}", arguments.folder / f"{row} {seed} {fold}".replace(" ", "_")
                if key in done:
                    continue
                own = {photos[index].name: captions[photos[index].name] for index in half}
                write_json(arguments.folder / f"captions_{fold}.json", own)
                files = CaptionFiles(
                    captions=arguments.folder / f"captions_{fold}.json", images=images, features=features
                )
                changed = recipe.with_settings(ROWS[row])
                train(changed, files, out, seed=seed, device="cpu", resume=True, progress=False)
                save(key, load_network(out / "model.safetensors", device="cpu").network.aggregation, fold)
    _table(done, arguments.seeds, arguments.folder / "table.json")


def _table(done: dict[str, dict[str, list[float]]], seeds: list[int], path: Path) -> None:
    """Mean scores over seeds and halves, with mean and standard errors of the gain over the initial state."""
    rows = []
    for row in ("random", "untrained", *ROWS):
        runs = [(seed, fold) for seed in seeds for fold in (0, 1) if f"{row} {seed} {fold}" in done]
        if not runs:
            continue
        line: dict[str, object] = {"row": row, "runs": len(runs)}
        for measure in MEASURES:
            values = {run: done[f"{row} {run[0]} {run[1]}"][measure] for run in runs}
            line[measure] = statistics.fmean(value for run in runs for value in values[run])
            for name, other in (("untrained", measure), ("cost argmax", "argmax")):
                gains = [np.subtract(values[run], done[f"untrained {run[0]} {run[1]}"][other]) for run in runs]
                line[f"{measure} - {name}"] = float(np.concatenate(gains).mean())
                line[f"{measure} - {name}, errors"] = _errors(runs, gains)
        rows.append(line)
        print(json.dumps(line))
    path.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


def _errors(runs: list[tuple[int, int]], gains: list[np.ndarray]) -> dict[str, float | None]:
    """Standard error of a mean gain: over seeds, and over masks (averaged over the seeds)."""
    by_seed = [
        float(np.concatenate([gain for run, gain in zip(runs, gains, strict=True) if run[0] == seed]).mean())
        for seed in sorted({seed for seed, _ in runs})
    ]
    by_fold = [
        np.mean([gain for run, gain in zip(runs, gains, strict=True) if run[1] == fold], axis=0)
        for fold in sorted({fold for _, fold in runs})
    ]
    masks = np.concatenate(by_fold)
    over_seeds = statistics.stdev(by_seed) / len(by_seed) ** 0.5 if len(by_seed) > 1 else None
    return {"seeds": over_seeds, "masks": float(masks.std(ddof=1) / len(masks) ** 0.5)}


if __name__ == "__main__":
    main()
