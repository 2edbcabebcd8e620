"""A decision as programs: the functions of `segvoc.inference.decision`, traced, for runtimes without Python.

Each is a file of an exported folder, which `ExportManifest.decision_programs` names by one of `DECISION_PROGRAMS`.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.export import Dim

from segvoc.exporting.programs import Program
from segvoc.inference.decision import (
    CallFacts,
    Decision,
    GroupName,
    Strongest,
    Verdict,
    WordTable,
    competition,
    decide,
    differ,
)
from segvoc.inference.pixel_labels import SEARCHED

WITH_WORDS = SEARCHED[:3]
"""Groups of asked words, whose strongest word may become the label."""


def decision_files(decision: Decision) -> dict[str, str]:
    """Files of the programs that a decision has."""
    return {name: f"decide_{name}.onnx" for name, _ in decision_programs(decision)}


def decision_programs(decision: Decision) -> Iterator[tuple[str, Program]]:
    """The programs of a decision, by their names."""
    words, pixels = Dim("words", max=1 << 17), Dim("pixels", max=1 << 28)
    rows = {0: words}
    yield "pixels", _pixels(decision, words, pixels)
    if decision.common and decision.wholes:
        groups, wholes = len(decision.common), len(decision.wholes)
        columns = {"first": groups, "member": groups, "part": wholes, "whole": wholes, "spares": wholes}
        table = {name: torch.zeros(3, size, dtype=torch.bool) for name, size in columns.items()}
        inputs = {**table, "surface": torch.zeros(3, dtype=torch.bool)}
        yield "words", Program(module=_Words(decision.most_open), inputs=inputs, free=dict.fromkeys(inputs, rows))
    if decision.stand_ins is not None:
        channels, prompts = Dim("channels", max=1 << 17), Dim("prompts", max=1 << 10)
        others = {0: Dim("others", max=1 << 17), 1: prompts, 2: channels}
        inputs = {"requested": torch.randn(3, 4, 5), "others": torch.randn(6, 4, 5)}
        free = {"requested": {0: words, 1: prompts, 2: channels}, "others": others}
        yield "differ", Program(module=_Differ(decision.stand_ins.similarity), inputs=inputs, free=free)
    if decision.confidence is not None:
        inputs = {"maps": torch.randn(3, 6, 7), "facts": torch.zeros(3, 3)}
        free = {"maps": {0: words, 1: Dim("rows", max=1 << 17), 2: Dim("columns", max=1 << 17)}, "facts": rows}
        yield "offsets", Program(module=_Offsets(decision), inputs=inputs, free=free)


def _pixels(decision: Decision, words: object, pixels: object) -> Program:
    inputs = {
        "score": torch.randn(len(SEARCHED), 11),
        "word": torch.zeros(len(WITH_WORDS), 11, dtype=torch.int64),
        **{name: torch.zeros(3, dtype=torch.bool) for name in ("surface", "part", "whole")},
        "offsets": torch.zeros(3),
        "is_open": torch.tensor(False),
        "threshold": torch.tensor(0.0),
        "least": torch.tensor(0.0),
        "is_fitted": torch.tensor(True),
    }
    axes = {
        "score": {1: pixels},
        "word": {1: pixels},
        **{name: {0: words} for name in ("surface", "part", "whole", "offsets")},
    }
    return Program(module=_Pixels(decision), inputs=inputs, free={name: axes.get(name, {}) for name in inputs})


class _Words(nn.Module):
    """From a `WordTable` to the `Competition` of its words."""

    def __init__(self, most_open: int) -> None:
        super().__init__()
        self.most_open = most_open

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return competition(WordTable(**inputs), self.most_open)._asdict()


class _Differ(nn.Module):
    """From embeddings "requested" (T P C) and "others" (S P C) to "differ" (S): which of these are no synonyms."""

    def __init__(self, similarity: float) -> None:
        super().__init__()
        self.similarity = similarity

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"differ": differ(inputs["requested"], inputs["others"], self.similarity)}


class _Offsets(nn.Module):
    """From coarse "maps" (K h w) and "facts" (K 3) of an image's words to the "offsets" (K) of their confidence."""

    def __init__(self, decision: Decision) -> None:
        super().__init__()
        self.decision = decision

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert self.decision.confidence is not None
        return {"offsets": self.decision.confidence.offsets(inputs["maps"], inputs["facts"])}


class _Pixels(nn.Module):
    """From the strongest word of each group at N pixels to their word, -1 for none, and its confidence.

    "score" (G N) has the groups of `SEARCHED`, -inf for one that the call doesn't have; "word" (3 N) those of
    `WITH_WORDS`. The other inputs are fields of `CallFacts`, with 0 for a threshold that isn't there, and the "offsets"
    (K) of the words, which count where the confidence "is_fitted" to the call.
    """

    def __init__(self, decision: Decision) -> None:
        super().__init__()
        self.decision = decision

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        words = [*inputs["word"], *[inputs["word"][0]] * (len(SEARCHED) - len(WITH_WORDS))]
        strengths: dict[GroupName, Strongest] = {
            group: Strongest(score, word) for group, score, word in zip(SEARCHED, inputs["score"], words, strict=True)
        }
        facts = CallFacts(**{name: inputs[name] for name in CallFacts._fields})

        def verdict(offsets: Tensor | None) -> Verdict:
            return decide(strengths, facts, self.decision, offsets)

        plain = verdict(None)
        fitted = plain if self.decision.confidence is None else verdict(inputs["offsets"])
        is_fitted = inputs["is_fitted"]
        assert plain.is_none is not None and fitted.is_none is not None
        is_none = torch.where(is_fitted, fitted.is_none, plain.is_none)
        return {
            "word": torch.where(is_none, -1, plain.word),
            "confidence": torch.where(is_fitted, fitted.confidence, plain.confidence),
        }
