"""A small network of every kind of recipe, ready to be trained: what holds for one has to hold for all."""

from functools import partial

from segvoc.networks.part_cat_seg import PCA_PART
from tests.training.caption_runs import open_captions
from tests.training.part_runs import drawn_parts, open_parts
from tests.training.runs import drawn_images, open_run


def labels(root, out, **changes):
    return open_run(drawn_images(root), out, **changes)


def parts(root, out, **changes):
    return open_parts(drawn_parts(root), out, PCA_PART, **changes)


RUNS = {
    "parallel": labels,
    "released loss": partial(labels, loss="released", fod_weight=0.0),
    "sampled classes": partial(labels, num_sampled_classes=2),
    "kept classes": partial(labels, num_kept_classes=2, loss="competing"),
    "parts": parts,
    "captions": lambda root, out, **changes: open_captions(out, **changes),
}
"""Small networks, trained as by the recipes."""
