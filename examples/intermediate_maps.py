"""Look inside a network: cost volume, the two streams of a block, and logits, as heat maps.

Usage: python examples/intermediate_maps.py [PHOTO [FOLDER]]
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import segvoc
from segvoc.layers.aggregation import cost_volume

photo = sys.argv[1] if len(sys.argv) > 1 else "samples/chelsea.jpg"
folder = Path(sys.argv[2] if len(sys.argv) > 2 else "maps")
folder.mkdir(parents=True, exist_ok=True)
words = ["cat", "blanket", "wall"]


def save(name: str, maps: torch.Tensor) -> None:
    """Write one gray image per word, dark to bright from the smallest to the largest value of all words."""
    low, high = maps.min(), maps.max()
    for word, values in zip(words, (maps - low) / (high - low), strict=True):
        gray = (255 * values).round().byte().numpy()
        Image.fromarray(gray).resize((448, 448), Image.Resampling.NEAREST).save(folder / f"{name}.{word}.png")


model = segvoc.load("tiny", device="cpu", dtype="float32")
network = model.network
text = model.encode_words(segvoc.Vocabulary(words))  # (T, P, C): words, prompts, channels
assert isinstance(text, torch.Tensor)  # networks of parts have several

image = Image.open(photo).convert("RGB").resize((448, 448))
pixels = torch.from_numpy(np.array(image)).movedim(-1, 0)[None].float()  # (1, 3, H, W) in [0, 255]

streams = []
with torch.inference_mode():
    features = network.image_encoder(pixels)
    costs = [cost_volume(features_map, text[None]) for features_map in features.maps]  # (1, P, T, h, w) each
    logits = network(pixels, text, observe=lambda block, *both: streams.append(both))

for number, cost in enumerate(costs):
    save(f"cost-{number}", cost[0].mean(dim=0))
for number, (spatial, semantic) in enumerate(streams):  # (1, T, h, w, C): one length per cell
    save(f"block-{number}-spatial", spatial[0].norm(dim=-1))
    save(f"block-{number}-class", semantic[0].norm(dim=-1))
save("logits", logits[0])
save("probabilities", logits[0].sigmoid())
print(f"look at {folder}")
