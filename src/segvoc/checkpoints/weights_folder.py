"""Folders of weights, as Hugging Face's transformers and open_clip save them: one file, or shards with an index."""

from collections.abc import Callable
from pathlib import Path

from segvoc.errors import CheckpointError
from segvoc.storage.json_files import read_json

SINGLE = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of a file with all weights; the first that exists is taken, with its shards before the next."""


def files_of_weights(get: Callable[[str], Path | None], name: str) -> list[Path]:
    """The files that together hold the weights of a folder or a repository.

    Args:
        get: the path of a file by its name, None if there is none.
        name: the folder or repository, for errors.

    Returns:
        The files; none if it has no weights under these names.

    Raises:
        CheckpointError: an index is damaged, or a file that it names is missing.
    """
    for single in SINGLE:
        if (path := get(single)) is not None:
            return [path]
        index = get(f"{single}.index.json")
        if index is not None:
            return [_shard(get, shard, index.name, name) for shard in _shards(index, name)]
    return []


def _shards(index: Path, name: str) -> list[str]:
    try:
        shards = sorted(set(read_json(index)["weight_map"].values()))
        if not shards or any(Path(shard).name != shard or "\\" in shard for shard in shards):
            raise ValueError("it names no files, or files elsewhere")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index.name} of {name!r} is damaged ({error}); get it again") from None
    return shards


def _shard(get: Callable[[str], Path | None], shard: str, index: str, name: str) -> Path:
    path = get(shard)
    if path is None:
        raise CheckpointError(f"{name!r} has no {shard}, which its {index} names; get the missing file")
    return path
