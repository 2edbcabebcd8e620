"""Shares a run as a model: weights, record, and a model card with data, scores, curves and images."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from segvoc.errors import counted
from segvoc.models.sharing import ScoreTable, ShareableModel
from segvoc.storage.atomic_writes import write_path_atomically
from segvoc.storage.files import read_json
from segvoc.storage.journal import read_journal
from segvoc.training.run_folder import MODEL_FILE, kept_validation, validation_score

RECORD = "training.json"
"""File of the record in a shared model."""

CURVES = "curves.png"
"""The run's training curves, which also stand on the card."""

SHOWN_IMAGES = 3
"""Images of the run on the card."""


def is_run(folder: str | os.PathLike[str]) -> bool:
    """Whether a path is the folder of a run."""
    try:
        return "recipe" in read_json(Path(folder) / "config.json")
    except (OSError, ValueError, TypeError):
        return False


def shareable_run(found: ShareableModel, folder: str | os.PathLike[str], *, images: bool = True) -> ShareableModel:
    """Add a run's record and model-card facts, with or without validation images, to the model of its folder."""
    path = Path(folder)
    config = read_json(path / "config.json")
    validation = list(read_journal(path / "validation.jsonl", is_whole=lambda line: "step" in line))
    data, recipe = config.get("images", {}), config["recipe"]
    held_out = len(data["validation"]) if data and recipe["data"]["num_val_images"] else 0
    scored = [line for line in validation if validation_score(line) is not None]
    saved = kept_validation(validation, recipe["runtime"]["patience"])
    # without commands, which contain local paths
    sessions = [{key: value for key, value in one.items() if key != "command"} for one in config["sessions"]]
    copy = partial(write_path_atomically, write=partial(shutil.copyfile, path / MODEL_FILE))
    if data:
        made = f"fine-tuned on {data['count']} labeled images of {len(data['classes'])} classes"
        rows = {
            "images to learn from": f"{data['count']}",
            "images held out": f"{held_out or ''}",
            "classes": ", ".join(data["classes"]),
            "none of the others": data.get("background") or "",
        }
    else:
        captions = config["captions"]
        made = f"trained from the captions of {captions['images']} images"
        rows = {"captioned images": f"{captions['images']}", "phrases": f"{captions['phrases']}"}
    return replace(
        found,
        made=made,
        data={what: value for what, value in rows.items() if value},
        write_weights=None if found.write_weights is None else copy,
        records={RECORD: {**config, "sessions": sessions, "scores": validation}},
        scores=(_scores(data, scored, saved, held_out),) if held_out and scored else found.scores,
        training=_training(config, path),
        shown=_images(path, saved.get("step")) if images else {},
    )


def _scores(
    data: Mapping[str, Any], scored: Sequence[Mapping[str, Any]], after: Mapping[str, Any], held_out: int
) -> ScoreTable:
    """Scores on the held-out images, before and after."""
    before = scored[0] if scored[0]["step"] == 0 else {}
    pairs = zip(data["classes"], before.get("iou", [None] * len(data["classes"])), after["iou"], strict=True)
    return ScoreTable(
        title=f"Measured on {counted(held_out, 'image')} held out from training",
        data=counted(held_out, "held-out image"),
        images=held_out,
        miou=(_percent(before.get("mean_iou")), _percent(after["mean_iou"])),
        accuracy=(_percent(before.get("pixel_accuracy")), _percent(after["pixel_accuracy"])),
        words={name: (_percent(first), _percent(last)) for name, first, last in pairs if last is not None},
        columns=("before training", "this model"),
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _training(config: Mapping[str, Any], path: Path) -> dict[str, str]:
    metrics = list(read_journal(path / "metrics.jsonl", is_whole=lambda line: "seconds" in line))
    method = {
        "words": "the network is frozen; a small feature pyramid with a classifier per word is trained",
        "network": "the network itself is trained",
    }
    recipe, machine = config["recipe"], config["sessions"][-1].get("machine", {})
    optimizer, seconds = recipe["optimizer"], sum(line["seconds"] for line in metrics)
    done = metrics[-1]["step"] if metrics else 0
    packages = (("segvoc", "segvoc"), ("PyTorch", "torch"), ("Python", "python"))
    return {
        "method": method[recipe["method"]],
        "steps": f"{done} of {optimizer['steps']}, with {optimizer['batch_size']} images each",
        "learning rate": f"{optimizer['lr']}",
        "loss": f"{recipe['objective']['loss']}",
        "seed": f"{config['seed']}",
        "time": f"{seconds / 60:.1f} minutes of steps on {machine.get('device', 'cpu').replace('cpu', 'a CPU')}",
        "versions": ", ".join(f"{title} {machine.get(name, '')}" for title, name in packages),
        "all settings": RECORD,
    }


def _images(path: Path, chosen: int | None) -> dict[str, tuple[Path, str]]:
    pairs = sorted((path / "before_after").rglob("*.png"))[:SHOWN_IMAGES]
    name, caption = "before_after", "A held-out image before training and after it"
    if not pairs and chosen is not None:
        pairs = sorted((path / "images" / f"step_{chosen:06d}").rglob("*.png"))[:SHOWN_IMAGES]
        name, caption = "image", "An image of the run, as the model labels it"
    shown = {f"{name}_{number}.png": (one, caption) for number, one in enumerate(pairs, 1)}
    curves = {CURVES: (path / CURVES, "Losses and scores over the steps of the run")}
    return shown | curves if (path / CURVES).is_file() else shown
