"""The result of labeling one image."""

import base64
import functools
import html
import io
import math
import os
import secrets
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8, UInt16
from PIL import Image

from segvoc.encoders.lexicon import surfaces_among
from segvoc.errors import Hint, OutputError, UsageError, missing_package
from segvoc.imaging.annotations import MaskForm, detections, region_annotations
from segvoc.imaging.connected_regions import Region, pieces_of, polygon_of, segments
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.label_maps import nearest, object_counts, write_label_map, write_placed_label_map
from segvoc.imaging.legend import share_text
from segvoc.imaging.overlay import (
    SAVED_OVERLAY,
    OverlayStyle,
    class_regions,
    draw_overlay,
    with_object_borders,
    with_parts,
)
from segvoc.imaging.palette import part_colors, word_colors
from segvoc.imaging.result_paths import ResultPaths, refuse_overwriting
from segvoc.imaging.tiff_tags import place_of
from segvoc.inference.reports import LabelStatistics, json_text, report_fields, summary_of
from segvoc.inference.result_exports import coco_of, geojson_of, labelme_of
from segvoc.runtime.progress import print_line
from segvoc.runtime.suggestions import Called, checked_call, did_you_mean, no_attribute
from segvoc.storage.atomic_writes import check_names, write_atomically
from segvoc.vocabulary import Part
from segvoc.vocabulary.names import folded

if TYPE_CHECKING:
    import pandas
    import supervision

REPR_WORDS = 5
"""Maximum number of words in a result's `repr`."""


class ObjectBox(NamedTuple):
    """The bounding box of an object or connected component [px]; x1 and y1 are exclusive."""

    word: str
    x0: int
    y0: int
    x1: int
    y1: int
    confidence: float
    """Mean confidence of its pixels."""


class ImageObject(NamedTuple):
    """An object, or connected component, of an image."""

    word: str
    mask: dict[str, Any]
    """COCO's compressed run lengths, {"size": [H, W], "counts": "..."}, which pycocotools decodes."""
    box: tuple[int, int, int, int]
    """x0, y0, x1 and y1 [px]; x1 and y1 are exclusive."""
    score: float
    """Mean confidence of its pixels."""
    area: int
    """Number of its pixels."""
    track: int | None = None
    """The number of its track through the video; None unless objects are tracked (`track=`)."""


class Polygon(NamedTuple):
    """The outline of a connected component, within 0.25 pixels of pixel edges; holes as in `to_coco`."""

    word: str
    points: Float64[np.ndarray, "V 2"]
    """Corners (x, y) in pixels; the corner of the first pixel is (0, 0), and the first isn't repeated at the end."""


_MOST_FIGURES = 24
"""Max overlays of a list of results in a notebook."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Segmentation:
    """A labeled image with K classes; all arrays have the image's size (H, W)."""

    # not `NDArray[np.uint16]`: since NumPy 2.5 it is an alias, and jaxtyping needs a class
    labels: UInt16[np.ndarray[Any, np.dtype[np.uint16]], "H W"]
    """Index into `words` of each pixel's class; 65535 means unlabeled."""
    words: tuple[str, ...]
    """Names of the classes, in the order given."""
    confidence: Float32[np.ndarray[Any, np.dtype[np.float32]], "H W"]
    """How likely each pixel's label is right, in [0, 1]: a probability where one was fitted to the model
    (`Decision.confidence`) or to taught words, elsewhere the sigmoid of the label's logit. For a thresholded
    background, 1 minus the probability of the most likely word; for an unlabeled pixel, that of the most likely
    word."""
    selected: Bool[np.ndarray, " K"]
    """Classes that class selection kept in any window; all classes without class selection. A thresholded background
    always counts as kept."""
    image: UInt8[np.ndarray, "H W 3"]
    """The image: upright, RGB."""
    model: str
    """Name of the model."""
    seconds: float
    """Time spent on this image [s]: reading it, running the network (including GPU work; for a batch, an equal share)
    and computing the labels; excludes encoding the words and writing results."""
    dtype: str = "float32"
    """Precision of most of the network's computations: "float32", "bfloat16" or "float16"."""
    probabilities: Float32[np.ndarray, "K H W"] | None = None
    """Probability of every class, in [0, 1], as independent sigmoids; None unless requested."""
    group_labels: UInt16[np.ndarray, "G H W"] | None = None
    """For each of G requested groups of words, the index of its most likely word at each pixel."""
    source: str | None = None
    """Path or address of the image, as given; None for an image from memory."""
    content: bytes | None = None
    """The image's file, if `source` is no path: from a URL or standard input."""
    parts: tuple[Part, ...] = ()
    """The requested parts, in the order given."""
    part_labels: UInt16[np.ndarray, "H W"] | None = None
    """Index into `parts` of each pixel's part; 65535 means no part. Parts lie inside their objects. None if no parts
    were requested."""
    part_confidence: Float32[np.ndarray, "H W"] | None = None
    """Probability of each pixel's part, in [0, 1]; 0 without a part."""
    object_map: UInt16[np.ndarray, "H W"] | None = None
    """Object number of each pixel, 0 for none; an object has a single class. None unless requested (`objects=`)."""
    is_tracked: bool = False
    """Whether these are the numbers of tracks through a video."""
    frame: int | None = None
    """Number of the video's frame, from 0; None for an image."""
    time: float | None = None
    """Time of the frame since the start of the video [s]."""
    background: str | None = None
    """The word that stands for "none of the others", if the call named one."""
    unsure_below: float | None = None
    """Quality below which perhaps none of the words is in the image; None where the confidence is no probability."""
    hints: tuple[Hint, ...] = ()
    """What suggests that other words or options were meant."""

    def __repr__(self) -> str:
        counts = self.statistics.pixels
        found = sorted((i for i in range(len(self.words)) if counts[i]), key=lambda i: -counts[i])
        shares = [
            f"{self.words[i].split(', ')[0]} {share_text(counts[i] / self.labels.size)}" for i in found[:REPR_WORDS]
        ]
        more = [f"{len(found) - REPR_WORDS} more"] if len(found) > REPR_WORDS else []
        unlabeled = self.statistics.unlabeled
        rest = [f"{share_text(unlabeled / self.labels.size)} unlabeled"] if unlabeled else []
        source = f"{self.source!r}, " if self.source else ""
        summary = "; ".join([", ".join([*shares, *more, *rest]), *summary_of(self).notes()])
        return f"<Segmentation {source}{self.width} x {self.height}: {summary}>"

    def _repr_jpeg_(self) -> bytes:
        content = io.BytesIO()
        self.overlay(max_pixels=200_000).save(content, "JPEG", quality=85)  # small: a notebook stores its outputs
        return content.getvalue()

    @property
    def height(self) -> int:
        """Height of the image [px]."""
        return self.labels.shape[0]

    @property
    def width(self) -> int:
        """Width of the image [px]."""
        return self.labels.shape[1]

    @functools.cached_property
    def colors(self) -> UInt8[np.ndarray, "K 3"]:
        """RGB color of each class, the same in the label map, the overlay and the report; gray for the background."""
        return word_colors(self.words, self.background)

    @functools.cached_property
    def part_colors(self) -> UInt8[np.ndarray, "M 3"]:
        """RGB of each part in the part map: shades of its object's color; separate colors for parts of any object."""
        return part_colors(self.words, self.colors, self.parts)

    if not TYPE_CHECKING:  # for type checkers, there are only the attributes above and below

        def __getattr__(self, name: str) -> object:
            raise no_attribute("Segmentation", name, "result", [*dir(type(self)), *self.__dataclass_fields__])

    def __getitem__(self, word: str | int) -> Bool[np.ndarray[Any, np.dtype[np.bool_]], "H W"]:
        """The mask of a word: result["cat"] is result.mask("cat"); `TypeError` for a number, as of a list."""
        if not isinstance(word, str):
            loop = "for word in result.words: result[word]"
            raise TypeError(
                f"a result isn't a list, so there is no [{word!r}]; use result[{self.words[0]!r}], or {loop}"
            )
        return self.mask(word)

    def __contains__(self, word: str) -> bool:
        """Whether a word has pixels; `UsageError` if the image wasn't labeled with it."""
        return bool(self.mask(word).any())

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        """Refused with a `TypeError`: it may be the labels or a picture."""
        raise TypeError("a result isn't an array; use result.labels, or result.overlay() as a picture")

    def __len__(self) -> int:
        """Refused with a `TypeError`: a result is no list."""
        raise TypeError("a result isn't a list; len(result.words) is the number of words")

    def __bool__(self) -> bool:
        return True

    def mask(self, word: str) -> Bool[np.ndarray[Any, np.dtype[np.bool_]], "H W"]:
        """The mask of a word, or of a part ("dog's head").

        Raises:
            UsageError: the image wasn't labeled with it.
        """
        if not isinstance(word, str):
            index = f"; or result.labels == {word!r}" if isinstance(word, int) else ""
            raise UsageError(f"a mask is that of one word: result.mask('cat'), not {word!r}{index}")
        for names, labels in ((self.words, self.labels), ([part.name for part in self.parts], self.part_labels)):
            for index, name in enumerate(names):
                if folded(name) == folded(word.strip()) and labels is not None:
                    return labels == index
        names = (*self.words, *(part.name for part in self.parts))
        synonyms = {folded(one.strip()): name for name in names for one in name.split(", ") if one != name}
        if (name := synonyms.get(folded(word.strip()))) is not None:
            raise UsageError(f"{word!r} is a synonym in the word {name!r}; give the whole word")
        parts = [part.name for part in self.parts if folded(part.part) == folded(word)]
        meant = f" (did you mean {' or '.join(parts)}?)" if parts else did_you_mean(word, names)
        raise UsageError(f"{word!r} isn't among this result's words{meant}; label the image with it")

    def boxes(self, word: str | None = None) -> "list[ObjectBox]":
        """The bounding boxes of objects, or else of connected components; of stuff (sky, wall, ...) one a word.

        Pixels of a word with objects that are in none of them have no box.

        Args:
            word: only its boxes.

        Raises:
            UsageError: the image wasn't labeled with the word, or the extra `data` isn't installed.
        """
        boxes = []
        for region in self._regions(word):
            left, top, width, height = region.box
            confidence = region.mean(self.confidence)
            boxes.append(ObjectBox(self.words[region.label], left, top, left + width, top + height, confidence))
        return boxes

    if not TYPE_CHECKING:
        boxes = Called(boxes)

    @functools.cached_property
    def objects(self) -> "list[ImageObject]":
        """The objects that `segment(..., objects=True)` numbered, as `object_counts` counts them: surfaces have none.

        Without it, the components of `boxes`.
        """
        objects, regions = [], self._regions(None)
        if self.object_map is not None:
            regions = [region for region in regions if region.number is not None]
        for region, shape in region_annotations(regions, self.labels.shape):
            left, top, width, height = region.box
            box, score = (left, top, left + width, top + height), region.mean(self.confidence)
            track = region.number if self.is_tracked else None
            objects.append(ImageObject(self.words[region.label], shape["segmentation"], box, score, region.area, track))
        return objects

    def polygons(self, word: str | None = None) -> "list[Polygon]":
        """The outlines of the same objects and components as in `boxes`, each of a piece with a polygon of its own."""
        pieces = (piece for region in self._regions(word) for piece in pieces_of(region))
        return [Polygon(self.words[piece.label], polygon_of(piece)) for piece in pieces]

    def crop(self, word: str, number: int | None = None) -> Image.Image:
        """Cut a word, or one of its objects, out of the image: its bounding box, RGBA, transparent outside.

        Args:
            word: the word, or a part.
            number: only this object, counted from 1 in the order of `boxes(word)`.

        Raises:
            UsageError: the image wasn't labeled with the word, the word has no pixels, or not so many objects.
        """
        mask = self.mask(word)
        if number is not None and mask.any():
            regions = self._regions(word)
            if not 1 <= number <= len(regions):
                raise UsageError(f"{word!r} has {len(regions)} objects in this image; give a number from 1 to that")
            region = regions[number - 1]
            mask = np.zeros_like(mask)
            mask[region.place] = region.inside
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            raise UsageError(f"{word!r} has no pixels in this image; see result.report()['not_found']")
        place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        alpha = np.where(mask[place], np.uint8(255), np.uint8(0))
        return Image.fromarray(np.dstack([self.image[place], alpha]))

    def to_dataframe(self, *, objects: bool = False) -> "pandas.DataFrame":
        """The statistics of each word, as in `report`, as a table; `UsageError` if pandas isn't installed.

        Args:
            objects: a row for each of `objects` instead: its word, box (x0, y0, x1, y1), score and area, and the track
                if objects are tracked.
        """
        try:
            import pandas
        except ModuleNotFoundError:
            raise missing_package("pandas") from None
        if objects:
            rows = [(one.word, *one.box, one.score, one.area, one.track) for one in self.objects]
            table = pandas.DataFrame(rows, columns=["word", "x0", "y0", "x1", "y1", "score", "area", "track"])
            return table if self.is_tracked else table.drop(columns="track")
        return pandas.DataFrame(self.report()["classes"]).set_index("id")

    def _regions(self, word: str | None) -> list[Region]:
        if word is not None:
            self.mask(word)  # refuses what the image wasn't labeled with
            word = word.strip()
        named = {index for index, name in enumerate(self.words) if word is None or folded(name) == folded(word)}
        if not named:
            raise UsageError(
                f"{word!r} is a part, and boxes and polygons are those of words; see result.mask({word!r})"
            )
        stuff = surfaces_among(self.words, self.background)
        regions = segments(self.labels, len(self.words), stuff, self.object_map)
        return [region for region in regions if region.label in named and not region.is_crowd]

    @checked_call
    def show(self) -> None:
        """Show the overlay: below a notebook's cell, else in the system's image viewer.

        Without a display or a viewer, save it as a temporary file, and print where.

        Raises:
            OutputError: the file can't be written.
        """
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        if hasattr(shell, "kernel"):
            from IPython.display import display

            display(self)
            return
        from PIL import ImageShow  # here, since it imports IPython where that is installed

        overlay = self.overlay(**asdict(SAVED_OVERLAY))
        # without a display, viewers of Linux start all the same, and fail in the background
        has_display = sys.platform in ("win32", "darwin") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
        if not (has_display and ImageShow.show(overlay, self.source)):
            path = Path(tempfile.gettempdir(), f"segvoc-{secrets.token_hex(4)}.overlay.png")
            write_atomically(path, lambda file: overlay.save(file, "PNG", compress_level=1))
            why = "there is no viewer for images" if has_display else "there is no display"
            print_line(f"segvoc: {why}; the overlay was saved as {str(path)!r}")

    @checked_call
    def overlay(
        self, *, alpha: float = 0.5, names: bool = True, legend: bool = True, max_pixels: int | None = None
    ) -> Image.Image:
        """Draw the classes as colors over the image, and parts as shades of their object's color.

        Regions are outlined, and objects numbered (without parts).

        Args:
            alpha: weight of the colors, in [0, 1].
            names: write names into regions with enough room.
            legend: list the classes, largest first, the quality and absent words: in a corner, or beside the image from
                seven classes on.
            max_pixels: downscale larger images to about this many pixels (default: full size).

        Returns:
            An RGB image of the image's size, or larger if the legend is outside the image.

        Raises:
            UsageError: alpha is not in [0, 1], or max_pixels is below 1.
        """
        regions = class_regions(self.labels, self.words, self.colors)
        if self.part_labels is not None:
            regions = with_parts(regions, self.words, self.part_labels, self.parts)
        elif self.object_map is not None:
            regions = with_object_borders(regions, self.words, self.object_map)
        pixels = self.image
        if max_pixels is not None and max_pixels < 1:
            raise UsageError(f"max_pixels={max_pixels} leaves no pixels; give 1 or more, or None for all")
        if max_pixels is not None and self.labels.size > max_pixels:
            scale = math.sqrt(max_pixels / self.labels.size)
            size = max(1, round(self.height * scale)), max(1, round(self.width * scale))
            pixels = np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BOX))
            regions = replace(regions, labels=nearest(regions.labels, size))
        style = OverlayStyle(alpha=alpha, names=names, legend=legend)
        return draw_overlay(pixels, regions, style, summary_of(self).notes())

    def report(self, *, compact: bool = False) -> dict[str, Any]:
        """The contents of `out/photo.json`, as plain Python values that strict JSON can represent.

        Args:
            compact: list only the words and parts that have pixels.

        Returns:
            "image" (its name as given, None for an image from memory), "width", "height", "model", "dtype", "classes",
            "unlabeled" (pixels), "quality" and "unsure" (see there), the words "not_found", "seconds", and "hints".
            "classes" lists every word: its "id" in the label map, "name", "color" (RGB), "pixels", their "fraction" of
            the image, and their mean "confidence" (None without pixels). All "pixels" and "unlabeled" add up to width x
            height. If parts were requested, "parts" follows "classes": for every part its "id" in the part map,
            "object" (None for any object), "part" and "name", then the same statistics. With objects, each of the
            "classes" has its number of "objects".
        """
        parts = {}
        if (of_parts := self._part_statistics) is not None:
            named = [{"object": part.object, "part": part.part, "name": part.name} for part in self.parts]
            listed = of_parts.listed(len(named), compact=compact)
            parts["parts"] = [{"id": index, **named[index], **of_parts.entry(index)} for index in listed]
        classes = self.statistics.classes(self.words, self.colors, compact=compact)
        if (counts := self.object_counts) is not None:
            classes = [{**entry, "objects": counts[entry["id"]]} for entry in classes]
        return report_fields(self, classes, **parts)

    def notes(self) -> list[str]:
        """The quality, the absent words and the hints, a line each."""
        return [*summary_of(self).notes(), *map(str, self.hints)]

    def to_supervision(self) -> "supervision.Detections":
        """Convert to `supervision.Detections`, for that library's annotators, trackers and zones.

            detections = result.to_supervision()
            shown = supervision.MaskAnnotator().annotate(result.image.copy(), detections)

        Returns:
            One detection per word that has pixels, or per object for words with objects (`objects=`): its
            "mask", box "xyxy" [px], mean "confidence", "class_id" (index into `words`) and `data["class_name"]`. For
            words with objects, pixels outside any object are left out. Of a tracked result, the objects alone, with
            their "tracker_id".

        Raises:
            UsageError: supervision isn't installed.
        """
        return detections(self.labels, self.words, self.confidence, self.object_map, is_tracked=self.is_tracked)

    @checked_call
    def to_coco(self, *, masks: MaskForm = "rle", background: str | None = None, image_id: int = 1) -> dict[str, Any]:
        """Convert to a COCO dataset of one image, as in the format "coco-instances".

        Each object is an annotation; for words without objects, each connected component, or for stuff (sky, wall, ...,
        see `segvoc.encoders.lexicon`) the whole mask.

        Args:
            masks: "rle": compressed run lengths, exact; "polygons": outlines, within 0.25 pixels of pixel edges.
            background: the word that stands for "none of the others", treated as stuff; None: that of the call.
            image_id: the id of the image.

        Returns:
            "images", "annotations" and "categories", as plain values. A category's id is the index of its word plus 1.
            Annotations have COCO's keys and the mean confidence as "score", so `COCO.loadRes` accepts them too.

        Raises:
            UsageError: the extra `data` isn't installed.
        """
        return coco_of(self, masks, background, image_id)

    def to_labelme(self, file: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """Convert to a LabelMe annotation: a polygon per connected component.

            result.to_labelme("photo.json")  # then: labelme photo.json

        Args:
            file: also write it to this file, atomically.

        Returns:
            The content of the file. "imagePath" is the image's path relative to it (without a file: the image's name);
            an image that is no file is embedded.

        Raises:
            UsageError: the file would overwrite the image.
            OutputError: the file can't be written.
        """
        return labelme_of(self, file)

    @checked_call
    def to_geojson(self, file: str | os.PathLike[str] | None = None, *, simplify: float | int = 0) -> dict[str, Any]:
        """Convert the labels of a georeferenced image to GeoJSON, in WGS 84 (RFC 7946).

            result.to_geojson("scene.geojson", simplify=2)

        Each object is a feature; for words without objects, each 4-connected component. They have the properties
        "word", "confidence" (mean) and "area" [m²] of their pixels, fit together without gaps, and leave out unlabeled
        pixels.

        Args:
            file: also write it to this file, atomically.
            simplify: remove corners that change areas by less than a square of this side [m]; shared borders stay
                shared.

        Returns:
            The content of the file, a "FeatureCollection".

        Raises:
            InputError: the image's file has no coordinates, or no coordinate system.
            UsageError: the image is from memory, the file would overwrite it, or the extra `geo` isn't installed.
            OutputError: the file can't be written.
        """
        return geojson_of(self, file, float(simplify))

    @property
    def quality(self) -> float | None:
        """The expected pixel accuracy of the labels, in [0, 1]: the mean confidence of all words but the background.

        None where the confidence is no probability of being right: for a single word, and for models that have neither
        a fitted confidence nor taught words. None without a labeled pixel, too.
        """
        return summary_of(self).quality

    @property
    def unsure(self) -> bool:
        """Whether the quality is so low that perhaps none of the words is in the image."""
        return summary_of(self).unsure

    @functools.cached_property
    def object_counts(self) -> tuple[int, ...] | None:
        """Number of objects of each class; None without objects."""
        if self.object_map is None:
            return None
        counts = object_counts(self.labels, self.object_map)
        return tuple(counts.get(index, 0) for index in range(len(self.words)))

    @functools.cached_property
    def statistics(self) -> LabelStatistics:
        """The pixels of each label and their confidence."""
        return LabelStatistics.of(self.labels, self.confidence)

    @functools.cached_property
    def _part_statistics(self) -> LabelStatistics | None:
        if self.part_labels is None or self.part_confidence is None:
            return None
        return LabelStatistics.of(self.part_labels, self.part_confidence)

    @checked_call
    def save(
        self,
        out_dir: str | os.PathLike[str],
        stem: str | None = None,
        *,
        overlay: OverlayStyle | None = SAVED_OVERLAY,
        compact: bool = False,
    ) -> ResultPaths:
        """Write the label map, the overlay and the report, each atomically; earlier results are replaced.

        The label map of a georeferenced TIFF is a GeoTIFF ("scene.tif"), otherwise a PNG. If parts were requested, the
        part map is written too ("stem.parts.png"); with objects, a 16-bit gray PNG of their numbers
        ("stem.objects.png"). Maps and overlays of earlier runs that this call doesn't replace are removed.

        Args:
            out_dir: the folder to write to, created if needed; or the label map's own name, "out/photo.png", beside
                which the other files are written.
            stem: common name of the files, may include subfolders; by default the image's name without suffix, or
                "segmentation" for an image from memory.
            overlay: settings of the overlay; None draws no overlay.
            compact: in the report, list only words that have pixels.

        Returns:
            The paths of the files.

        Raises:
            UsageError: alpha is not in [0, 1], the stem leads out of the folder, or a result would overwrite the image.
            OutputError: a file can't be written, for example because the disk is full.
        """
        out_dir, stem = _place_of_files(self.source, out_dir, stem)
        place = None if self.source is None else place_of(self.source)
        paths = ResultPaths.below(
            out_dir,
            stem,
            parts=self.part_labels is not None,
            objects=self.object_map is not None,
            overlay=overlay is not None,
            placed=place is not None,
        )
        if self.source is not None:
            refuse_overwriting([self.source], paths)
        check_names(paths)
        drawn, stale = None if overlay is None else self.overlay(**asdict(overlay)), paths.stale()
        if place is None:
            write_label_map(paths.label_map, self.labels, self.colors)
        else:
            write_placed_label_map(paths.label_map, self.labels, self.colors, self.words, place)
        if paths.part_map is not None and self.part_labels is not None:
            write_label_map(paths.part_map, self.part_labels, self.part_colors)
        if paths.object_map is not None and self.object_map is not None:
            numbers = Image.fromarray(self.object_map)
            write_atomically(paths.object_map, lambda file: numbers.save(file, "PNG"))
        if paths.overlay is not None and drawn is not None:
            # level 1: at level 6, photos are hardly smaller but take four times as long
            write_atomically(paths.overlay, lambda file: drawn.save(file, "PNG", compress_level=1))
        write_atomically(paths.report, lambda file: file.write(json_text(self.report(compact=compact))))
        for left in stale:
            try:
                left.unlink(missing_ok=True)
            except OSError as error:
                problem = f"{str(left)!r} of an earlier run can't be removed: {error.strerror}; remove it yourself"
                raise OutputError(problem) from None
        return paths


def _place_of_files(
    source: str | None, out_dir: str | os.PathLike[str], stem: str | None
) -> tuple[str | os.PathLike[str], str]:
    """The folder and the common name of a result's files; see `Segmentation.save`."""
    suffix = "" if stem is not None or os.path.isdir(out_dir) else Path(out_dir).suffix.lower()
    if suffix == ".png":
        return Path(out_dir).parent, Path(out_dir).stem
    if suffix in (*IMAGE_SUFFIXES, ".json", ".npy", ".npz", ".txt", ".csv"):
        raise UsageError(
            f"{os.fspath(out_dir)!r}: label maps are PNGs, since JPEG would change labels; give a folder or a name "
            "that ends with .png, or write a picture or file of your own: result.overlay(), .labels or .report()"
        )
    if stem is None:
        stem = "segmentation" if source is None else Path(source).stem
    if not stem or os.path.isabs(stem) or ".." in Path(stem).parts:
        raise UsageError(f"stem={stem!r} leads out of {os.fspath(out_dir)!r}; give a name like 'sub/photo'")
    return out_dir, stem


class Segmentations(list[Segmentation]):
    """The results of a list of images; a notebook shows their overlays."""

    if not TYPE_CHECKING:  # for type checkers, there are only the attributes above and below

        def __getattr__(self, name: str) -> object:
            raise AttributeError(f"a list of results has no {name!r}; take one: results[0].{name}, or loop over them")

    def _repr_html_(self) -> str:
        shown = "".join(map(_figure, self[:_MOST_FIGURES]))
        more = f"<p>and {len(self) - _MOST_FIGURES} more</p>" if len(self) > _MOST_FIGURES else ""
        return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{shown}</div>{more}'


def _figure(result: Segmentation) -> str:
    content = io.BytesIO()
    result.overlay(max_pixels=60_000).save(content, "JPEG", quality=85)
    picture = base64.b64encode(content.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{picture}" title="{html.escape(repr(result))}">'
