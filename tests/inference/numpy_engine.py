"""An engine of a few lines of NumPy, for tests of what all engines share; nothing here needs PyTorch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from segvoc.encoders.vit import clip_seg_b16
from segvoc.encoders.word_encoder import PromptedWordEncoder
from segvoc.inference.protocols import LoaderResize, Protocol, Protocols, Sliding
from segvoc.inference.segmenter import Segmenter
from segvoc.networks.clip_network import clip_protocols, frozen_clip_protocols
from segvoc.networks.syn_seg import SynSegConfig

CHANNELS = 12

_CLIP = clip_protocols(64, 16)
_SMALL = {"loader": LoaderResize(shortest=160, longest=640), "sliding": Sliding(canvas=160, window=96, stride=64)}
PROTOCOLS: Protocols = {
    **_CLIP,
    "official": replace(_CLIP["official"], **_SMALL),
    "tcl": frozen_clip_protocols(64)["auto"],
    "official-single": SynSegConfig(vit=clip_seg_b16()).protocols()["official"],
}
"""A protocol of each kind: resized views, sliding windows, strides, tiles."""


class Bytes:
    def tokenize(self, prompts: Sequence[str], *, multiple: int = 1) -> np.ndarray:
        longest = max(len(prompt.encode()) for prompt in prompts)
        length = -(-longest // multiple) * multiple
        return np.array([list(prompt.encode().ljust(length, b"\0")) for prompt in prompts], np.int64)

    def unknown_words(self, words: Sequence[str]) -> list[str]:
        return []


class DrawnWords(PromptedWordEncoder):
    """Draws an embedding for each prompt by its tokens; `calls` notes how many prompts came at a time."""

    tokenizer = Bytes()

    def __init__(self, templates: Sequence[str] = ("{}", "a {}")) -> None:
        super().__init__(templates)
        self.calls: list[tuple[int, ...]] = []

    def embed(self, tokens: np.ndarray) -> np.ndarray:
        self.calls.append(tokens.shape)
        rows = [np.random.default_rng(row[row > 0]).standard_normal(CHANNELS) for row in tokens]
        return np.array(rows, np.float32)

    def digest(self) -> str:
        return "drawn"


class NumpySegmenter(Segmenter):
    """Logits of words are linear in the mean colors of cells of 16 x 16 pixels."""

    dtype = "float32"

    def __init__(self, **options: Any) -> None:
        super().__init__(name="numpy", protocols=PROTOCOLS, encode_words=DrawnWords(), **options)
        self.colors = np.random.default_rng(0).standard_normal((3, CHANNELS)).astype(np.float32)

    def encode_views(self, pixels: np.ndarray, *, complete: bool = True) -> dict[str, np.ndarray]:
        n, _, height, width = pixels.shape
        return {"map_0": pixels.reshape(n, 3, height // 16, 16, width // 16, 16).mean((3, 5)) / 255 - 0.5}

    def compare(self, features: Any, text: Any, protocol: Protocol) -> tuple[Any, Any]:
        logits = np.einsum("nchw,cd,td->nthw", features["map_0"], self.colors, text.mean(1)).astype(np.float32) * 5
        if protocol.selection is None or len(text) < 4:
            return logits, None
        kept = np.sort(np.argsort(-logits.max((2, 3)), axis=1, kind="stable")[:, : len(text) // 2], axis=1)
        return np.take_along_axis(logits, kept[:, :, None, None], axis=1), kept
