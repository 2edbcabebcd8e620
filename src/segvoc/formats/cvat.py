"""CVAT: one XML file ("CVAT for images 1.1") with a mask for each region."""

from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import numpy as np

from segvoc.annotations.connected_regions import Region, connected_regions
from segvoc.formats.dataset_format import DatasetEntries, DatasetFormat, Facts, xml_text
from segvoc.imaging.palette import class_colors
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.atomic_writes import write_atomically


class Cvat(DatasetFormat):
    """`annotations.xml`, and the images."""

    name = "cvat"
    needs = ("skimage",)

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """See `DatasetFormat.write`."""
        regions = connected_regions(result.labels, len(self.words), result.objects)
        masks = [{"label": region.label, "box": region.box, "rle": run_lengths(region)} for region in regions]
        return {"size": [result.height, result.width], "masks": masks}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        """See `DatasetFormat.finish`."""
        write_atomically(folder / "annotations.xml", lambda file: self._write_xml(file, entries))

    def _write_xml(self, file: BinaryIO, entries: DatasetEntries) -> None:
        xml = XMLGenerator(file, "utf-8", short_empty_elements=True)  # pyright: ignore[reportArgumentType]
        xml.startDocument()
        _start(xml, "annotations")
        _leaf(xml, "version", "1.1")
        for name in ("meta", "task", "labels"):
            _start(xml, name)
        for word, (red, green, blue) in zip(self.words, class_colors(len(self.words)).tolist(), strict=True):
            _start(xml, "label")
            _leaf(xml, "name", word)
            _leaf(xml, "color", f"#{red:02x}{green:02x}{blue:02x}")
            _leaf(xml, "type", "mask")
            _start(xml, "attributes")
            xml.endElement("attributes")
            xml.endElement("label")
        for name in ("labels", "task", "meta"):
            xml.endElement(name)
        for number, entry in enumerate(entries):
            height, width = entry.facts["size"]
            # CVAT finds its image by this name, as it was uploaded
            name = entry.image.removeprefix("images/")
            xml.characters("\n")
            _start(xml, "image", id=number, name=name, width=width, height=height)
            for mask in entry.facts["masks"]:
                left, top, columns, rows = mask["box"]
                kind = {"label": self.words[mask["label"]], "source": "auto", "occluded": 0, "rle": mask["rle"]}
                _start(xml, "mask", **kind, left=left, top=top, width=columns, height=rows, z_order=0)
                xml.endElement("mask")
            xml.endElement("image")
        xml.endElement("annotations")
        xml.endDocument()


def run_lengths(region: Region) -> str:
    """The lengths of the runs in a region's bounding box, row by row: outside, inside, outside, ..."""
    pixels = region.inside.ravel()
    bounds = np.flatnonzero(np.diff(pixels, prepend=False))
    return ", ".join(map(str, np.diff(bounds, prepend=0, append=pixels.size).tolist()))


def _start(xml: XMLGenerator, element: str, /, **attributes: object) -> None:
    xml.startElement(element, AttributesImpl({name: xml_text(str(value)) for name, value in attributes.items()}))


def _leaf(xml: XMLGenerator, name: str, text: str) -> None:
    _start(xml, name)
    xml.characters(xml_text(text))
    xml.endElement(name)
