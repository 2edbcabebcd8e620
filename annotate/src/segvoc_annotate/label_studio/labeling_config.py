"""Label Studio's labeling configuration: the labels of an image and the names of results.

The configuration is XML that comes with each request. Nothing in it is loaded or expanded: a document type, the only
place for entities, is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args
from xml.etree import ElementTree
from xml.parsers import expat

from segvoc import UsageError
from segvoc.imaging.label_maps import UNLABELED

DEEPEST = 100
"""Max nesting depth of elements."""

Tool = Literal["BrushLabels", "PolygonLabels"]
"""Elements whose labels can be predicted."""


@dataclass(frozen=True, kw_only=True)
class LabelingConfig:
    """The settings of a configuration's first mask tool."""

    tool: Tool
    from_name: str
    to_name: str
    image_field: str
    """Field of a task's data with the image."""
    labels: tuple[str, ...]
    """Labels that an annotator may choose."""
    words: tuple[str, ...]
    """The words to look for; a label may have several."""
    label_of_word: tuple[int, ...]
    background: str | None
    threshold: float | None
    """Probability below which a pixel gets no label, or the background."""

    def label_of_class(self, classes: tuple[str, ...]) -> list[int]:
        """Map each class of a result to its label index; 65535 for a background without a label."""
        return [*self.label_of_word, *([UNLABELED] * (len(classes) - len(self.words)))]


def read_config(text: str, of: tuple[str, str] | None = None) -> LabelingConfig:
    """Read the first `BrushLabels` or `PolygonLabels` of an `Image` of a configuration; raises `UsageError`.

    A label's words are in its attribute `predicted_values`, separated by commas; without it, its value is the word. The
    tool's attributes `model_background` and `model_score_threshold` are options of `Segmenter.segment`.

    `of` has the names of an image and a label that it has to be for (None: any).
    """
    root = _parsed(text)
    fields = {image.get("name"): image.get("value", "") for image in root.iter("Image")}
    for tool in root.iter():
        names = [name.strip() for name in tool.get("toName", "").split(",")] if tool.tag in get_args(Tool) else []
        names = [name for name in names if fields.get(name, "").startswith("$") and (of is None or name == of[0])]
        labels = [label for label in tool.iter("Label") if label.get("value")]
        if names and tool.get("name") and labels:
            config = _config(tool, labels, names[0], fields[names[0]][1:])
            if of is None or of[1] in config.labels:
                return config
    if of is not None:
        raise UsageError(
            f"the image {of[0][:60]!r} has no BrushLabels or PolygonLabels with the label {of[1][:60]!r}; add the label"
        )
    raise UsageError(
        "the labeling configuration has no BrushLabels or PolygonLabels with labels for an Image; add "
        '<BrushLabels name="masks" toName="image"><Label value="cat"/></BrushLabels> beside '
        '<Image name="image" value="$image"/>'
    )


def check_config(text: str) -> None:
    """Raise `UsageError` if a configuration is damaged, unsafe or nested too deeply; a new project's may be empty."""
    _parsed(text)


def _config(
    tool: ElementTree.Element, elements: Sequence[ElementTree.Element], image: str, image_field: str
) -> LabelingConfig:
    labels, words, label_of_word = [], [], []
    for element in elements:
        predicted = element.get("predicted_values")
        values = predicted.split(",") if predicted else [element.attrib["value"]]
        words += [value.strip() for value in values]
        label_of_word += [len(labels)] * len(values)
        labels.append(element.get("alias") or element.attrib["value"])
    return LabelingConfig(
        tool=cast(Tool, tool.tag),
        from_name=tool.attrib["name"],
        to_name=image,
        image_field=image_field,
        labels=tuple(labels),
        words=tuple(words),
        label_of_word=tuple(label_of_word),
        background=tool.get("model_background", "").strip() or None,
        threshold=_threshold(tool.get("model_score_threshold")),
    )


def _threshold(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"model_score_threshold={text[:60]!r} is not a probability; give a number from 0 to 1")
    return value


class _Elements(ElementTree.TreeBuilder):
    """Builds a tree of limited depth, without a document type."""

    depth = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> ElementTree.Element:
        self.depth += 1
        if self.depth > DEEPEST:
            raise UsageError(f"the labeling configuration is nested more than {DEEPEST} deep; make it flatter")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ElementTree.Element:
        self.depth -= 1
        return super().end(tag)

    def doctype(self, *_: object) -> None:
        raise UsageError("the labeling configuration has a document type (<!DOCTYPE ...>); remove it")


def _parsed(text: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(
            text.encode("utf-8", "replace"), ElementTree.XMLParser(target=_Elements(), encoding="utf-8")
        )
    except ElementTree.ParseError as error:
        place = f"{expat.ErrorString(error.code)}, line {error.position[0]}"
        raise UsageError(f"the labeling configuration isn't valid XML: {place}; fix it there") from None
