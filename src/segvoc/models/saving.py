"""`segvoc.save`: writes the weights of a model to a file for `segvoc.load`."""

import os

from segvoc.errors import UsageError
from segvoc.models.network_file import write_network
from segvoc.models.network_segmenter import NetworkSegmenter, require_network


def save(
    model: NetworkSegmenter,
    path: str | os.PathLike[str],
    *,
    origin: str = "saved by segvoc.save",
    license: str = "that of the weights it started from and of its training data",
) -> None:
    """Write a model's weights, with everything that `segvoc.load` needs to rebuild it.

    A network that the preset doesn't build (for example with another aggregation) is marked as custom. Load it with
    `segvoc.load(path, network=...)`.

    Args:
        model: a model made by `segvoc.load`; its weights and modules may have changed since.
        path: a file that ends in .safetensors; an existing one is replaced.
        origin: where the weights come from; `segvoc info` shows it.
        license: license of the weights.

    Raises:
        UsageError: the path doesn't end in .safetensors, the model is an exported one or wasn't made by `segvoc.load`,
            or its weights were rounded to a shorter dtype than float32.
        OutputError: the file can't be written.
    """
    require_network(model, "save")
    if not os.fspath(path).lower().endswith(".safetensors"):
        raise UsageError(
            f"{os.fspath(path)!r} doesn't end in .safetensors, the format that is written; use that suffix"
        )
    write_network(path, model.name, model.network, model.origin, model.taught, origin=origin, license=license)
