"""Put an aggregation of your own into a network, train it, save it, load it again and compare.

Usage: python examples/new_aggregation.py IMAGES LABELS CLASSES RUN [NAME=VALUE ...]
"""

import sys

import torch
from torch import nn

import segvoc
from segvoc.layers.aggregation import cost_volume


class ResidualAggregation(nn.Module):
    """Each word's cost maps, their sum, and what a small residual network adds to it.

    A word sees its own maps and the mean of all words' maps, so any number of words works.
    """

    def __init__(self, costs: int, width: int = 16) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((costs,), 10.0))
        self.begin = nn.Conv2d(2 * costs, width, kernel_size=3, padding=1)
        self.refine = nn.Conv2d(width, width, kernel_size=3, padding=1)
        self.finish = nn.Conv2d(width, 1, kernel_size=1)
        for parameter in self.finish.parameters():  # starts as the plain sum of the costs
            nn.init.zeros_(parameter)

    def forward(self, maps, text, guidance, context):
        """Logits (B, T, H, W) from feature maps (B, C, H, W) and prompt embeddings (B, T, P, C)."""
        cost = torch.cat([cost_volume(features, text) for features in maps], dim=1)  # (B, P, T, H, W)
        cost = cost.movedim(1, 2)  # (B, T, P, H, W)
        pairs = torch.cat((cost, cost.mean(dim=1, keepdim=True).expand_as(cost)), dim=2)
        x = torch.relu(self.begin(pairs.flatten(0, 1)))
        x = x + torch.relu(self.refine(x))
        change = self.finish(x).view(cost.shape[:2] + cost.shape[3:])
        total = torch.einsum("btphw,p->bthw", cost, self.scale)
        return total + change, None  # None: the logits are those of all words


def with_new_aggregation() -> segvoc.NetworkSegmenter:
    """The encoders of tiny with an untrained aggregation."""
    model = segvoc.load_network("tiny", dtype="float32")  # all bits of the weights, to train and save them
    maps = model.network.encoded(torch.zeros(1, 3, 64, 64)).maps
    costs = len(maps) * len(model.templates)  # of each word: one for each map and prompt
    model.network.aggregation = ResidualAggregation(costs).to(model.device)
    return model


def main() -> None:
    """Train, save, load, compare."""
    images, labels, classes, run, *settings = sys.argv[1:]
    data = segvoc.LabeledImages.from_folders(images, labels, classes)
    recipe = segvoc.recipes.RECIPES["tiny"]().with_settings(settings)
    model = with_new_aggregation()
    segvoc.train(recipe, data, run, network=model.network)

    segvoc.save(model, f"{run}/mine.safetensors")
    again = segvoc.load_network(f"{run}/mine.safetensors", network=with_new_aggregation().network)
    photo = data.images[0].image
    first, second = (found.segment(photo, data.vocabulary) for found in (model, again))
    assert (first.labels == second.labels).all() and (first.confidence == second.confidence).all()
    print(f"trained, saved and loaded again: the same to the bit ({run}/mine.safetensors)")


if __name__ == "__main__":  # the data loader starts processes, which import this file
    main()
