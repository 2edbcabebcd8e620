"""A result in the terms of other programs: a COCO dataset, a LabelMe annotation, a table of pandas."""

import base64
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from segvoc.encoders.lexicon import surfaces_among
from segvoc.errors import UsageError, missing_package
from segvoc.imaging.annotations import MaskForm, categories, labelme_content, region_annotations
from segvoc.imaging.connected_regions import segments
from segvoc.storage.files import write_json

if TYPE_CHECKING:
    import pandas


def dataframe_of(result: Any, *, objects: bool) -> "pandas.DataFrame":
    """See `Segmentation.to_dataframe`."""
    try:
        import pandas
    except ModuleNotFoundError:
        raise missing_package("pandas") from None
    if objects:
        rows = [(one.word, *one.box, one.score, one.area, one.track) for one in result.objects]
        table = pandas.DataFrame(rows, columns=["word", "x0", "y0", "x1", "y1", "score", "area", "track"])
        return table if result.is_tracked else table.drop(columns="track")
    return pandas.DataFrame(result.report()["classes"]).set_index("id")


def coco_of(result: Any, masks: MaskForm, background: str | None, image_id: int) -> dict[str, Any]:
    """See `Segmentation.to_coco`."""
    stuff = surfaces_among(result.words, background or result.background)
    found = list(segments(result.labels, len(result.words), stuff, result.object_map))
    annotations = [
        {"id": number, "image_id": image_id, **entry, "score": result._mean_confidence(region)}
        for number, (region, entry) in enumerate(region_annotations(found, result.labels.shape, masks), 1)
    ]
    name = "" if result.source is None else Path(result.source).name
    counted = {region.label for region in found if region.number is not None}
    return {
        "images": [{"id": image_id, "file_name": name, "width": result.width, "height": result.height}],
        "annotations": annotations,
        "categories": list(categories(result.words, stuff - counted)),
    }


def labelme_of(result: Any, file: str | os.PathLike[str] | None) -> dict[str, Any]:
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


def _seen_from(file: str, image: str) -> str:
    """The path of an image relative to the folder of a file, with slashes."""
    try:
        return Path(os.path.relpath(image, os.path.dirname(file) or ".")).as_posix()
    except ValueError:  # on another drive of Windows
        return Path(image).absolute().as_posix()
