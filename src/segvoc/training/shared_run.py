"""Shares a run as a model: weights, record, and a model card with data, scores, curves and images."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segvoc.sharing.card import CURVES, CardImage, ScoreTable, WordScore
from segvoc.sharing.uploading import ShareableModel, copied
from segvoc.storage.journal import read_journal
from segvoc.storage.json_files import read_json
from segvoc.training.run_folder import MODEL_FILE

RECORD = "training.json"
"""File of the record in a shared model."""

SHOWN_IMAGES = 3
"""Images of the run on the card."""


def is_run(folder: str | os.PathLike[str]) -> bool:
    """Whether a path is the folder of a run."""
    try:
        return "recipe" in read_json(Path(folder) / "config.json")
    except (OSError, ValueError, TypeError):
        return False


def shareable_run(found: ShareableModel, folder: str | os.PathLike[str], *, images: bool = True) -> ShareableModel:
    """Add a run's record and model-card facts to its model.

    Args:
        found: the model loaded from the folder.
        folder: the run folder.
        images: whether the card shows some of the run's validation images.
    """
    path = Path(folder)
    config = read_json(path / "config.json")
    watched = list(read_journal(path / "watched.jsonl", is_whole=lambda line: "step" in line))
    metrics = list(read_journal(path / "metrics.jsonl", is_whole=lambda line: "seconds" in line))
    data = _mapping(config.get("images"))
    held_out = len(data.get("watched", ())) if _recipe(config, "data", "num_val_images") else 0
    chosen = _chosen(watched, config)
    table = _validation(data, watched, chosen, held_out)
    facts = replace(
        found.facts,
        made=_made(config, data),
        words=tuple(str(word) for word in data.get("classes", found.facts.words)),
        background=data.get("background"),
        data=_data(config, data, held_out),
        scores=found.facts.scores if table is None else (table,),
        training=_training(config, metrics),
        shown=tuple(_images(path, chosen)) if images else (),
    )
    write = None if found.write_weights is None else copied(path / MODEL_FILE)
    return replace(found, facts=facts, write_weights=write, records={RECORD: _record(config, watched)})


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _recipe(config: Mapping[str, Any], group: str, setting: str) -> Any:
    return _mapping(_mapping(config["recipe"]).get(group)).get(setting)


def _chosen(watched: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> int | None:
    """The step whose weights were saved: the best with early stopping, else the last; None without scores."""
    scored = [line for line in watched if line.get("mean_iou") is not None]
    if not scored:
        return watched[-1]["step"] if watched else None
    best = max(scored, key=lambda line: line["mean_iou"]) if _recipe(config, "runtime", "patience") else scored[-1]
    return best["step"]


def _validation(
    data: Mapping[str, Any], watched: Sequence[Mapping[str, Any]], chosen: int | None, held_out: int
) -> ScoreTable | None:
    """Scores on the held-out images, before and after; None without them."""
    by_step = {line["step"]: line for line in watched if line.get("mean_iou") is not None}
    after, before = by_step.get(chosen), by_step.get(0, {})
    if not held_out or after is None:
        return None
    classes = [str(name) for name in data.get("classes", ())]
    pairs = zip(classes, before.get("iou", [None] * len(classes)), after["iou"], strict=True)
    return ScoreTable(
        title=f"Measured on {held_out} of the images, which were held out from training",
        data=f"{held_out} held-out images",
        miou=_percent(after["mean_iou"]),
        miou_before=_percent(before.get("mean_iou")),
        accuracy=_percent(after["pixel_accuracy"]),
        accuracy_before=_percent(before.get("pixel_accuracy")),
        words=tuple(
            WordScore(name=name, before=_percent(first), after=_percent(last))
            for name, first, last in pairs
            if last is not None
        ),
        columns=("before training", "this model"),
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _made(config: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    if "captions" in config:
        return f"trained from the captions of {_mapping(config['captions']).get('images', 'its')} images"
    return f"fine-tuned on {data.get('count', 'its')} labeled images of {len(data.get('classes', ()))} classes"


def _data(config: Mapping[str, Any], data: Mapping[str, Any], held_out: int) -> dict[str, str]:
    if "captions" in config:
        captions = _mapping(config["captions"])
        return {"captioned images": f"{captions.get('images', '')}", "phrases": f"{captions.get('phrases', '')}"}
    rows = {"images to learn from": f"{data.get('count', '')}"}
    if held_out:
        rows["images held out"] = f"{held_out}"
    rows["classes"] = ", ".join(str(word) for word in data.get("classes", ()))
    if data.get("background"):
        rows["none of the others"] = str(data["background"])
    return rows


def _training(config: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """How the run was made, in rows."""
    method = {
        "words": "the network is frozen; a small feature pyramid with a classifier per word is trained",
        "network": "the network itself is trained",
    }
    recipe, session = config["recipe"], (config.get("sessions") or [{}])[-1]
    machine = _mapping(_mapping(session).get("machine"))
    seconds = sum(line["seconds"] for line in metrics)
    planned, batch = (_recipe(config, "optimizer", name) for name in ("steps", "batch_size"))
    rows = {
        "method": method.get(str(recipe.get("method")), ""),
        "steps": f"{metrics[-1]['step'] if metrics else 0} of {planned}, with {batch} images each",
        "learning rate": f"{_recipe(config, 'optimizer', 'lr')}",
        "loss": f"{_recipe(config, 'objective', 'loss')}",
        "seed": f"{config.get('seed')}",
        "time": f"{seconds / 60:.1f} minutes of steps on {machine.get('device', 'cpu').replace('cpu', 'a CPU')}",
        "versions": f"segvoc {machine.get('segvoc', '')}, PyTorch {machine.get('torch', '')}, Python "
        f"{machine.get('python', '')}",
    }
    return {what: value for what, value in rows.items() if value} | {"all settings": RECORD}


def _images(path: Path, chosen: int | None) -> list[CardImage]:
    """Images of the run, and its curves."""
    pairs = sorted((path / "before_after").rglob("*.png"))[:SHOWN_IMAGES]
    name, caption = "before_after", "A held-out image before training and after it"
    if not pairs and chosen is not None:
        pairs = sorted((path / "images" / f"step_{chosen:06d}").rglob("*.png"))[:SHOWN_IMAGES]
        name, caption = "image", "An image of the run, as the model labels it"
    shown = [CardImage(path=one, name=f"{name}_{number}.png", caption=caption) for number, one in enumerate(pairs, 1)]
    curves = CardImage(path=path / "curves.png", name=CURVES, caption="Losses and scores over the steps of the run")
    return [*shown, curves] if curves.path.is_file() else shown


def _record(config: Mapping[str, Any], watched: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The run's configuration and scores, without its commands, which contain local paths."""
    sessions = [{key: value for key, value in one.items() if key != "command"} for one in config.get("sessions", [])]
    return {**config, "sessions": sessions, "scores": list(watched)}
