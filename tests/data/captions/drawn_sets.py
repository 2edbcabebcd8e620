"""Captioned images that the tests draw, and encoders that are fast."""

import json
from pathlib import Path

import torch
from PIL import Image

from segvoc.data.captions.caption_index import CaptionDataset, build_index
from segvoc.data.captions.phrases import CleaningRules
from segvoc.data.captions.sources import CaptionSource, find_captions
from segvoc.training.caption_task import FrozenEncoders

SIDE = 4


def write_captions(path: Path, *captions: tuple[str, object]) -> Path:
    """COCO's captions JSON of pairs of an image's file name and its caption."""
    names = list(dict.fromkeys(name for name, _ in captions))
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    annotations = [{"image_id": names.index(name), "caption": caption} for name, caption in captions]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def draw_set(folder: Path, count: int) -> CaptionSource:
    """Image n is 20 n (modulo 256) red on its left half, black on its right, and is said to show n dogs and a cat."""
    folder.mkdir(parents=True, exist_ok=True)
    captions = [(f"{number}.png", f"A dog{number} and a cat.") for number in range(count)]
    for number in range(count):
        image = Image.new("RGB", (8, 6))
        image.paste((20 * number % 256, 0, 0), (0, 0, 4, 6))
        image.save(folder / f"{number}.png")
    return find_captions(write_captions(folder / "captions.json", *captions))


def open_dataset(source: CaptionSource, folder: Path) -> CaptionDataset:
    return CaptionDataset(build_index(source, folder, CleaningRules()))


def dataset_of(folder: Path, count: int) -> CaptionDataset:
    """The set `folder/set`, its index in `folder/index`."""
    return open_dataset(draw_set(folder / "set", count), folder / "index")


class Encoders(FrozenEncoders):
    """Two taps: the pixels of the red channel and, of another length and width, their mean; phrases are noted."""

    def __init__(self, digest: str = "one") -> None:
        self.digest, self.input_size, self.device, self.encoded = digest, SIDE, torch.device("cpu"), list[str]()

    def images(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        red = pixels[:, 0].flatten(1)
        return red[:, :, None].repeat(1, 1, 3), red.mean(1)[:, None, None].repeat(1, 2, 5)

    def texts(self, phrases) -> torch.Tensor:
        self.encoded += phrases
        return torch.tensor([[float(len(phrase)), float(ord(phrase[-1]))] for phrase in phrases])
