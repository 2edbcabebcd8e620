"""The programs of the shipped decision give what Python decides."""

from typing import Any

import numpy as np
import onnxruntime
import pytest

from segvoc.exporting.decision_programs import WITH_WORDS, input_name
from segvoc.inference.confidence import coarse_maps
from segvoc.inference.decision import CallFacts, GroupName, Strongest, WordTable, competition, decide, differ
from segvoc.inference.pixel_labels import SEARCHED
from segvoc.inference.protocols import Protocol
from segvoc.inference.windows import ViewLogits
from segvoc.inference.word_colors import color_names
from segvoc.models.shipped import open_tiny
from segvoc.storage.files import SHIPPED

TINY = open_tiny()
DECISION = TINY.traits.decision
assert DECISION.stand_ins is not None and DECISION.confidence is not None
STAND_INS, CONFIDENCE = DECISION.stand_ins, DECISION.confidence
PROGRAMS = {
    name: onnxruntime.InferenceSession(SHIPPED / file) for name, file in TINY.manifest.decision_programs.items()
}


def run(name: str, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    session = PROGRAMS[name]
    return {
        one.name: np.asarray(each) for one, each in zip(session.get_outputs(), session.run(None, inputs), strict=True)
    }


@pytest.mark.parametrize(
    "words", ["dog, ball", "skier, snow", "hat, shirt", "hat, skin, man", "boat, lake, sky", ", ".join("abcdefghi")]
)
def test_the_same_words_compete(words: str) -> None:
    table = WordTable.of(words.split(", "), TINY.manifest.lexicon, DECISION, np)
    found = run("words", table._asdict())
    for name, expected in competition(table, DECISION.most_open)._asdict().items():
        assert np.array_equal(found[name], expected), name


def test_the_same_words_are_synonyms() -> None:
    random = np.random.default_rng(0)
    requested, others = (random.normal(size=(count, 2, 5)).astype(np.float32) for count in (1, 40))
    expected = differ(requested, others, STAND_INS.similarity)
    assert 0 < expected.sum() < 40
    assert np.array_equal(run("differ", {"requested": requested, "others": others})["differ"], expected)


@pytest.mark.parametrize("shape", [(1, 1), (27, 41), (56, 84), (140, 14), (112, 224), (196, 448)])
@pytest.mark.parametrize("kept", [(0, 1, 2, 3), (1, 3)])
def test_words_get_the_same_offsets(shape: tuple[int, int], kept: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    maps = random.normal(size=(len(kept), *shape), scale=3).astype(np.float32)
    facts = random.integers(0, 2, (4, 3)).astype(np.float32)
    output = ViewLogits(maps[None], np.array([kept]), 4)
    expected = CONFIDENCE.offsets(coarse_maps(output, Protocol(size=448), shape, 4), facts)
    found = run("offsets", {"maps": maps, "kept": np.array(kept), "facts": facts})["offsets"]
    assert np.abs(found - expected).max() < 1e-4


def test_pixels_have_the_same_colors() -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 40, 50)).astype(np.float32)
    assert np.array_equal(run("colors", {"pixels": pixels})["names"], color_names(pixels))


@pytest.mark.parametrize(
    ("groups", "more"),
    [
        (("asked",), {}),
        (("asked", "surfaces", "similar", "others"), {}),
        (("asked", "similar", "others", "unnamed wholes"), {"is_open": True}),
        (("asked", "parts", "surfaces", "others"), {"is_open": True}),
        (("asked", "stand-ins"), {"least": 0.3}),
        (("asked",), {"threshold": 0.5}),
    ],
)
@pytest.mark.parametrize("is_fitted", [False, True])
def test_pixels_become_the_same(groups: tuple[GroupName, ...], more: dict[str, Any], is_fitted: bool) -> None:
    random = np.random.default_rng(0)
    strengths: dict[GroupName, Strongest] = {
        name: Strongest(random.normal(size=1000, scale=3).astype(np.float32), random.integers(0, 5, 1000))
        for name in groups
    }
    facts = {name: random.integers(0, 2, 5) > 0 for name in ("surface", "part", "whole")}
    offsets = random.normal(size=5).astype(np.float32)
    verdict = decide(strengths, CallFacts(**facts, **more), DECISION, offsets if is_fitted else None)
    expected = verdict.word if verdict.is_none is None else np.where(verdict.is_none, -1, verdict.word)
    nothing = Strongest(np.full(1000, -np.inf, np.float32), np.zeros(1000, np.int64))
    given: dict[GroupName, Strongest] = {name: strengths.get(name, nothing) for name in SEARCHED}
    found = run(
        "pixels",
        {f"{input_name(name)}_score": one.score for name, one in given.items()}
        | {f"{input_name(name)}_word": given[name].word.astype(np.int32) for name in WITH_WORDS}
        | facts
        | {"offsets": offsets, "is_fitted": np.array(is_fitted), "is_open": np.array(more.get("is_open", False))}
        | {name: np.array(more.get(name, 0), np.float32) for name in ("threshold", "least")},
    )
    assert np.array_equal(found["label"], expected)
    assert np.abs(found["confidence"] - verdict.confidence).max() < 1e-6
