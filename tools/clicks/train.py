"""Train the network of clicks on views of photographs; those that the cache lacks are computed first.

    python -m tools.clicks.train --cache build/clicks --out build/clicks/network.pt --minutes 40

Each step is one simulated click for each view of a batch, on the middle of the largest error so far, and the network
learns after every click.
"""

import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.runtime.hardware import bfloat16_instructions
from tools.clicks.clicker import connected, largest_error, middle
from tools.clicks.network import ClickNetwork
from tools.clicks.views import FEATURES, UNLABELED, all_views, fill, open_cache
from tools.tiny.optimization import Optimization
from tools.tiny.photos import Folders, Photo, command

BATCH = 8
MOST_CLICKS = 8
"""Simulated clicks on a region; the first batches have fewer."""

LEAST_PIXELS = 120
"""Pixels of a region at stride 2 at least."""

WHOLES = {"clothing": 0.7}
"""Share of the regions that are the object rather than a part of it, in data sets whose words are parts of one thing:
a first click on trousers asks for the person."""

RATE, DECAY = 3e-3, 1e-4
WARM_UP = 0.03
"""Share of the time in which the learning rate rises."""

AVERAGE = 0.998
"""Weights are averaged over about 1 / (1 - this) steps."""

TOWARD = 0.65
"""With `--start`, weights are interpolated this far from the start to the trained ones, which forgets less (WiSE-FT,
Wortsman et al., CVPR 2022, arXiv:2109.01903): the trained ones alone took the car for a click on its part."""


def _chosen(labels: np.ndarray, photo: Photo, random: np.random.Generator) -> np.ndarray:
    """Mask of a connected region of a random word; empty if the view has none."""
    named = [value for value, word in enumerate(photo.words) if word is not None]
    if random.random() < WHOLES.get(photo.data_set, 0.0):
        labels = np.where(np.isin(labels, named), named[0], labels)
    named = [value for value in np.unique(labels) if value in named]
    random.shuffle(named)
    for value in named:
        numbers, _ = connected(labels == value)
        sizes = np.bincount(numbers.ravel())[1:]
        fitting = np.flatnonzero(sizes >= LEAST_PIXELS)
        if len(fitting):
            weights = np.sqrt(sizes[fitting])
            return numbers == random.choice(fitting, p=weights / weights.sum()) + 1
    return np.zeros(labels.shape, bool)


class Region:
    """What is to be found in a view, and the clicks so far."""

    def __init__(
        self, views: dict[str, np.ndarray], photos: Sequence[Photo], at: int, random: np.random.Generator
    ) -> None:
        """Choose a region of a view."""
        labels = views["labels"][at]
        self.wanted = _chosen(labels, photos[at], random)
        if not self.is_there:
            return
        self.known = labels != UNLABELED
        self.at, self.random = at, random
        self.is_flipped = random.random() < 0.5
        if self.is_flipped:
            self.wanted, self.known = self.wanted[:, ::-1], self.known[:, ::-1]
        self.clicks: list[tuple[float, float, float]] = []
        self.mask = np.zeros(self.wanted.shape, np.float32)
        kind = random.random()
        if kind < 0.2:
            self._draw_box()
            if random.random() < 0.5:
                return
        self._add(self.wanted, True, random.random() < 0.6)
        if kind > 0.8:
            for _ in range(random.integers(1, 4)):
                adds = random.random() < 0.5
                inside = self.wanted if adds else ~self.wanted & self.known
                if inside.any():
                    self._add(inside, adds, False)

    @property
    def is_there(self) -> bool:
        """Whether the view has a region to find."""
        return bool(self.wanted.any())

    def _draw_box(self) -> None:
        rows, columns = np.flatnonzero(self.wanted.any(1)), np.flatnonzero(self.wanted.any(0))
        height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        moves = np.round(self.random.normal(0, 0.05, 4) * np.array([height, height, width, width])).astype(int)
        top, bottom = max(0, rows[0] + moves[0]), max(rows[0] + 2, rows[-1] + 1 + moves[1])
        left, right = max(0, columns[0] + moves[2]), max(columns[0] + 2, columns[-1] + 1 + moves[3])
        self.mask[top:bottom, left:right] = 0.5

    def _add(self, inside: np.ndarray, adds: bool, in_the_middle: bool) -> None:
        if in_the_middle:
            y, x = middle(inside)
        else:
            places = np.flatnonzero(inside)
            y, x = divmod(int(self.random.choice(places)), inside.shape[1])
        place = ((pixel + self.random.random()) / inside.shape[0] for pixel in (x, y))
        self.clicks.append((*place, 1.0 if adds else -1.0))

    def correct(self, probability: np.ndarray) -> None:
        """Click on the largest error, and keep the mask."""
        self.mask = probability
        # every second pixel is enough
        maps = (one[::2, ::2] for one in (probability > 0.5, self.wanted, self.known))
        if (largest := largest_error(*maps)) is not None:
            self._add(*largest, self.random.random() < 0.8)


def batches(views: dict[str, np.ndarray], photos: Sequence[Photo], seed: int) -> Iterator[list[Region]]:
    """Endless batches of regions."""
    random = np.random.default_rng(seed)
    queue: list[int] = []
    while True:
        batch: list[Region] = []
        while len(batch) < BATCH:
            if not queue:
                queue = random.permutation(len(photos)).tolist()
            region = Region(views, photos, queue.pop(), random)
            if region.is_there:
                batch.append(region)
        yield batch


def stacked(arrays: Sequence[np.ndarray]) -> Tensor:
    """Arrays as a batch in float32."""
    return torch.from_numpy(np.stack(arrays).astype(np.float32))


def features_of(views: dict[str, np.ndarray], batch: list[Region], random: np.random.Generator) -> list[Tensor]:
    """What the network reads of the views, but clicks and masks."""
    found: list[Tensor] = []
    for name in (*FEATURES, "colors"):
        rows = [views[name][one.at][:, :, :: -1 if one.is_flipped else 1] for one in batch]
        found.append(stacked(rows).contiguous(memory_format=torch.channels_last))
    gains = stacked([*random.uniform(0.8, 1.2, (len(batch), 3, 1, 1))])
    offsets = stacked([*random.uniform(-20, 20, (len(batch), 1, 1, 1))])
    found[3] = (found[3] * gains + offsets).clamp(0, 255)
    return found


def loss_of(logits: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy, of which hard pixels have more, and 1 - IoU."""
    each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    right, pixels = torch.exp(-each.detach()), known[0].numel()
    weight = (1 - right).square() * known
    weight = weight / weight.sum((1, 2), keepdim=True).clamp(min=1e-3) * known.sum((1, 2), keepdim=True) / pixels
    focal = (each * (0.5 * weight + 0.5 * known / pixels)).sum((1, 2))
    probability = torch.sigmoid(logits) * known
    wanted = wanted * known
    both = (probability * wanted).sum((1, 2))
    union = (probability + wanted).sum((1, 2)) - both
    return (focal.clamp(max=10) + 1 - (both + 1) / (union + 1)).mean()


def predicted(network: ClickNetwork, inputs: list[Tensor], batch: list[Region]) -> Tensor:
    """Logits of the masks of a batch (B H W) for the clicks so far, filled up with zeros."""
    clicks = torch.zeros(len(batch), max(1, *(len(one.clicks) for one in batch)), 3)
    for row, one in zip(clicks, batch, strict=True):
        row[: len(one.clicks)] = torch.tensor(one.clicks).view(-1, 3)
    return network(*inputs, clicks, stacked([one.mask for one in batch])[:, None])[:, 0]


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, keep: float) -> None:
    """Move the mean of weights toward those of a step; `keep` is the share that stays."""
    for own, new in zip(average.parameters(), network.parameters(), strict=True):
        own.lerp_(new, 1 - keep)
    for own, new in zip(average.buffers(), network.buffers(), strict=True):
        own.copy_(new) if own.ndim == 0 else own.lerp_(new, 1 - keep)


def read_weights(file: Path) -> dict[str, Tensor]:
    """The weights in a file of this program, or in an exported program."""
    if file.suffix != ".onnx":
        return torch.load(file)
    stored = {one.name.removeprefix("network."): one for one in onnx.load(file).graph.initializer}
    names = ClickNetwork().state_dict().keys() & stored
    return {name: torch.from_numpy(numpy_helper.to_array(stored[name]).copy()) for name in names}


def save(average: nn.Module, before: Mapping[str, Tensor], out: Path) -> None:
    """Write the weights; with those `before`, the weights on the way from them (`TOWARD`)."""
    state = average.state_dict()
    mixed = {name: one.lerp(state[name], TOWARD) for name, one in before.items() if one.is_floating_point()}
    torch.save(state | mixed, out)


def train(
    cache: Path, out: Path, folders: Folders, minutes: float, start: Path | None, highest: float = RATE, seed: int = 0
) -> None:
    """Train until the time is over."""
    torch.manual_seed(seed)
    plan = all_views(folders)
    fill(cache, plan)
    photos = [view.photo for view in plan]
    views = open_cache(cache, len(plan), "r")
    network = ClickNetwork().to(memory_format=torch.channels_last)
    if start:
        # programs don't have the number of batches, which an average of a fixed share doesn't need
        network.load_state_dict(network.state_dict() | read_weights(start))
    average, before = copy.deepcopy(network), copy.deepcopy(network.state_dict()) if start else {}
    random, began = np.random.default_rng(seed), time.process_time()

    def passed() -> float:
        return min(1.0, (time.process_time() - began) / 60 / minutes)

    def rate(_: int) -> float:
        return min(passed() / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * passed()))

    groups = [{"params": list(network.parameters()), "lr": highest}]
    training = Optimization("", groups, 0, torch.default_generator, rate=rate, decay=DECAY)
    step, clicked, running, saved = 0, 0, np.zeros((MOST_CLICKS, 2)), 0.0
    for batch in batches(views, photos, seed):
        if (share := passed()) >= 1:
            break
        inputs = features_of(views, batch, random)
        wanted, known = stacked([one.wanted for one in batch]), stacked([one.known for one in batch])
        rounds = int(random.integers(1, MOST_CLICKS + 1))
        for number in range(rounds):
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_instructions() is not None):
                logits = predicted(network, inputs, batch).float()
            loss = loss_of(logits, wanted, known)
            training.step(step, loss, clip_norm=1.0)
            step += 1
            follow(average, network, min(AVERAGE, step / (step + 20)))
            probability = torch.sigmoid(logits.detach())
            inside = (probability > 0.5).float() * known
            both = (inside * wanted).sum((1, 2))
            iou = both / ((inside + wanted * known).sum((1, 2)) - both + 1)
            running[number] = 0.98 * running[number] + 0.02 * np.array([1.0, float(iou.mean())])
            for row, one in enumerate(batch):
                one.correct(probability[row].numpy())
            clicked += len(batch)
        if step // 50 != (step - rounds) // 50:
            ious = " ".join(f"{total / count:.3f}" for count, total in running if count)
            print(f"{share:.3f} {step} steps {clicked} clicks, IoU after each: {ious}", flush=True)
            if share - saved > 0.05:
                save(average, before, out)
                saved = share
    save(average, before, out)


def main() -> None:
    """Parse the command line and run."""
    parser = command(__doc__, Path("build/clicks"))
    parser.add_argument("--out", type=Path, default=Path("build/clicks/network.pt"))
    parser.add_argument("--start", type=Path, help="weights or an exported program to go on from")
    parser.add_argument("--rate", type=float, default=RATE, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0, help="of the order of views and of the clicks")
    parser.add_argument("--minutes", type=float, default=40, help="time of the processor")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    train(chosen.cache, chosen.out, Folders.of(chosen), chosen.minutes, chosen.start, chosen.rate, chosen.seed)


if __name__ == "__main__":
    main()
