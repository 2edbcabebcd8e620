"""Label Studio's labeling configuration: the labels of an image and the names of results.

The configuration is XML that comes with each request. Nothing in it is loaded or expanded: a document type, the only
place for entities, is refused.
"""

from dataclasses import dataclass, field
from typing import Literal
from xml.parsers import expat

from segvoc import UsageError
from segvoc.imaging.label_maps import UNLABELED

DEEPEST = 100
"""Max nesting depth of elements."""

Tool = Literal["BrushLabels", "PolygonLabels"]
"""Elements whose labels can be predicted."""

_TOOLS: tuple[Tool, ...] = ("BrushLabels", "PolygonLabels")


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
    """Index of each word's label."""
    background: str | None
    """The background word."""
    threshold: float | None
    """Probability below which a pixel gets no label, or the background."""

    def label_of_class(self, classes: tuple[str, ...]) -> list[int]:
        """Map each class of a result to its label index; 65535 for a background without a label."""
        return [*self.label_of_word, *([UNLABELED] * (len(classes) - len(self.words)))]


@dataclass
class _ToolElement:
    """An element of labels."""

    name: Tool
    attributes: dict[str, str]
    labels: list[dict[str, str]] = field(default_factory=list)


def read_config(text: str) -> LabelingConfig:
    """Read the first `BrushLabels` or `PolygonLabels` of an `Image` of a configuration; raises `UsageError`.

    A label's words are in its attribute `predicted_values`, separated by commas; without it, its value is the word. The
    tool's attributes `model_background` and `model_score_threshold` are options of `Segmenter.segment`.
    """
    tools, images = _parsed(text)
    for tool in tools:
        names = [name.strip() for name in tool.attributes.get("toName", "").split(",")]
        image = next((name for name in names if name in images), None)
        if image is not None and tool.attributes.get("name") and tool.labels:
            return _config(tool, image, images[image])
    raise UsageError(
        "the labeling configuration has no BrushLabels or PolygonLabels with labels for an Image; add "
        '<BrushLabels name="masks" toName="image"><Label value="cat"/></BrushLabels> beside '
        '<Image name="image" value="$image"/>'
    )


def check_config(text: str) -> None:
    """Raise `UsageError` if a configuration is damaged, unsafe or nested too deeply; a new project's may be empty."""
    _parsed(text)


def _config(tool: _ToolElement, image: str, field_name: str) -> LabelingConfig:
    labels, words, label_of_word = [], [], []
    for label in tool.labels:
        values = label.get("predicted_values", "").split(",") if label.get("predicted_values") else [label["value"]]
        words += [value.strip() for value in values]
        label_of_word += [len(labels)] * len(values)
        labels.append(label.get("alias") or label["value"])
    return LabelingConfig(
        tool=tool.name,
        from_name=tool.attributes["name"],
        to_name=image,
        image_field=field_name,
        labels=tuple(labels),
        words=tuple(words),
        label_of_word=tuple(label_of_word),
        background=tool.attributes.get("model_background", "").strip() or None,
        threshold=_threshold(tool.attributes.get("model_score_threshold")),
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


def _parsed(text: str) -> tuple[list[_ToolElement], dict[str, str]]:
    """The elements of labels, and the fields of the images by name."""
    tools: list[_ToolElement] = []
    images: dict[str, str] = {}
    open_elements: list[_ToolElement | None] = []
    parser = expat.ParserCreate("utf-8")

    def begin(name: str, attributes: dict[str, str]) -> None:
        if len(open_elements) >= DEEPEST:
            raise UsageError(f"the labeling configuration is nested more than {DEEPEST} deep; make it flatter")
        inside = next((one for one in reversed(open_elements) if one is not None), None)
        tool = None
        if name in _TOOLS:
            tool = _ToolElement(name, attributes)
            tools.append(tool)
        elif name == "Label" and inside is not None and attributes.get("value"):
            inside.labels.append(attributes)
        elif name == "Image" and attributes.get("name") and attributes.get("value", "").startswith("$"):
            images[attributes["name"]] = attributes["value"][1:]
        open_elements.append(tool)

    def end(_: str) -> None:
        open_elements.pop()

    def refuse(*_: object) -> None:
        raise UsageError("the labeling configuration has a document type (<!DOCTYPE ...>); remove it")

    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text.encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        place = f"{expat.ErrorString(error.code)}, line {error.lineno}"
        raise UsageError(f"the labeling configuration isn't valid XML: {place}; fix it there") from None
    return tools, images
