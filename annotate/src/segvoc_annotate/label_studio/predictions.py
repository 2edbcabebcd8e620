"""Results as Label Studio's predictions: brush masks or polygons that annotators correct."""

import secrets
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Bool, Integer, UInt16
from pydantic import BaseModel, Field, JsonValue, OnErrorOmit, WithJsonSchema

from segvoc import Segmentation
from segvoc.imaging.annotations import class_runs, packed_runs
from segvoc.imaging.connected_regions import Region, connected_regions
from segvoc.imaging.label_maps import UNLABELED
from segvoc.storage.files import strict_json
from segvoc_annotate.label_regions import coarse_polygons, label_regions
from segvoc_annotate.label_studio.clicks import PredictParams
from segvoc_annotate.label_studio.labeling_config import LabelingConfig

LONGEST_CONFIG = 200_000
"""Max characters of a labeling configuration, whose elements are parsed at once."""

SMALLEST_REGION = 64
"""Minimum pixels of a polygon's region."""


def prediction_json(result: Segmentation, config: LabelingConfig, model_version: str) -> bytes:
    """Format a task's prediction: a mask per label, or polygons per connected component.

    Label Studio predicts a task once per `model_version`.
    """
    values = _masks(result, config) if config.tool == "BrushLabels" else _polygons(result, config)
    regions = [
        {**_region(value, config, config.labels[label], result.width, result.height), "score": round(score, 4)}
        for label, score, value in values
    ]
    labeled = result.labels != UNLABELED
    score = float(result.confidence.mean(where=labeled)) if labeled.any() else 0.0
    return strict_json({"result": regions, "score": round(score, 4), "model_version": model_version}).encode()


def clicked_json(
    objects: Sequence[tuple[str, Bool[np.ndarray, "H W"]]], config: LabelingConfig, model_version: str
) -> bytes:
    """Format the labels and masks of objects: a brush mask each, or polygons; what was clicked has no score."""
    regions = []
    for label, mask in objects:
        height, width = mask.shape
        if config.tool == "BrushLabels":
            values = [_mask(runs, mask.size) for runs in class_runs(_labels(mask), 1) if runs.size]
        else:
            pieces = sorted(connected_regions(_labels(mask), 1), key=lambda piece: -piece.area)
            kept = [piece for piece in pieces if piece is pieces[0] or piece.area >= SMALLEST_REGION]
            values = [value for piece in kept for value in _outlines(piece, width, height)]
        regions += [_region(value, config, label, width, height) for value in values]
    return strict_json({"result": regions, "score": None, "model_version": model_version}).encode()


def _labels(mask: Bool[np.ndarray, "H W"]) -> UInt16[np.ndarray, "H W"]:
    return np.where(mask, 0, UNLABELED).astype(np.uint16)


def _region(value: dict[str, Any], config: LabelingConfig, label: str, width: int, height: int) -> dict[str, Any]:
    return {
        "id": secrets.token_hex(5),
        "type": config.tool.lower(),
        "from_name": config.from_name,
        "to_name": config.to_name,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**value, config.tool.lower(): [label]},
    }


_Values = Iterator[tuple[int, float, dict[str, Any]]]
"""Of each region: index of the label, mean probability, and the shape."""


def _masks(result: Segmentation, config: LabelingConfig) -> _Values:
    table = np.full(UNLABELED + 1, UNLABELED, np.uint16)
    table[: len(result.words)] = config.label_of_class(result.words)
    labels, count = table[result.labels], len(config.labels)
    pixels = np.bincount(labels.ravel(), minlength=count)[:count]
    sums = np.bincount(labels.ravel(), result.confidence.ravel(), minlength=count)[:count]
    for label, runs in enumerate(class_runs(labels, count)):
        if runs.size:
            yield label, float(sums[label] / pixels[label]), _mask(runs, labels.size)


def _polygons(result: Segmentation, config: LabelingConfig) -> _Values:
    label_of_class = config.label_of_class(result.words)
    for region, confidence in label_regions(result, smallest=SMALLEST_REGION):
        label = label_of_class[region.label]
        if label != UNLABELED:
            for value in _outlines(region, result.width, result.height):
                yield label, confidence, value


def _mask(runs: Integer[np.ndarray, " R"], pixels: int) -> dict[str, Any]:
    return {"format": "rle", "rle": packed_runs(runs, pixels).tolist()}


def _outlines(region: Region, width: int, height: int) -> Iterator[dict[str, Any]]:
    for polygon in coarse_polygons(region):
        yield {"points": np.minimum(polygon * (100 / np.array([width, height])), 100).round(4).tolist(), "closed": True}


class TaskFailureText(BaseModel):
    """Why there is no prediction."""

    code: str
    message: str


class LabelStudioTask(BaseModel):
    """A Label Studio task; other fields are ignored."""

    id: int | str | None = None
    data: Annotated[dict[str, OnErrorOmit[str]], WithJsonSchema({"type": "object"})] = Field(
        description="Its data, with the image in the field named by the labeling configuration: a `data:` URI, or "
        "an address of the Label Studio given to the service. Values that aren't texts are ignored."
    )


class PredictJson(BaseModel):
    """Label Studio's prediction request; other fields are ignored."""

    tasks: list[LabelStudioTask] = Field(fail_fast=True)
    label_config: str = Field(description="The project's labeling configuration, XML.", max_length=LONGEST_CONFIG)
    params: PredictParams | None = None


class PredictionAnswer(BaseModel):
    """The prediction for a task."""

    result: list[dict[str, JsonValue]] = Field(description="Regions in Label Studio's format.")
    score: float | None = Field(description="Mean probability of the labeled pixels; null for a click's object.")
    model_version: str


class TaskFailure(BaseModel):
    """Replaces the prediction of a task whose image can't be fetched."""

    error: TaskFailureText


class PredictAnswer(BaseModel):
    """The predictions, in the order of the tasks."""

    results: list[PredictionAnswer | TaskFailure]


class SetupJson(BaseModel):
    """Label Studio's setup request; other fields, such as its token, are ignored."""

    project: str | int | None = None
    label_config: str | None = Field(
        None, alias="schema", description="The labeling configuration, XML.", max_length=LONGEST_CONFIG
    )


class SetupAnswer(BaseModel):
    """The model's version."""

    model_version: str


class LabelStudioHealth(BaseModel):
    """Service status in Label Studio's format."""

    status: Literal["UP"]
    model_class: str


class WebhookAnswer(BaseModel):
    """The answer to an event, which is ignored: the model doesn't learn from annotations."""

    status: Literal["ignored"]
