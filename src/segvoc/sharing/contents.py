"""The entry `segvoc` in the `config.json` of a shared model."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segvoc.errors import CheckpointError, UsageError, one_line
from segvoc.records import from_json, to_json
from segvoc.storage.files import read_json

CONFIG = "config.json"
"""The config file; the hub counts its downloads as the repository's."""

LIBRARY = "segvoc"
"""Our entry in the file, and the hub's name of the library."""

CARD = "README.md"
"""The model card."""

SHARED_WEIGHTS = "model.safetensors"
"""The network's weights in a shared folder."""

WORDS_SUFFIX = ".words.safetensors"
"""Suffix of files of taught words."""

SHARED_FORMAT = 1
"""Version of the layout."""


@dataclass(frozen=True, kw_only=True)
class SharedModel:
    """The files of a shared model and their purpose."""

    model: str
    """The network's preset."""
    version: str
    """Version of segvoc that wrote it."""
    weights: str | None = None
    """The weights file, which also holds taught words; None: the preset's shipped weights."""
    taught: tuple[str, ...] = ()
    """Files of taught words for the preset's shipped weights."""
    words: tuple[str, ...] = ()
    """The words that the model was trained on or taught: the best words to try first."""
    background: str | None = None
    """The word among them that means "none of the others"."""
    format: int = SHARED_FORMAT
    """Version of the layout."""

    @property
    def files(self) -> tuple[str, ...]:
        """All files listed."""
        return (*([self.weights] if self.weights else []), *self.taught)

    def to_config(self) -> dict[str, Any]:
        """The content of `config.json`."""
        return {"library_name": LIBRARY, LIBRARY: to_json(self)}

    @classmethod
    def of(cls, config: object, name: str) -> "SharedModel | None":
        """Read the content of a `config.json`; None if segvoc didn't write it.

        Raises:
            CheckpointError: the entry is damaged, of a newer version, or lists files outside its folder; it names the
                folder or repository (`name`).
        """
        entry = config.get(LIBRARY) if isinstance(config, Mapping) else None
        if entry is None:
            return None
        if isinstance(entry, Mapping) and entry.get("format", SHARED_FORMAT) != SHARED_FORMAT:
            raise CheckpointError(f"{name!r} was shared by a newer segvoc; install a newer one")
        try:
            shared = from_json(cls, entry)
        except UsageError as error:
            raise CheckpointError(f"the {CONFIG} of {name!r} is damaged ({error}); share the model again") from None
        if not shared.files or not all(re.fullmatch(r"[\w][\w .()+-]*", file) for file in shared.files):
            raise CheckpointError(f"the {CONFIG} of {name!r} lists no files, or files elsewhere; share the model again")
        return shared


def read_model_config(path: Path, name: str) -> Mapping[str, Any]:
    """Read any `config.json`; raises a `CheckpointError` that names the folder or repository."""
    try:
        config = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the {CONFIG} of {name!r} can't be read ({one_line(error)}); get it again") from None
    return config if isinstance(config, Mapping) else {}


def named_weights(path: Path, name: str) -> str:
    """Read the preset in the header of a weights file, without the safetensors library; "" if segvoc didn't write it.

    Raises:
        CheckpointError: the file is damaged; it names the folder or repository (`name`).
    """
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, 1 << 26)))
        record = json.loads(header.get("__metadata__", {}).get(LIBRARY, "{}"))
        return str(record.get("preset", ""))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path.name} of {name!r} is damaged ({one_line(error)}); get it again") from None
