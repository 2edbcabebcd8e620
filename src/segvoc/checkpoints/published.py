"""The manifest of published weights: location, checksum and source pages of each file.

The manifest is `published.json`. It only has facts stated by a page of the Hugging Face hub or the authors'
repository. Files without a page that states their SHA-256 are never fetched; `UNCONFIRMED` lists them. NOTICE quotes
the sources.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from segvoc.errors import human_size
from segvoc.storage.files import read_json
from segvoc.storage.records import from_json

Kind = Literal["network", "encoders"]
"""Kind of a file: a whole network, or encoders to start training from."""


@dataclass(frozen=True, kw_only=True)
class SourcePage:
    """A page, and the facts that it states about a file, quoted where short."""

    page: str
    states: str


@dataclass(frozen=True, kw_only=True)
class HubPlace:
    """A file in a repository of the Hugging Face hub."""

    kind: Literal["hub"] = "hub"
    repository: str
    """The repository as owner/name."""
    revision: str
    """Commit, so that the file can't change."""
    filename: str
    """Path in the repository."""
    repository_type: Literal["model", "space"] = "model"

    @property
    def arguments(self) -> dict[str, Any]:
        """How functions of the hub's client name the file."""
        names = {"repo_id": self.repository, "filename": self.filename}
        return names | {"repo_type": self.repository_type, "revision": self.revision}

    @property
    def page(self) -> str:
        """Address of the file's page, for people."""
        folder = "spaces/" if self.repository_type == "space" else ""
        return f"https://huggingface.co/{folder}{self.repository}/blob/{self.revision}/{self.filename}"

    @property
    def origin(self) -> str:
        """Origin of the file: the repository."""
        return self.repository

    def record(self) -> dict[str, str]:
        """The entries that identify the file in records of conversions and runs."""
        names = ("filename", "repository", "repository_type", "revision", "page")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class WebPlace:
    """A file at a URL without revisions: only the SHA-256 reveals changes."""

    kind: Literal["web"] = "web"
    url: str

    @property
    def filename(self) -> str:
        """The last part of the address."""
        return urlsplit(self.url).path.rpartition("/")[2]

    @property
    def page(self) -> str:
        """The address itself."""
        return self.url

    @property
    def origin(self) -> str:
        """Origin of the file: the host."""
        return urlsplit(self.url).hostname or self.url

    def record(self) -> dict[str, str]:
        """The entries that identify the file in records of conversions and runs."""
        return {"filename": self.filename, "url": self.url}


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """A weights file published by its authors or on their behalf."""

    name: str
    """Name for `segvoc fetch`."""
    summary: str
    kind: Kind
    place: HubPlace | WebPlace
    sha256: str
    size: int | None
    """Size stated by its page, which may round it to three digits; None if not stated [B]."""
    license: str
    """SPDX identifier of the license."""
    license_note: str = ""
    """Notes on the license, for example contradicting pages."""
    learned_from: str = ""
    """The data that it was trained on, and who says so; "" if nobody does."""
    sources: tuple[SourcePage, ...]

    @property
    def filename(self) -> str:
        """Name of the file at its place."""
        return self.place.filename

    @property
    def option(self) -> str:
        """How to pass a file downloaded by hand."""
        whole = "as weights=FILE or --weights FILE"
        return whole if self.kind == "network" else f"{whole}, or with --encoder-weights FILE to train on it"

    @property
    def size_text(self) -> str:
        """The size for people."""
        return "size not stated" if self.size is None else human_size(self.size)

    def record(self) -> dict[str, str]:
        """The file's identity in records of conversions and runs: name, place, SHA-256 and license."""
        return {"name": self.name, **self.place.record(), "sha256": self.sha256, "license": self.license}


@dataclass(frozen=True, kw_only=True)
class UnconfirmedFile:
    """Published weights that aren't fetched, since no page of the hub or their authors states the required facts."""

    name: str
    """Name for `segvoc fetch`, which then prints the reason."""
    summary: str
    page: str
    reason: str
    """The unconfirmed fact."""
    license: str = ""
    """License of the weights, as for a `PublishedFile`, like what follows; "" if none is stated."""
    license_note: str = ""
    learned_from: str = ""


def known_file(sha256: str) -> PublishedFile | None:
    """The published file with a checksum, if it is in the manifest."""
    return next((file for file in PUBLISHED.values() if file.sha256 == sha256), None)


IN_FOLDERS = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of the unsharded weights file in folders and repositories of transformers and open_clip; the first that exists
is used. Sharded models are larger than any supported here."""


def file_of_weights(get: Callable[[str], Path | None]) -> Path | None:
    """Find the weights file of such a folder; `get` returns a file's path by name."""
    return next((path for name in IN_FOLDERS if (path := get(name)) is not None), None)


_MANIFEST = read_json(Path(__file__).with_suffix(".json"))

PUBLISHED = {entry["name"]: from_json(PublishedFile, entry) for entry in _MANIFEST["published"]}
"""Every file that segvoc fetches, by name."""

UNCONFIRMED = {entry["name"]: from_json(UnconfirmedFile, entry) for entry in _MANIFEST["unconfirmed"]}
"""Published weights that our presets could use if verified, by name."""
