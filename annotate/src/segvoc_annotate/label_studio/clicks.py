"""Clicks and boxes of Label Studio's smart tools: a request's regions, and the masks of the objects under them."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, UInt8
from pydantic import AliasChoices, BaseModel, Field, field_validator

import segvoc
from segvoc import UsageError

MOST_REGIONS = 100
"""Max clicks and boxes of a request."""

SmartType = Literal["keypointlabels", "rectanglelabels"]
"""Smart tools that are answered."""


class SmartValue(BaseModel):
    """The place of a region, in percent of the image, and its labels; other fields are ignored."""

    x: float
    y: float
    width: float = 0.0
    height: float = 0.0
    rotation: float = Field(0.0, description="Of a rectangle around its top left corner, clockwise [deg].")
    labels: list[str] = Field(min_length=1, validation_alias=AliasChoices("keypointlabels", "rectanglelabels"))


class SmartRegion(BaseModel):
    """A region that an annotator drew with a smart tool; other fields are ignored."""

    type: SmartType
    to_name: str
    is_positive: bool = Field(True, description="Whether a click is on the object.")
    value: SmartValue

    @field_validator("type", mode="before")
    @classmethod
    def _known_type(cls, given: object) -> object:
        if given in get_args(SmartType):
            return given
        raise ValueError(
            f'{str(given)[:60]!r} is neither KeyPointLabels nor RectangleLabels; add smart="false" to its tag'
        )

    @property
    def is_box(self) -> bool:
        """Whether it is a box, not a click."""
        return self.type == "rectanglelabels"


class SmartContext(BaseModel):
    """What an annotator drew to get an object; other fields are ignored."""

    result: list[SmartRegion] = Field([], max_length=MOST_REGIONS)


class PredictParams(BaseModel):
    """Parameters of a prediction; other fields are ignored."""

    context: SmartContext | None = Field(None, description="Null unless a smart tool was used.")


def image_and_label(regions: Sequence[SmartRegion]) -> tuple[str, str] | None:
    """The names of the image and the label of all regions; None without regions, `UsageError` if they differ."""
    drawn = {(region.to_name, label) for region in regions for label in region.value.labels}
    if len(drawn) > 1:
        raise UsageError(
            f"the clicks and boxes have {len(drawn)} labels or images; draw them with one label on one image"
        )
    return drawn.pop() if drawn else None


def objects_under(
    pixels: UInt8[np.ndarray, "H W 3"], regions: Sequence[SmartRegion]
) -> list[tuple[str, Bool[np.ndarray, "H W"]]]:
    """The label and mask of the object under all clicks, in a box if there is one; with several boxes, of each object.

    Raises `UsageError` if there are clicks beside several boxes, and the errors of `segvoc.click`.
    """
    height, width = pixels.shape[:2]
    boxes = [_box(region.value, width, height) for region in regions if region.is_box]
    clicks = [region for region in regions if not region.is_box]
    if len(boxes) > 1 and clicks:
        raise UsageError(f"there are clicks beside {len(boxes)} boxes; draw a single box, or no clicks")
    points = [_point(click.value, width, height) for click in clicks]
    on_object = [click.is_positive for click in clicks]
    objects = boxes or ([None] if clicks else [])
    return [(regions[0].value.labels[0], segvoc.click(pixels, points, on_object, box)) for box in objects]


def _point(value: SmartValue, width: int, height: int) -> tuple[float, float]:
    """A click in pixels; one on the right or bottom edge is on the last pixel."""
    if not (0 <= value.x <= 100 and 0 <= value.y <= 100):
        raise UsageError(f"the click at {value.x:g}%, {value.y:g}% is not in the image; click on the image")
    return min(value.x / 100 * width, width - 0.5), min(value.y / 100 * height, height - 0.5)


def _box(value: SmartValue, width: int, height: int) -> tuple[float, float, float, float]:
    """The bounding box of a rectangle in pixels."""
    turn = math.radians(value.rotation)
    across = np.array([math.cos(turn), math.sin(turn)]) * (value.width / 100 * width)
    down = np.array([-math.sin(turn), math.cos(turn)]) * (value.height / 100 * height)
    first = np.array([value.x / 100 * width, value.y / 100 * height])
    corners = np.stack([first, first + across, first + down, first + across + down])
    left, top, right, bottom = (*corners.min(0).tolist(), *corners.max(0).tolist())
    return left, top, right, bottom
