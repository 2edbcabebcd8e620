"""Writes what the web page and its tests take from the Python code: the colors of words, and expected results.

Usage: PYTHONPATH=src python annotate/tools/make_web_data.py. Writes src/imaging/palette.json and tests/expected.json in
annotate/web; annotate/tests/test_page_files.py checks that both are what this gives.
"""

import base64
import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from segvoc.encoders.lexicon import Lexicon, trained_lexicon
from segvoc.imaging.overlay import OverlayStyle, class_regions, draw_overlay
from segvoc.imaging.palette import class_colors
from segvoc.inference.confidence import coarse_maps, fact_rows
from segvoc.inference.decision import Rules
from segvoc.inference.exported.manifest import ExportManifest
from segvoc.inference.pixel_labels import search_classes
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.protocols import Protocol
from segvoc.inference.strongest_class import StrongestClass
from segvoc.inference.taught.calibration import softmax_logits
from segvoc.inference.taught.features import FeaturePyramid, pyramid_inputs, pyramid_shapes
from segvoc.inference.taught.taught_words import (
    TaughtQuery,
    TaughtWord,
    TaughtWords,
    TeachingRecord,
    mean_features,
    probe_image,
)
from segvoc.inference.windows import ViewLogits
from segvoc.inference.word_colors import color_names, with_colors
from segvoc.models.shipped import TINY_MANIFEST
from segvoc.runtime.arrays import bilinear
from segvoc.storage.files import SHIPPED
from segvoc.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parents[2]

COLORS = 1024
"""Words that the page takes."""

WEB = ROOT / "annotate/web"
PROMPTS = json.loads((WEB / "tests/prompts.json").read_text(encoding="utf-8"))
"""Prompts with accents, hyphens, capitals, other scripts and odd characters."""

SIZES = (((37, 23), (16, 32)), ((25, 40), (16, 16)), ((9, 7), (16, 16)), ((16, 25), (16, 32)), ((40, 10), (16, 10)))
"""Sizes of images, and what they are resized to [px]."""

STRONGEST = ((5, 6, 8, 24, 32), (9, 18, 20, 36, 40), (3, 8, 8, 2, 4))
"""Classes, cells and pixels of label searches. All quotients are powers of two: no machine rounds anything."""

IMAGE_SIZES = ((300, 451), (451, 300), (2000, 100), (100, 2000), (1, 1), (640, 640), (333, 1000), (1080, 1920))
"""Sizes of images whose input sizes are compared [px]."""


def palette() -> dict[str, str]:
    """The colors of the page's words, six hexadecimal digits each."""
    return {"colors": class_colors(COLORS).tobytes().hex()}


PHRASES = (
    "skier", "Woman in a red coat", "cherry tomatoes", "slice of pizza", "cup of a tea", "piece of the dog's fur",
    "hot dog", "ladies", "loaves", "wolves", "rocket", "red sports car", "cable car window", "dog's head",
    "man\u2019s leg", "leg of a table", "leg of the woman", "table leg", "the cat's owner's hat", "wheels", "shirt",
    "shirt of a man", "skin", "street sign", "wall-other-merged", "floor-wood", "sky-other-merged", "dirt_other",
    "food-other", "other", "stuff", "grasses", "boy with a kite near water", "box made of wood",
    "table made of stone", "toy car on the floor", "of", "'s hat", "hats of", "\u0130", "old grey car", "white  van",
    "black and white cat", "white bread", "orange juice", "man in a red coat", "red man", "silver zork", "Silver CARS",
)  # fmt: skip
"""Phrases with what else than their last noun may say what they mean."""

CALLS = (
    ("boat", "lake", "dog", "cat", "car", "cup", "table", "chair", "lamp"), ("dog", "ball"), ("skier", "snow"),
    ("hat", "shirt"), ("hat", "man", "sky"), ("couple", "wall, partition", "road"), ("dog",),
    ("red car", "sky", "black van", "white shirt", "grey shirt", "silver shirt", "pink shirt", "blue zork"),
)  # fmt: skip
"""Words of calls that different rules are about."""


def expected() -> dict[str, Any]:
    """Inputs and results for the page's tests."""
    random = np.random.default_rng(0)
    tokenizer = Tokenizer.from_file(str(ROOT / "src/segvoc/weights/minilm_l6_tokenizer.json"))
    return {
        "resized": [_resized(random, source, target) for source, target in SIZES],
        "input_sizes": [_input_size(size) for size in IMAGE_SIZES],
        "strongest": [_strongest(random, *case) for case in STRONGEST],
        "overlays": [_overlay(random, opacity) for opacity in (0.0, 0.5, 0.7, 1.0)],
        "chequered": _chequered(),
        "taught": _taught(random),
        "mixed": _mixed(random),
        "tuned": _tuned(random),
        "probe": _text(probe_image()[::16, ::16]),
        "lexicon": _meanings(trained_lexicon()),
        "decided": [_decided(random, words) for words in CALLS],
        "prompts": [{"text": text, "ids": tokenizer.encode(text).ids} for text in PROMPTS],
    }


def _meanings(lexicon: Lexicon) -> list[list[Any]]:
    """What words mean: those that the lexicon has, also in plural and after other words, and `PHRASES`."""
    compounds = [form for name in lexicon.compounds for form in (name, f"{name}s", f"old {name}")]
    surfaces = [form for name in lexicon.surfaces for form in (name, f"{name}-other-merged")]
    parts = [name for whole in lexicon.wholes for name in (*whole.parts, *whole.worn, *whole.other_names)]
    of_parts = [form for name in parts for form in (f"{name}s", f"car's {name}", f"{name} of a woman")]
    portions = [f"{name} of cake" for name in lexicon.portions]
    words = (*PHRASES, *compounds, *surfaces, *of_parts, *portions, *list(lexicon.kinds)[::10])
    return [[word, *asdict(lexicon.of(word)).values()] for word in dict.fromkeys(words)]


@dataclass(frozen=True)
class _Embeddings:
    """Stand-ins for the embeddings of words."""

    lexicon: Lexicon
    vectors: dict[str, list[float]]
    templates: tuple[str, ...] = ("{}",)

    def __call__(self, vocabulary: Vocabulary, none: str | None = None) -> np.ndarray:
        return np.array([[self.vectors.get(word, [0, 0, 0, 1])] for word in vocabulary.words], np.float32)


def _decided(random: np.random.Generator, words: tuple[str, ...]) -> dict[str, Any]:
    """A call of `tiny` with drawn maps, of which class selection dropped one, and what is decided."""
    about = ExportManifest.read(SHIPPED / TINY_MANIFEST)
    named = dict.fromkeys((*words, *about.decision.unasked))
    vectors = {word: random.integers(-3, 4, 4).tolist() for word in named} if len(words) == 1 else {}
    rules = Rules.of(about.decision, None, None, window="auto", is_single_word=len(words) == 1)
    query, _ = PreparedVocabulary(_Embeddings(about.lexicon, vectors), words, None, None).query(rules)
    dropped = random.integers(len(query.queried))
    kept = np.delete(np.arange(len(query.queried)), dropped if dropped else [])
    maps = random.integers(-64, 64, (1, len(kept), 4, 60)).astype(np.int8)
    pixels = random.integers(0, 256, (3, 3, 15)).repeat(4, axis=1).repeat(8, axis=2).astype(np.uint8)
    names = color_names(pixels.astype(np.float32))
    colored = with_colors(maps[0] / np.float32(16), kept, query.colored, names, len(words))
    output, protocol = ViewLogits(colored[None], kept[None], len(query.queried)), Protocol(size=448)
    coarse, fitted = coarse_maps(output, protocol, (4, 60), len(words)), rules.decision.confidence
    offsets = fitted.offsets(coarse, fact_rows(query.facts, coarse)) if fitted and len(words) > 1 else None
    found = search_classes(output, (4, 60), query, protocol, offsets=offsets)()
    return {
        "words": words,
        "unasked": query.unasked,
        "vectors": vectors,
        "kept": kept.tolist(),
        "maps": _text(maps),
        "pixels": _text(pixels),
        "labels": _text(found.labels),
        # processors round the sums of cells differently
        "confidence": np.round(found.confidence[:, ::20].astype(float), 3).tolist(),
    }


def _resized(random: np.random.Generator, source: tuple[int, int], target: tuple[int, int]) -> dict[str, Any]:
    image = random.integers(0, 256, (*source, 3), np.uint8)
    # one axis at a time: since version 13, Pillow takes the columns first where it reckons that to be faster
    resized = Image.fromarray(image).resize((target[1], source[0]), Image.Resampling.BILINEAR)
    resized = resized.resize((target[1], target[0]), Image.Resampling.BILINEAR)
    return {"source": source, "target": target, "image": _text(image), "resized": _text(np.asarray(resized))}


def _input_size(size: tuple[int, int]) -> dict[str, Any]:
    protocol = Protocol(size=448, multiple=32, squash=2.0, max_aspect=4.0)
    return {"image": size, "input": protocol.input_size(*size)}


def _strongest(random: np.random.Generator, k: int, h: int, w: int, height: int, width: int) -> dict[str, Any]:
    # few different values: there are ties
    quarters = random.integers(-8, 8, (k, h, w)).astype(np.int8)
    maps = quarters / np.float32(4)
    best = StrongestClass(height, width, maps)
    best.update(maps, np.arange(k))
    return {
        "maps": [k, h, w],
        "image": [height, width],
        "quarters": _text(quarters),
        "index": _text(best.index.astype(np.uint16)),
        "value": _text(best.value),
    }


def _overlay(random: np.random.Generator, opacity: float) -> dict[str, Any]:
    image = random.integers(0, 256, (12, 17, 3), np.uint8)
    labels = np.repeat(np.repeat(random.integers(0, 4, (3, 5)), 4, axis=0), 4, axis=1)[:12, :17].astype(np.uint16)
    labels = np.ascontiguousarray(labels)
    regions = class_regions(labels, "abcd", class_colors(4))
    drawn = np.asarray(draw_overlay(image, regions, OverlayStyle(alpha=opacity, names=False, legend=False)))
    return {
        "opacity": opacity,
        "size": labels.shape,
        "image": _text(image),
        "labels": _text(labels),
        "overlay": _text(drawn),
    }


def _chequered() -> dict[str, Any]:
    """An overlay that is large enough for wide borders."""
    words, (height, width) = 90, (320, 480)
    y, x = np.mgrid[:height, :width]
    labels = ((7 * (x // 37) + 3 * (y // 23)) % words).astype(np.uint16)
    regions = class_regions(labels, [f"word {number}" for number in range(words)], class_colors(words))
    black = np.zeros((height, width, 3), np.uint8)
    drawn = np.asarray(draw_overlay(black, regions, OverlayStyle(alpha=1.0, names=False, legend=False)))
    return {"words": words, "size": [height, width], "sha256": hashlib.sha256(drawn.tobytes()).hexdigest()}


def _quarters(random: np.random.Generator, *shape: int) -> np.ndarray:
    return (random.integers(-8, 8, shape) / 4).astype(np.float32)


def _words(random: np.random.Generator, names: tuple[str, ...], features: dict[str, np.ndarray]) -> TaughtWords:
    """Taught words, of which "brick" keeps its text. All values are multiples of few powers of two."""
    channels = {name: features[name].shape[1] for name in sorted(features)}
    words = [
        TaughtWord(name=name, images=1, pixels=9, before=50.0, after=None, keeps_text=name == "brick") for name in names
    ]
    known, size = sum(not word.keeps_text for word in words), sum(channels.values())
    return TaughtWords(
        record=TeachingRecord(
            model="theirs",
            words=tuple(words),
            channels=channels,
            images=1,
            penalty=(1.0, 1.0),
            miou_before=None,
            miou=None,
            accuracy_before=0.0,
            accuracy=0.0,
            segvoc="1",
        ),
        weights=_quarters(random, known, size).astype(np.float16),
        bias=_quarters(random, known),
        mean=_quarters(random, size),
        scale=np.float32(2) ** random.integers(-1, 2, size).astype(np.float32),
        probe=mean_features({name: features[name] for name in channels}),
    )


def _file(taught: TaughtWords) -> str:
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        taught.save(file.name)
        return base64.b64encode(Path(file.name).read_bytes()).decode()


def _maps(features: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: {"shape": one.shape[1:], "values": _text(one)} for name, one in features.items()}


def _taught(random: np.random.Generator) -> dict[str, Any]:
    """Taught words and what they add; no machine rounds anything."""
    shapes = {"tap_0": (1, 2, 4, 8), "class_logits": (1, 3, 2, 4), "appearance": (1, 2, 2, 4)}
    features = {name: _quarters(random, *shape) for name, shape in shapes.items()}
    taught = _words(random, ("grass", "brick", "sky"), features)
    cases: list[dict[str, Any]] = []
    for asked, kept in ((("cup", "grass", "sky"), None), (("sky", "cup", "grass"), (0, 1)), (("sky", "brick"), None)):
        logits = _quarters(random, 1, len(kept or asked), 8, 16)
        query = TaughtQuery.of([taught], asked, len(asked))
        assert query is not None
        added = query(logits, None if kept is None else np.array([kept]), features)
        cases.append({"words": asked, "kept": kept, "logits": _text(logits), "added": _text(added)})
    logits = 4 * _quarters(random, 1, 3, 2, 4)
    softmax = {"temperature": 1.5, "logits": _text(logits), "result": _text(softmax_logits(logits, 1.5).round(4))}
    taught = replace(taught, record=replace(taught.record, temperature=1.5))
    return {"file": _file(taught), "maps": _maps(features), "cases": cases, "softmax": softmax}


def _mixed(random: np.random.Generator) -> dict[str, Any]:
    """Embeddings with regions. Squares are exact, so that all machines round roots and quotients alike."""

    def signs(*shape: int) -> np.ndarray:
        return random.choice(np.array([-0.5, 0.5], np.float32), shape)

    taught = _words(random, ("grass", "brick", "sky"), {"appearance": _quarters(random, 1, 2, 2, 4)})
    toward = signs(2, 4).astype(np.float16)
    toward[1] = 0, 0, -1, 0
    taught = replace(taught, record=replace(taught.record, share=0.25), toward=toward)
    asked, text = ("sky", "cup", "grass"), 4 * signs(3, 2, 4)
    query = TaughtQuery.of([taught], asked, len(asked))
    assert query is not None
    mixed = query.embeddings(text)
    return {"file": _file(taught), "words": asked, "shape": text.shape, "text": _text(text), "mixed": _text(mixed)}


def _tuned(random: np.random.Generator) -> dict[str, Any]:
    """Fine-tuned words: what their pyramid gives and they add, in float64, whose last digits no machine shows."""
    shapes = {"appearance": (3, 6, 5), "class_logits": (2, 6, 5), "tap_0": (2, 12, 10), "tap_1": (1, 24, 15)}
    features = {name: _quarters(random, 1, *shape) for name, shape in shapes.items()}
    plain, channels, words = _words(random, ("lamp", "door"), features), 16, ("cup", "door", "lamp")
    weights = {name: _quarters(random, *shape) / 4 for name, shape in pyramid_shapes(channels, 3, 3).items()}
    taught = replace(
        plain,
        record=replace(plain.record, pyramid_channels=channels, penalty=None, accuracy=None, accuracy_before=None),
        weights=_quarters(random, 2, channels).astype(np.float16),
        pyramid=FeaturePyramid(**{name: one.astype(np.float16) for name, one in weights.items()}),
    )
    exact = FeaturePyramid(**{name: one.astype(np.float64) for name, one in weights.items()})
    inputs = pyramid_inputs(features, taught.mean, taught.scale)
    output = exact([one.astype(np.float64) for one in inputs])[0]
    scores = np.einsum("kc,cij->kij", taught.weights.astype(np.float64), output) + taught.bias[:, None, None]
    return {
        "file": _file(taught),
        "maps": _maps(features),
        "output": {"shape": output.shape, "values": _text(output.astype(np.float32))},
        "words": words,
        "scores": {"shape": (2, 24, 20), "values": _text(bilinear(scores[None], (24, 20)).astype(np.float32))},
    }


def _text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _line(name: str, cases: Any) -> str:
    """A list of cases as JSON, one in a line."""
    if not isinstance(cases, list):
        return f'"{name}": {json.dumps(cases)}'
    return f'"{name}": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]"


def files() -> dict[Path, str]:
    """The contents of the files."""
    return {
        WEB / "src/imaging/palette.json": json.dumps(palette(), indent=1) + "\n",
        WEB / "tests/expected.json": "{\n" + ",\n".join(_line(*item) for item in expected().items()) + "\n}\n",
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {len(text)} bytes")
