"""Train the edge refiner on `tiny`'s maps of labeled photographs, and score it on held-out photographs or datasets.

    python -m tools.edges.train --photos ../shared/data/photos

The network's only input is the image, so it learns which cells belong together, not words or the maps' errors. Maps
are augmented with noise and shifts, since `tiny`'s maps are worse on photographs outside its training set.
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from tools.edges.maps import COUNTS, HELD_OUT, NONE, TAUGHT, UNLABELED, near_edges, places, seen_photographs
from tools.edges.network import FEATURES, EdgeNetwork
from tools.tiny.optimization import Optimization
from tools.tiny.photos import Folders, command
from tools.tiny.scoring import counts_of_labels, scores

WINDOW = 56
"""Side of the training crops [cells of 4 px]."""

BATCH = 4
EDGE_WEIGHT, NONE_WEIGHT = 3.0, 0.5
"""Extra loss weight of pixels near an edge, and the weight of pixels without a word."""

NOISE, SHIFT = 0.7, 1.5
"""Maximum noise, relative to the standard deviation over the words in a cell, and maximum shift [cells]."""

Photo = Mapping[str, Tensor]


def window(photo: Photo, chance: random.Random) -> dict[str, Tensor]:
    """A random crop, mirrored half of the time, with augmented maps and colors."""
    height, width = photo["maps"].shape[1:]
    top, left = (chance.randrange(0, side - WINDOW + 1, 4) for side in (height, width))
    labels = F.interpolate(photo["labels"][None, None].float(), size=(4 * height, 4 * width), mode="nearest-exact")

    def cut(x: Tensor, cell: float) -> Tensor:
        rows, columns = (slice(int(cell * start), int(cell * (start + WINDOW))) for start in (top, left))
        return x[..., rows, columns].float()

    maps, labels = _worse(cut(photo["maps"], 1), chance), cut(labels[0, 0], 4)
    pixels, target = cut(photo["pixels"], 4), places(photo, labels)
    if chance.random() < 0.5:
        pixels = ((pixels - 128) * chance.uniform(0.7, 1.3) + 128 + chance.uniform(-25, 25)).clamp(0, 255)
    weight = (1 + EDGE_WEIGHT * near_edges(labels, 4)) * (target != UNLABELED)
    weight *= torch.where(target == NONE, NONE_WEIGHT, 1.0)
    found = {"maps": maps, "pixels": pixels, "target": target[1::2, 1::2], "weight": weight[1::2, 1::2]}
    found |= {name: cut(photo[name], 1 / 2**number) for number, name in enumerate(FEATURES)}
    return {name: x.flip(-1) for name, x in found.items()} if chance.random() < 0.5 else found


def _worse(maps: Tensor, chance: random.Random) -> Tensor:
    if chance.random() < 0.7:
        coarse = torch.randn(1, len(maps), WINDOW // 8 + 1, WINDOW // 8 + 1)
        noise = F.interpolate(coarse, size=maps.shape[1:], mode="bicubic")[0]
        maps = maps + noise * NOISE * chance.random() * maps.std(dim=0).mean()
    if chance.random() < 0.5:
        right, down = (2 * chance.uniform(-SHIFT, SHIFT) / WINDOW for _ in range(2))
        grid = F.affine_grid(torch.tensor([[[1, 0, right], [0, 1, down]]]), [1, *maps.shape], align_corners=False)
        maps = F.grid_sample(maps[None], grid, padding_mode="border", align_corners=False)[0]
    return maps


def loss(maps: Tensor, target: Tensor, weight: Tensor, is_none: Tensor) -> Tensor:
    """Cross-entropy of maps (K h w), summed over pixels (h w); any stand-in (K) is right for pixels without a word."""
    right = maps.gather(0, target.clamp(min=0)[None])[0]
    if is_none.any():
        right = torch.where(target == NONE, maps[is_none].logsumexp(dim=0), right)
    return ((maps.logsumexp(dim=0) - right).clamp(max=8) * weight).sum()


def train(data: Mapping[str, Sequence[Photo]], steps: int, rate: float = 2e-3, seed: int = 0) -> EdgeNetwork:
    """Train a network; datasets are sampled by the square root of their sizes."""
    torch.manual_seed(seed)
    chance, network = random.Random(seed), EdgeNetwork()
    some = [photo for photos in data.values() for photo in photos[:3]]
    for number, name in enumerate(FEATURES):
        network.scale[number] = torch.stack([photo[name].float().std() for photo in some]).mean()
    sharpness = torch.nn.Parameter(torch.zeros(()))
    groups = [{"params": [*network.parameters(), sharpness], "lr": rate}]

    def falling(step: int) -> float:
        return min(1, (step + 1) / 30) * (1 - step / steps) ** 0.9

    training = Optimization("edges", groups, steps, torch.default_generator, rate=falling, decay=1e-3)
    sets, shares = list(data.values()), [len(photos) ** 0.5 for photos in data.values()]
    for step in training.steps():
        total, weight = torch.zeros(()), torch.zeros(())
        for _ in range(BATCH):
            photo = chance.choice(chance.choices(sets, shares)[0])
            one = window(photo, chance)
            target, weights = one.pop("target"), one.pop("weight")
            fine = network(**{name: x[None] for name, x in one.items()})[0] * sharpness.exp()
            total = total + loss(fine, target, weights, photo["word"] >= photo["own"])
            weight = weight + weights.sum()
        training.step(step, total / weight.clamp(min=1), clip_norm=1.0)
    return network.eval()


@torch.no_grad()
def report(network: EdgeNetwork, data_set: str, photos: Sequence[Photo]) -> None:
    """Print a dataset's scores without and with the refiner, over all pixels and within 5 px of an edge."""
    rows: dict[str, list[Tensor]] = {"plain": [], "edges": []}
    near: dict[str, list[Tensor]] = {"plain": [], "edges": []}
    for photo in tqdm(photos, desc=data_set):
        own, labels = photo["word"] < photo["own"], photo["labels"].long()
        maps = photo["maps"].float()[None]
        seen = {name: photo[name].float()[None] for name in ("pixels", *FEATURES)}
        truth, edge = labels.clamp(min=UNLABELED), near_edges(labels, 5)
        for name, found in (("plain", maps), ("edges", network(maps, **seen))):
            full = F.interpolate(found[:, own], size=tuple(labels.shape), mode="bilinear")[0]
            guess = photo["word"][own][full.argmax(dim=0)]
            rows[name].append(counts_of_labels(guess, truth, int(photo["own"])))
            near[name].append(counts_of_labels(guess, torch.where(edge, truth, UNLABELED), int(photo["own"])))
    for name, of_set in rows.items():
        print(f"{data_set:14} {name:6} {scores(torch.stack(of_set))}   near edges {scores(torch.stack(near[name]))}")


def main() -> None:
    """Parse the command line, train, save and score."""
    parser = command(__doc__, Path("build/edges"))
    parser.add_argument("--held-out", nargs="+", default=HELD_OUT, help="data sets that are only scored")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/edges/network.pt"))
    chosen = parser.parse_args()
    data = {name: seen_photographs(Folders.of(chosen), name, chosen.cache) for name in (*COUNTS, *TAUGHT)}
    held_out = {name for name in data if name.partition(":")[0] in chosen.held_out}
    learned = {name: [one for one in data[name] if not one["scored"]] for name in data if name not in held_out}
    network = train(learned, chosen.steps, seed=chosen.seed)
    torch.save(network.state_dict(), chosen.out)
    for name, photos in data.items():
        report(network, name, [one for one in photos if name in held_out or one["scored"]])


if __name__ == "__main__":
    main()
