"""Captioned pictures that the tests draw, and towers that are quick."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from segvoc.data.captions.batches import FrozenEncoders
from segvoc.data.captions.images import CaptionedImages
from segvoc.data.captions.phrases import PhraseSet, phrase_extractor
from segvoc.data.captions.sources import captioned_images

SIDE = 4


def draw_set(folder: Path, count: int) -> CaptionedImages:
    """Picture n is 20 n red on its left half and black on its right, and is said to show n dogs and a cat."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = Image.new("RGB", (8, 6))
        image.paste((20 * number, 0, 0), (0, 0, 4, 6))
        image.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"A dog{number} and a cat.\n")
    return captioned_images(folder)


def phrases_of(folder: Path, count: int) -> PhraseSet:
    return PhraseSet.collect(draw_set(folder, count), phrase_extractor())


@dataclass
class Towers:
    """Two taps: the pixels of the red channel and, of another length and width, their mean; calls are counted."""

    digest: str = "one"
    fails_at: int | None = None
    pictures: int = 0
    texts: list[str] = field(default_factory=list)

    def images(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if self.fails_at is not None and self.pictures + len(pixels) > self.fails_at:
            raise KeyboardInterrupt
        self.pictures += len(pixels)
        red = pixels[:, 0].flatten(1)
        return red[:, :, None].repeat(1, 1, 3), red.mean(1)[:, None, None].repeat(1, 2, 5)

    def embeddings(self, phrases) -> torch.Tensor:
        self.texts += phrases
        return torch.tensor([[float(len(phrase)), float(ord(phrase[-1]))] for phrase in phrases])

    def encoders(self) -> FrozenEncoders:
        return FrozenEncoders(
            input_size=SIDE,
            images=self.images,
            texts=self.embeddings,
            image_digest=self.digest,
            text_digest=self.digest,
        )
