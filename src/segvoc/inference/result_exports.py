"""A result in the terms of other programs: a COCO dataset, a LabelMe annotation, a map."""

import base64
import io
import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8, UInt16
from PIL import Image

from segvoc.encoders.lexicon import surfaces_among
from segvoc.errors import UsageError
from segvoc.imaging.annotations import MaskForm, categories, labelme_content, region_annotations
from segvoc.imaging.connected_regions import segments
from segvoc.imaging.map_features import LabeledMap, MapPlace, MapRows
from segvoc.imaging.map_files import MapFormat, geojson_features, write_geojson
from segvoc.imaging.result_paths import refuse_overwriting
from segvoc.storage.files import write_json


@runtime_checkable
class LabeledPixels(Protocol):
    """What other programs get of a `Segmentation`."""

    @property
    def labels(self) -> UInt16[np.ndarray, "H W"]:
        """Index into `words` of each pixel's class; 65535 means unlabeled."""
        ...

    @property
    def words(self) -> tuple[str, ...]:
        """Names of the classes."""
        ...

    @property
    def confidence(self) -> Float32[np.ndarray, "H W"]:
        """How likely each pixel's label is right, in [0, 1]."""
        ...

    @property
    def image(self) -> UInt8[np.ndarray, "H W 3"]:
        """The image: upright, RGB."""
        ...

    @property
    def object_map(self) -> UInt16[np.ndarray, "H W"] | None:
        """Object number of each pixel, 0 for none."""
        ...

    @property
    def background(self) -> str | None:
        """The word that stands for "none of the others"."""
        ...

    @property
    def source(self) -> str | None:
        """Path or address of the image; None for one from memory."""
        ...

    @property
    def content(self) -> bytes | None:
        """The image's file, if `source` is no path."""
        ...


def coco_of(result: LabeledPixels, masks: MaskForm, background: str | None, image_id: int) -> dict[str, Any]:
    """See `Segmentation.to_coco`."""
    stuff = surfaces_among(result.words, background or result.background)
    found = list(segments(result.labels, len(result.words), stuff, result.object_map))
    annotations = [
        {"id": number, "image_id": image_id, **entry, "score": region.mean(result.confidence)}
        for number, (region, entry) in enumerate(region_annotations(found, result.labels.shape, masks), 1)
    ]
    height, width = result.labels.shape
    name = "" if result.source is None else Path(result.source).name
    counted = {region.label for region in found if region.number is not None}
    return {
        "images": [{"id": image_id, "file_name": name, "width": width, "height": height}],
        "annotations": annotations,
        "categories": list(categories(result.words, stuff - counted)),
    }


def labelme_of(result: LabeledPixels, file: str | os.PathLike[str] | None) -> dict[str, Any]:
    """See `Segmentation.to_labelme`."""
    data, path = None, "image.png"
    if result.source is None or result.content is not None:
        content = io.BytesIO()
        Image.fromarray(result.image).save(content, "PNG")
        data = base64.b64encode(content.getvalue()).decode("ascii")
    else:
        path = Path(result.source).name if file is None else _seen_from(os.fspath(file), result.source)
    annotation = labelme_content(result.labels, result.words, result.object_map, path=path, data=data)
    if file is not None:
        if result.source is not None and os.path.realpath(file) == os.path.realpath(result.source):
            raise UsageError(f"{os.fspath(file)!r} is the image itself; give a name that ends with .json")
        write_json(Path(file), annotation)
    return annotation


def labeled_map_of(result: LabeledPixels) -> LabeledMap:
    """The labels of a georeferenced image at their place; `InputError` without one (`MapPlace.of`)."""
    if result.source is None:
        raise UsageError("an image from memory has no coordinates, which maps need; give the path of a GeoTIFF")

    def read(rows: slice) -> MapRows:
        objects = None if result.object_map is None else result.object_map[rows]
        return MapRows(result.labels[rows], result.confidence[rows], objects)

    place, (height, width) = MapPlace.of(result.source), result.labels.shape
    return LabeledMap(height=height, width=width, words=result.words, read=read, place=place)


def geojson_of(result: LabeledPixels, file: str | os.PathLike[str] | None, simplify: float) -> dict[str, Any]:
    """See `Segmentation.to_geojson`."""
    form = MapFormat(name="geojson", simplify=simplify)
    features = list(geojson_features(labeled_map_of(result), form.simplify))
    if file is not None and result.source is not None:
        refuse_overwriting([result.source], [Path(file)])
        write_geojson(Path(file), features)
    return {"type": "FeatureCollection", "features": features}


def _seen_from(file: str, image: str) -> str:
    """The path of an image relative to the folder of a file, with slashes."""
    try:
        return Path(os.path.relpath(image, os.path.dirname(file) or ".")).as_posix()
    except ValueError:  # on another drive of Windows
        return Path(image).absolute().as_posix()
