"""`segvoc train`: trains a network by a paper's recipe, or fine-tunes on your own images."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segvoc.cli.dataset_options import DatasetOptions, data_option, data_root, dataset_options
from segvoc.cli.output import echo, example, is_first_process, worse_line
from segvoc.data.labeled_images import unlabeled_row
from segvoc.errors import UsageError
from segvoc.models.catalog import catalog
from segvoc.runtime.suggestions import did_you_mean
from segvoc.storage.journal import read_journal
from segvoc.storage.records import parse_settings
from segvoc.training.trackers import TRACKERS, Wandb

if TYPE_CHECKING:
    from segvoc.data.labeled_images import LabeledImages
    from segvoc.training.callbacks import Callback
    from segvoc.training.caption_task import CaptionFiles
    from segvoc.training.recipe import Recipe


_EXAMPLES = (
    "segvoc train finetune --model tiny --images DIR --labels DIR --classes classes.json --out RUN",
    "segvoc train finetune --model tiny --dataset coco/ --split train2017 --out RUN",
    "segvoc train syn-seg-b --images DIR --captions captions.json --out RUN",
    "segvoc train pca-seg-clip-b --data ROOT --out RUN",
    "segvoc train pca-seg-b --encoder-weights DECLIP.pt --data ROOT --out RUN",
    "torchrun --nproc-per-node 4 --no-python segvoc train pca-seg-clip-b --data ROOT --out RUN",
)


NO_TRACKER = "none"
"""Value of --track for a run without trackers."""

FINETUNE = "finetune"
"""The recipe for your own images; its settings depend on their number."""


@click.command("train", epilog=example(*_EXAMPLES, more=f"Recipes: {', '.join((*catalog().recipes, FINETUNE))}."))
@click.argument("recipe")
@dataset_options
@click.option("--captions", metavar="PATH", help="Captions of your images: COCO's captions JSON, or WebDataset's tars.")
@click.option("--features", metavar="DIR", help="Cache for the embeddings of phrases, shared by runs.")
@click.option("--object", "owner", metavar="NAME", help='The classes are parts of it: "door" is "car\'s door".')
@click.option("--objects", metavar="DIR", help="Object maps, if parts don't cover their objects (part networks only).")
@click.option(
    "--object-classes", metavar="FILE", help="A JSON list of the object names, in the label order of these maps."
)
@data_option("The root of prepared benchmarks (segvoc prepare), for a paper's recipe.")
@click.option("--model", metavar="NAME", help="The model to fine-tune: a preset, a segvoc file, or OWNER/NAME.")
@click.option("--weights", metavar="FILE", help="Weights of the whole network to start from, or random.")
@click.option(
    "--encoder-weights", metavar="FILE", help="Encoder weights to start from: CLIP or DeCLIP; CLIP,DINOV2 for parts."
)
@click.option(
    "--transform",
    metavar="MODULE:NAME",
    help="Your augmentation, applied first to each training image: image, labels = f(image, labels, rng).",
)
@click.option("--out", required=True, metavar="RUN", help="Folder for the run.")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Training steps, instead of the recipe's.")
@click.option("--seed", type=int, metavar="N", help="Random seed; by default the recipe's, usually 0.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change the recipe: lr=1e-4.")
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the run in the folder. num_workers, save_every, eval_every, max_bad_steps, class_chunk_size, "
    "activation_checkpointing and compile may differ from before; nothing else may.",
)
@click.option(
    "--track",
    "trackers",
    multiple=True,
    type=click.Choice((*TRACKERS, NO_TRACKER)),
    help="Experiment tracker; repeatable. By default TensorBoard, if it is installed.",
)
@click.option("--track-project", metavar="NAME", help="W&B's project.  [default: segvoc]")
@click.option("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")
def train_command(
    recipe: str,
    captions: str | None,
    features: str | None,
    owner: str | None,
    objects: str | None,
    object_classes: str | None,
    data: str | None,
    model: str | None,
    weights: str | None,
    encoder_weights: str | None,
    transform: str | None,
    out: str,
    steps: int | None,
    seed: int | None,
    settings: Sequence[str],
    resume: bool,
    trackers: Sequence[str],
    track_project: str | None,
    device: str,
    dataset: DatasetOptions,
) -> None:
    """Train by RECIPE: a paper's recipe on prepared data, tiny, or finetune on your own images.

    Without --weights and --encoder-weights, training starts from published weights, which are downloaded (see segvoc
    fetch). The result is RUN/model.safetensors, for segvoc segment --model. Ctrl-C saves a checkpoint; --resume
    continues from it.
    """
    if recipe not in (known := (FINETUNE, *catalog().recipes)):
        others = ", ".join(catalog().recipes)
        raise UsageError(
            f"recipe {recipe!r} is unknown{did_you_mean(recipe, known)}; it is finetune or one of {others}"
        )
    callbacks = _callbacks(trackers, track_project)
    from segvoc.data.labeled_images import LabeledImages
    from segvoc.data.training.augmentations import named_transform
    from segvoc.training.run import train  # here, since PyTorch takes seconds to import
    from segvoc.training.start import Start, configured
    from segvoc.training.training_data import needed_data, recipe_data

    start = Start(weights=weights, encoder_weights=encoder_weights)

    def recipe_for(count: int) -> "Recipe":
        method = parse_settings(settings).get("method")  # which sets the defaults of other settings
        by_number = {"images": count, "steps": steps, "method": method if method in ("network", "words") else None}
        found = configured(_recipe(recipe, model, by_number), start).with_settings(settings)
        return found if steps is None else found.with_settings(steps=steps)

    chosen = None if recipe == FINETUNE else recipe_for(count=0)
    of_captions = {"--captions": captions, "--features": features}
    of_parts = {"--object": owner, "--objects": objects, "--object-classes": object_classes}
    validation = None
    if chosen is not None and chosen.supervision == "captions":
        of_labels = {option: value for option, value in dataset.given().items() if option != "--images"}
        _refuse({**of_labels, "--data": data, **of_parts}, f"{recipe} learns from captions")
        images = _captioned(dataset.images, captions, features)
    elif chosen is None or dataset.named or not chosen.data.dataset:
        _refuse(of_captions, f"{recipe} learns from label maps")
        beside = {"--data": data, **of_parts}
        images = dataset.read(owner=owner, skip=out, beside=beside)
        if data is not None:
            raise UsageError("both --data and your own folders are given; give one of them")
        chosen = chosen or recipe_for(len(images))
    else:
        _refuse(of_captions, f"{recipe} learns from label maps")
        _refuse({**of_parts, **dataset.given()}, f"{recipe} learns from prepared data")
        needed = " ".join(needed_data(chosen))
        root = data_root(data, f"{recipe} needs `segvoc prepare {needed} --data ROOT`; name ROOT with --data")
        images, validation = recipe_data(chosen, root)
    train(
        chosen,
        images,
        out,
        start=start,
        validation=validation,
        object_maps=None
        if (objects, object_classes) == (None, None)
        else _object_maps(dataset, objects, object_classes, out),
        transform=None if transform is None else named_transform(transform),
        seed=seed,
        device=device,
        resume=resume,
        callbacks=callbacks,
    )
    _say(f"{out}/model.safetensors")
    for line in gains(Path(out), chosen, are_shapes=isinstance(images, LabeledImages) and images.are_shapes):
        _say(line)


def _callbacks(trackers: Sequence[str], project: str | None) -> "list[Callback] | None":
    """The chosen trackers; None if --track isn't given."""
    chosen = dict.fromkeys(trackers)
    if NO_TRACKER in chosen and len(chosen) > 1:
        raise UsageError(f"--track {NO_TRACKER} leaves all out; give it alone, or leave it out")
    if project is not None and "wandb" not in chosen:
        raise UsageError("--track-project is for W&B; name it: --track wandb")
    if not chosen:
        return None
    return [Wandb(project) if name == "wandb" else TRACKERS[name]() for name in chosen if name != NO_TRACKER]


def _recipe(name: str, model: str | None, of_own_images: dict[str, Any]) -> "Recipe":
    from segvoc.training.recipes import RECIPES, finetune

    if name == FINETUNE:
        if model is None:
            raise UsageError("finetune needs a model to start from; name it, for example --model tiny")
        return finetune(model, **of_own_images)
    if model is not None:
        raise UsageError(f"the recipe {name} determines the model; leave out --model, or use finetune")
    return RECIPES[name]()


def _object_maps(dataset: DatasetOptions, objects: str | None, classes: str | None, out: str) -> "LabeledImages":
    from segvoc.data.labeled_images import LabeledImages

    if dataset.images is None or objects is None or classes is None:
        raise UsageError("--objects and --object-classes go together, with --images; give all three")
    return LabeledImages.from_folders(dataset.images, objects, classes, skip=out)


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Raise `UsageError` if any of the options is given."""
    if given := [option for option, value in options.items() if value is not None]:
        raise UsageError(f"{why}; leave out {', '.join(given)}")


def _captioned(images: str | None, captions: str | None, features: str | None) -> "CaptionFiles":
    from segvoc.training.caption_task import CaptionFiles

    if captions is None:
        raise UsageError("the recipe learns from captions; name them: --captions captions.json --images DIR")
    return CaptionFiles(captions=captions, images=images, features=None if features is None else Path(features))


def gains(run: Path, recipe: "Recipe", *, are_shapes: bool) -> Iterator[str]:
    """Scores before and after on held-out images, what fell, and what is outside of all labels."""
    from segvoc.training.run_folder import kept_validation

    if not (held_out := recipe.data.num_val_images):
        return
    lines = list(read_journal(run / "validation.jsonl", is_whole=lambda line: line.get("mean_iou") is not None))
    if not lines:
        return
    first, kept = lines[0], kept_validation(lines, recipe.runtime.patience)
    names = (("mean IoU", "mean_iou"), ("pixel accuracy", "pixel_accuracy"))
    scores = {name: (100 * first[key], 100 * kept[key]) for name, key in names if first["step"] == 0}
    fix = f"see {run / 'curves.png'}; label more images, and what surrounds the classes (--background NAME)"
    if scores and kept["step"] == 0:
        yield f"no better than before on {held_out} held-out images, so nothing was learned; {fix}"
        return
    changes = ", ".join(f"{what} {before:.1f} -> {after:.1f} %" for what, (before, after) in scores.items())
    yield f"on {held_out} held-out images: {changes}"
    if (row := unlabeled_row(kept["outside"], are_shapes=are_shapes)) is not None:
        yield row
    if (line := worse_line(scores, fix)) is not None:
        yield line


def _say(line: str) -> None:
    """Print a line, once."""
    if is_first_process():
        echo(line)
