"""`--network FILE.py:FUNCTION`: a network that its author builds, for files of weights that no preset fits."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from segvoc.errors import UsageError, one_line

if TYPE_CHECKING:
    from segvoc.networks.base import SegmentationNetwork


def own_network(place: str) -> "SegmentationNetwork":
    """Build a network by a function in a Python file, which is run.

    Args:
        place: the file and the function, which takes nothing and returns a network or a model: "mine.py:build".

    Raises:
        UsageError: there is no such file or function, it fails, or it returns something else.
    """
    from segvoc.models.network_segmenter import NetworkSegmenter
    from segvoc.networks.base import SegmentationNetwork

    path, _, name = place.rpartition(":")
    if not Path(path).is_file() or not name.isidentifier():
        raise UsageError(f"--network {place!r} names no function in a Python file; for example mine.py:build")
    found = importlib.util.spec_from_file_location("segvoc_own_network", path)
    if found is None or found.loader is None:
        raise UsageError(f"--network {place!r}: {path!r} is no Python file; for example mine.py:build")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
        built = getattr(module, name)()
    except Exception as error:
        raise UsageError(f"--network {place!r} fails ({type(error).__name__}: {one_line(error)})") from error
    network = built.network if isinstance(built, NetworkSegmenter) else built
    if not isinstance(network, SegmentationNetwork):
        raise UsageError(
            f"--network {place!r} gives a {type(built).__name__}; return a network of segvoc, or its model"
        )
    return network
