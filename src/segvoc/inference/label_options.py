"""Labeling options: a single value, passed unchanged by the command line, service, batches and evaluation.

To add an option, add a documented field to `LabelOptions` and an entry to `LabelKeywords` and `OPTION_TEXTS`. Commands,
the service's fields and the keys for resuming are derived from them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

import numpy as np

from segvoc.errors import UsageError
from segvoc.imaging.stretching import Stretch
from segvoc.inference.decision import AUTO
from segvoc.inference.protocols import WINDOWS, Window
from segvoc.inference.smoothing import Smoothing
from segvoc.inference.tile_grid import DEFAULT_TILE, Tiling
from segvoc.inference.tracks import Tracks
from segvoc.layers.selection import KeepClasses, requested_selection
from segvoc.runtime.suggestions import argument_meant
from segvoc.storage.records import field_types, field_value
from segvoc.vocabulary.names import as_word, folded


class LabelKeywords(TypedDict, total=False):
    """The fields of `LabelOptions` as keyword arguments; omitted fields keep their value."""

    window: Window
    keep_classes: KeepClasses | None
    background: str | None
    threshold: float | None
    return_probabilities: bool
    edges: bool | None
    tile: int | None
    overlap: int | None
    wrap: bool
    smooth: float
    stretch: str | None
    objects: bool
    least_object: int | None
    track: bool
    track_gap: int | None


@dataclass(frozen=True, kw_only=True)
class OptionText:
    """The text form of an option, on the command line and over HTTP."""

    help: str
    parse: Callable[[str], Any] | None = None
    """Parses a text (ValueError: invalid); None for an on/off switch."""
    has_opposite: bool = False
    """Whether a switch can also be turned off; if not given, the model decides."""
    metavar: str | None = None
    """Placeholder for the value in the help; None: the choices."""
    choices: tuple[str, ...] = ()
    """Valid texts; empty: any."""
    use: Literal["all", "files", "tiles", "video"] = "all"
    """Where it applies: all images, image files only, tiled images, or frames of a video."""
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """Options for labeling images; the model, words and parts are separate arguments.

    The model checks that it has the window.

    Raises:
        UsageError: a value is out of range.
    """

    window: Window = "auto"
    """The protocol; see `segvoc.inference.protocols`."""
    keep_classes: KeepClasses | None = None
    """Refine only this many words per image (or window), by votes of its cells; "auto": as many as the votes suggest;
    "all": every word, even in the official windows; None: the network's default rule. Dropped words get no pixels and
    probability 0. Parts don't count: a kept object keeps all of its parts."""
    background: str | None = None
    """The word for pixels where no other word reaches the threshold; it isn't queried, and is added to the words if
    missing. "auto" leaves these pixels unlabeled; so does None with a single word, which would fill the image, unless
    there is a threshold. With None and a few words, models with a fitted `Decision` leave surroundings unlabeled that
    are far likelier than all of them. Where a background is asked for, pixels where no word beats all of the model's
    `StandIns` (wall, sky, ...) by their margin are background too. A model that learned "none of the words"
    (`Engine.learned_background`) predicts the background, unless a threshold is given."""
    threshold: float | None = None
    """Probability in [0, 1] below which a pixel is unlabeled, or background (by default 0.5, or that of the model's
    `StandIns`)."""
    edges: bool | None = None
    """Refine the maps of up to 512 words so that masks follow the image (`segvoc.inference.edges`); None: for models on
    whose features the refiner was trained (`ModelTraits.refines_edges`) in their own windows, without parts, of which
    small ones would get lost, and with taught words if they scored better with refined maps."""
    return_probabilities: bool = False
    """Keep the probability of every class at every pixel in the result."""
    tile: int | None = None
    """Cut images into tiles of this side [px], each with its own forward pass, for images much larger than the
    network's input; excludes parts, probabilities and groups. Words are selected once for the whole image
    (`TiledLabeling.look`). `segvoc.labeling.big_images` labels files that don't fit into memory."""
    overlap: int | None = None
    """Overlap over which tiles are blended [px] (default: an eighth of the side)."""
    wrap: bool = False
    """Whether the image wraps around horizontally, as 360-degree panoramas do."""
    smooth: float = 0.0
    """For frames of a video: weight of earlier frames in a moving average of the probabilities, from 0 (none) to below
    1 (`Smoothing`); excludes parts, groups and tiles."""
    stretch: str | None = None
    """Values of gray images of more than 8 bits, and of TIFFs in tiles, to map to black and white: "0,4095" or
    "2%,98%" (percentiles); None: see `segvoc.imaging.reading.read_image`. 8-bit images are unchanged."""
    objects: bool = False
    """Number the objects of things (not of stuff: sky, wall, ...) in `object_map`: each connected component is one."""
    least_object: int | None = None
    """Minimum size of an object [px]; None: a 5,000th of the image, at least 12. Needs `objects`."""
    track: bool = False
    """For frames of a video: number objects by their tracks (`Tracks`), so that they keep their numbers; implies
    `objects`."""
    track_gap: int | None = None
    """Number of frames that an object may be missing from and keep its number; None: 30. Needs `track`."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.generic):
                object.__setattr__(self, name, value.item())
        if self.background is not None:
            object.__setattr__(self, "background", checked_background(self.background))
        if self.keep_classes is not None:
            requested_selection(self.keep_classes)
        _check_types(self)
        if self.track:
            object.__setattr__(self, "objects", True)
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UsageError(f"threshold={self.threshold} is not a probability; give a number from 0 to 1")
        _check_objects(self)
        Smoothing(self.smooth)
        _ = self.value_range
        if self.tiling is not None and self.return_probabilities:
            raise UsageError("tiles don't support probabilities; leave these out, or the tile")
        if self.tiling is not None and self.smooth:
            raise UsageError("tiles don't support smoothing; leave out the tile, or the smoothing")

    @property
    def tiling(self) -> Tiling | None:
        """The tiling; None without tiles."""
        if self.tile is None and self.overlap is None and not self.wrap:
            return None
        return Tiling.checked(DEFAULT_TILE if self.tile is None else self.tile, self.overlap, wrap=self.wrap)

    @property
    def value_range(self) -> Stretch | None:
        """The parsed stretch, if given."""
        return None if self.stretch is None else Stretch.parsed(self.stretch)

    def in_tiles(self) -> "LabelOptions":
        """Return the options with a tile, by default `DEFAULT_TILE` pixels."""
        return self if self.tiling is not None else replace(self, tile=DEFAULT_TILE)

    def keeping_all(self) -> "LabelOptions":
        """Return the options without class selection."""
        return replace(self, keep_classes="all")

    def check_single_images(self) -> None:
        """Raise `UsageError` for options that only frames of a video can have."""
        for name, text in OPTION_TEXTS.items():
            if text.use == "video" and getattr(self, name):
                raise UsageError(f"{name} is for the frames of a video; leave it out, or call segment_video")

    @property
    def background_name(self) -> str | None:
        """Name of the background's class; None without one."""
        return None if self.background == AUTO else self.background

    @property
    def fills_image(self) -> bool:
        """Whether every pixel gets a word, however unlikely."""
        return self.background is None and self.threshold is None

    def record(self) -> dict[str, object]:
        """The settings that labels depend on, as plain values, for the keys of resumable calls."""
        tiling = self.tiling
        return {
            **{name: value for name, value in vars(self).items() if name != "return_probabilities"},
            "tile": None if tiling is None else tiling.tile,
            "overlap": None if tiling is None else tiling.overlap,
        }

    @classmethod
    def of(cls, options: "LabelOptions | None", changes: LabelKeywords) -> "LabelOptions":
        """Apply changes to options (None: the defaults), with the errors of `LabelOptions`, or of an unknown name."""
        if unknown := [name for name in changes if name not in LabelKeywords.__annotations__]:
            known = (*LabelKeywords.__annotations__, "options", "parts", "groups")
            raise UsageError(f"there is no option {unknown[0]!r}{argument_meant(unknown[0], ('words', *known))}")
        return replace(options or cls(), **changes)


def _kept(text: str) -> int | str:
    return int(text) if text.isdecimal() else text  # `LabelOptions` validates other texts


OPTION_TEXTS: Mapping[str, OptionText] = {
    "window": OptionText(help="How images are cut and resized.", parse=str, choices=WINDOWS),
    "keep_classes": OptionText(
        help="Refine only the P words with the most votes; or auto, or all.", parse=_kept, metavar="P", minimum=1
    ),
    "background": OptionText(
        help="The word for pixels where no other word is likely enough; auto: unlabeled, the default for a single "
        "word.",
        parse=str,
        metavar="NAME",
    ),
    "threshold": OptionText(
        help="Leave pixels below this probability unlabeled (or background).",
        parse=float,
        metavar="T",
        minimum=0,
        maximum=1,
    ),
    "edges": OptionText(
        help="Let masks follow the edges in the image; on by default for the shipped model, but not for parts, and for "
        "taught words only if it scored better.",
        has_opposite=True,
    ),
    "tile": OptionText(
        help=f"Label big images in tiles of N x N pixels; {DEFAULT_TILE} if only other tile options are given.",
        parse=int,
        metavar="N",
        use="tiles",
    ),
    "overlap": OptionText(
        help="Overlap over which tiles are blended [px]; N/8 by default.", parse=int, metavar="N", use="tiles"
    ),
    "wrap": OptionText(help="Panoramas: the right edge continues at the left edge.", use="tiles"),
    "smooth": OptionText(
        help="Videos: weight of earlier frames in labels, from 0 (none) to below 1; reduces flicker.",
        parse=float,
        metavar="A",
        use="video",
    ),
    "stretch": OptionText(
        help="Values of 16-bit images and TIFFs to map to black and white: 0,4095 or 2%,98%.",
        parse=str,
        metavar="B,W",
        use="files",
    ),
    "objects": OptionText(help="Number objects, the connected components of things; touching ones are one."),
    "least_object": OptionText(
        help="Minimum size of an object in pixels; by default 1/5,000 of the image.",
        parse=int,
        metavar="N",
        minimum=1,
        use="files",
    ),
    "track": OptionText(help="Videos: objects keep their numbers from frame to frame; implies --objects.", use="video"),
    "track_gap": OptionText(
        help="Videos: frames that an object may be missing from and keep its number; 30 by default.",
        parse=int,
        metavar="N",
        minimum=0,
        use="video",
    ),
}
"""Options with a text form, for commands and settings."""

IMAGE_OPTIONS = tuple(name for name, text in OPTION_TEXTS.items() if text.use == "all")
"""Options for images labeled as a whole."""


def _check_types(options: LabelOptions) -> None:
    for name, kind in field_types(LabelOptions).items():
        if name not in ("window", "keep_classes", "background"):  # which have checks of their own
            value = getattr(options, name)
            try:
                field_value(kind, value, name)
            except UsageError as error:
                kinds = str(error).partition(" is not ")[2]
                raise UsageError(f"{name} must be {kinds}, not {value!r}") from None


def _check_objects(options: LabelOptions) -> None:
    least = options.least_object
    if least is not None and not options.objects:
        raise UsageError(f"least_object={least} is the size of objects; add objects, or leave both out")
    if least is not None and least < 1:
        raise UsageError(f"least_object={least} is no size; give 1 or more pixels")
    gap = options.track_gap
    if gap is not None and not options.track:
        raise UsageError(f"track_gap={gap} is about tracks; add track, or leave both out")
    Tracks(gap or 0)


def checked_background(name: str) -> str:
    """The background's name as a word, or "auto" in any case; raises `UsageError` if it is empty."""
    if not isinstance(name, str):
        raise UsageError(f"background={name!r} is not a name; give a word, such as 'background', or 'auto' for none")
    stripped = as_word(name)
    if not stripped:
        raise UsageError(f"the background's name {name!r} is empty; name it, for example 'background'")
    return AUTO if folded(stripped) == AUTO else stripped
