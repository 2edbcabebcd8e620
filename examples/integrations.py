"""Take a result to the programs and libraries that people look at masks with.

Usage: python examples/integrations.py PHOTO OUT
"""
# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false

import sys
from pathlib import Path

import supervision
from PIL import Image

import segvoc
from segvoc.labeling.formats.objects import with_objects

WORDS = ["cat", "wall"]


def view(result: segvoc.Segmentation, out: Path) -> None:
    """Write what supervision draws, and the files of LabelMe and COCO."""
    counted = with_objects(result, ["cat"])
    found = counted.to_supervision()
    Image.fromarray(supervision.MaskAnnotator().annotate(result.image.copy(), found)).save(out / "masks.jpg")
    result.to_labelme(out / "photo.json")
    content = counted.to_coco(masks="polygons", background="wall")
    print(f"{len(found)} detections, {len(content['annotations'])} annotations of COCO")


def main() -> None:
    """Label, look."""
    photo, place = sys.argv[1:]
    out = Path(place)
    out.mkdir(parents=True, exist_ok=True)
    view(segvoc.load("tiny").segment(photo, WORDS), out)


if __name__ == "__main__":
    main()
