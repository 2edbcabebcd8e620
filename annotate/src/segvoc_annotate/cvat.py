"""A detection function for CVAT's automatic annotation: `cvat-cli task auto-annotate --function-module`.

CVAT's labels are the words: a task with the labels "cat" and "sofa" gets masks for both.
"""

from typing import Unpack

import cvat_sdk.auto_annotation as cvataa
import numpy as np
from cvat_sdk.masks import encode_mask
from cvat_sdk.models import LabeledShapeRequest
from PIL import Image

from segvoc import LabelOptions, UsageError, Vocabulary, load
from segvoc.inference.label_options import LabelKeywords
from segvoc_annotate.label_regions import coarse_polygons, label_regions


class SegvocFunction:
    """Returns the connected components of each word as masks, or as polygons if CVAT requests them.

    Args:
        words: the words, separated by commas; also the names of the labels.
        words_file: a file with one word per line instead.
        model: a preset, or a path; see `segvoc.load`.
        weights: a weights file for the model.
        device: "auto", "cpu", "cuda", ...
        smallest: minimum pixels per mask.
        options: fields of `LabelOptions`. The background and pixels below the threshold get no mask.

    Raises:
        UsageError: there are no words, or the model is unknown.
        CheckpointError: the model can't be loaded.
    """

    def __init__(
        self,
        words: str | None = None,
        *,
        words_file: str | None = None,
        model: str = "tiny",
        weights: str | None = None,
        device: str = "auto",
        smallest: int = 64,
        **options: Unpack[LabelKeywords],
    ) -> None:
        if (words is None) == (words_file is None):
            raise UsageError("give either words or words_file, for example -p words=str:'cat, sofa, wall'")
        vocabulary = Vocabulary(words) if words is not None else Vocabulary.read(str(words_file))
        self._model = load(model, weights=weights, device=device)
        self._options = LabelOptions(**options)
        self._words = self._model.encode(vocabulary, background=self._options.background)
        self._smallest = smallest

    @property
    def spec(self) -> cvataa.DetectionFunctionSpec:
        """The labels; ids are word indices."""
        names = enumerate(self._words.words)
        return cvataa.DetectionFunctionSpec(
            labels=[cvataa.label_spec(name, at, type="mask") for at, name in names if name != self._options.background]
        )

    def detect(self, context: cvataa.DetectionFunctionContext, image: Image.Image) -> list[LabeledShapeRequest]:
        """Label one frame; CVAT's request (`context`) has a minimum confidence, and asks for masks or polygons."""
        result = self._model.segment(image, self._words, options=self._options)
        shapes: list[LabeledShapeRequest] = []
        for region, _ in label_regions(
            result,
            without=self._options.background,
            smallest=self._smallest,
            least_confidence=context.conf_threshold or 0.0,
        ):
            if context.conv_mask_to_poly:
                shapes += [
                    cvataa.polygon(region.label, outline.ravel().tolist()) for outline in coarse_polygons(region)
                ]
            else:
                mask = np.zeros(result.labels.shape, bool)
                mask[region.place] = region.inside
                shapes.append(cvataa.mask(region.label, encode_mask(mask)))
        return shapes


create = SegvocFunction
"""The factory that `cvat-cli` calls with its `-p` options."""
