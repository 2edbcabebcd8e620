"""A decision as programs: the functions of `segvoc.inference.decision`, traced, for runtimes without Python.

Each is a file of an exported folder, which `ExportManifest.decision_programs` names by one of `DECISION_PROGRAMS`.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.export import Dim

from segvoc.exporting.programs import Program
from segvoc.inference.confidence import coarse
from segvoc.inference.decision import CallFacts, Decision, GroupName, Strongest, WordTable, competition, decide, differ
from segvoc.inference.pixel_labels import SEARCHED
from segvoc.inference.word_colors import color_names
from segvoc.layers.selection import DROPPED

WITH_WORDS = SEARCHED[:3]
"""Groups of asked words, whose strongest word may become the label."""


def input_name(group: GroupName) -> str:
    """How the programs call a group."""
    return group.replace("-", "_").replace(" ", "_")


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
        kept, sides = Dim("kept", max=1 << 17), (Dim("rows", max=1 << 17), Dim("columns", max=1 << 17))
        inputs = {"maps": torch.randn(3, 67, 59), "kept": torch.tensor([0, 2, 3]), "facts": torch.zeros(4, 3)}
        free = {"maps": {0: kept, 1: sides[0], 2: sides[1]}, "kept": {0: kept}, "facts": rows}
        yield "offsets", Program(module=_Offsets(decision), inputs=inputs, free=free)
    if decision.compares_colors:
        sides = {1: Dim("height", max=1 << 17), 2: Dim("width", max=1 << 17)}
        yield "colors", Program(module=_Colors(), inputs={"pixels": torch.rand(3, 67, 59)}, free={"pixels": sides})


def _pixels(decision: Decision, words: object, pixels: object) -> Program:
    of_pixels = {
        **{f"{input_name(group)}_score": torch.randn(11) for group in SEARCHED},
        **{f"{input_name(group)}_word": torch.zeros(11, dtype=torch.int32) for group in WITH_WORDS},
    }
    of_words = {
        **{name: torch.zeros(3, dtype=torch.bool) for name in ("surface", "part", "whole")},
        "offsets": torch.zeros(3),
    }
    of_call = {
        "is_open": torch.tensor(False),
        "threshold": torch.tensor(0.0),
        "least": torch.tensor(0.0),
        "is_fitted": torch.tensor(True),
    }
    free: dict[str, dict[int, object]] = {name: {} for name in of_call}
    free |= {name: {0: pixels} for name in of_pixels} | {name: {0: words} for name in of_words}
    return Program(module=_Pixels(decision), inputs=of_pixels | of_words | of_call, free=free)


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
    """From an image's maps and the "facts" (K 3) of its words to the "offsets" (K) of their confidence.

    "maps" (P y x) are the network's, of those words that class selection kept; "kept" (P) are their indices.
    """

    def __init__(self, decision: Decision) -> None:
        super().__init__()
        self.decision = decision

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert self.decision.confidence is not None
        cells, facts = coarse(inputs["maps"]), inputs["facts"]
        maps = cells.new_full((facts.shape[0], *cells.shape[1:]), DROPPED).index_copy(0, inputs["kept"], cells)
        return {"offsets": self.decision.confidence.offsets(maps, facts)}


class _Colors(nn.Module):
    """From RGB "pixels" (3 H W) in [0, 255] to their "names" (H W), places in `COLORS`."""

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"names": color_names(inputs["pixels"])}


class _Pixels(nn.Module):
    """From the strongest word of each group at N pixels to their "label", the index of a word or -1, and "confidence".

    Each group of `SEARCHED` has a score (N), -inf if the call doesn't have the group; those of `WITH_WORDS` also have
    words (N), all by the group's `input_name`. The other inputs are fields of `CallFacts`, with 0 for a threshold that
    isn't there, and the "offsets" (K) of the words, which count where the confidence "is_fitted" to the call.
    """

    def __init__(self, decision: Decision) -> None:
        super().__init__()
        self.decision = decision

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        words = {group: inputs[f"{input_name(group)}_word"].long() for group in WITH_WORDS}
        strengths: dict[GroupName, Strongest] = {
            group: Strongest(inputs[f"{input_name(group)}_score"], words.get(group, words["asked"]))
            for group in SEARCHED
        }
        facts = CallFacts(**{name: inputs[name] for name in CallFacts._fields})

        def decided(offsets: Tensor | None) -> tuple[Tensor, Tensor]:
            verdict = decide(strengths, facts, self.decision, offsets)
            assert verdict.is_none is not None
            return torch.where(verdict.is_none, -1, verdict.word).int(), verdict.confidence

        label, confidence = decided(None)
        if self.decision.confidence is not None:
            fitted, is_fitted = decided(inputs["offsets"]), inputs["is_fitted"]
            label, confidence = torch.where(is_fitted, fitted[0], label), torch.where(is_fitted, fitted[1], confidence)
        return {"label": label, "confidence": confidence}
