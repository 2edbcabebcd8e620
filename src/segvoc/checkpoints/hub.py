"""Models on the Hugging Face hub: their names, their lists of files, and fetching.

The hub's environment variables apply: HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE.
"""

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

from segvoc.errors import CheckpointError, UsageError, missing_extra, one_line
from segvoc.runtime.version import __version__
from segvoc.storage.records import from_json

LIBRARY = "segvoc"
"""Our entry in the config file, and the hub's name of the library."""

CONFIG, CARD, SHARED_WEIGHTS, WORDS_SUFFIX = "config.json", "README.md", "model.safetensors", ".words.safetensors"
"""Files of a shared model; the hub counts downloads of the config file. Files of taught words have the suffix."""

_NAME = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[^@\s]+))?", re.ASCII)
_FILES = (".safetensors", ".pt", ".pth", ".bin", ".onnx", ".json", ".npz")

LOG_IN = "log in (hf auth login, HF_TOKEN or token=...)"

Token = str | bool | None
"""A token of the hub; None: HF_TOKEN or hf auth login, False: no token."""


@dataclass(frozen=True, kw_only=True)
class SharedModel:
    """The files of a shared model and their purpose."""

    model: str
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
    format: int = 1

    @property
    def files(self) -> tuple[str, ...]:
        """All files listed."""
        return (*([self.weights] if self.weights else []), *self.taught)

    @classmethod
    def of(cls, config: object, name: str) -> "SharedModel | None":
        """Read a `config.json`; None if segvoc didn't write it, `CheckpointError` if the entry can't be used."""
        entry = config.get(LIBRARY) if isinstance(config, Mapping) else None
        if entry is None:
            return None
        if isinstance(entry, Mapping) and entry.get("format", cls.format) != cls.format:
            raise CheckpointError(f"{name!r} was shared by a newer segvoc; install a newer one")
        try:
            shared = from_json(cls, entry)
            if not shared.files or not all(re.fullmatch(r"[\w][\w .()+-]*", file) for file in shared.files):
                raise UsageError("it lists no files, or files elsewhere")
        except UsageError as error:
            raise CheckpointError(f"the {CONFIG} of {name!r} is damaged ({error}); share the model again") from None
        return shared


@dataclass(frozen=True, kw_only=True)
class HubRepository:
    """A repository of models, at a revision."""

    repository: str
    revision: str | None = None
    """Branch, tag or commit; None: the main branch."""
    token: Token = None

    @classmethod
    def of(cls, name: str, token: Token = None) -> "HubRepository | None":
        """Parse "owner/name" or "owner/name@revision"; None if it is neither."""
        match = _NAME.fullmatch(name)
        if match is None or name.lower().endswith(_FILES) or any(part in name for part in ("--", "..")):
            return None
        return cls(repository=match["repository"], revision=match["revision"], token=token)

    @property
    def name(self) -> str:
        """The name, with the revision unless it is the main branch."""
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"

    def fetch(self, file: str) -> Path | None:
        """Return a file's path in the cache, downloading new or changed files; None if it isn't in the repository.

        If the hub can't be reached, the cached file is used; without it, or access, this is a `CheckpointError`.
        """
        with self.explained("read"):
            import huggingface_hub as hub

            options = {"library_name": LIBRARY, "library_version": __version__, "local_files_only": _without_network()}
            where = {"revision": self.revision, "token": self.token}
            try:
                return Path(hub.hf_hub_download(self.repository, file, **where, **options))
            except hub.errors.RemoteEntryNotFoundError:
                return None
            except hub.errors.LocalEntryNotFoundError:
                # the cache may record that the file isn't in the repository
                if hub.try_to_load_from_cache(self.repository, file, revision=self.revision) is hub._CACHED_NO_EXIST:
                    return None
                raise

    def files(self) -> list[str]:
        """The names of all files; raises the errors of `fetch`."""
        with self.explained("read"):
            from huggingface_hub import HfApi

            return HfApi().list_repo_files(self.repository, revision=self.revision, token=self.token)

    @contextmanager
    def explained(self, access: Literal["read", "write"]) -> Iterator[None]:
        """Turn errors of the hub's client, of the HTTP libraries below it and of the disk into a `CheckpointError`."""
        try:
            yield
        except UsageError:
            raise
        except ImportError:
            raise missing_extra("huggingface_hub", "hub") from None
        except Exception as error:
            failed = "can't be written to" if access == "write" else "isn't here, and can't be read from"
            raise CheckpointError(f"{self.name!r} {failed} the hub: {self._reason(error, access)}") from error

    def _reason(self, error: BaseException, access: str) -> str:
        from huggingface_hub import constants, errors, get_token

        if error.__cause__ is not None and type(error) in (RuntimeError, errors.LocalEntryNotFoundError):
            error = error.__cause__  # what an upload raised, or why the cache was asked
        match error:
            case errors.GatedRepoError():
                return f"it is gated; ask for access at {constants.ENDPOINT}/{self.repository}, then {LOG_IN}"
            case errors.RevisionNotFoundError():
                return f"it has no revision {self.revision!r}; name a branch, tag or commit, or leave it out"
            case errors.RepositoryNotFoundError():
                hidden = "this token doesn't see it" if isinstance(self.token, str) else "it is private"
                return f"there is no such repository, or {hidden}; check the name, or {LOG_IN}"
            case errors.HfHubHTTPError():
                status, logged_in = error.response.status_code, self.token is not None or get_token() is not None
                refusals = {
                    401: f"the hub refuses the token (401); {LOG_IN}" if logged_in else f"not logged in; {LOG_IN}",
                    403: f"this token has no {access} access (403); take one of an account that may {access} it",
                }
                return refusals.get(status, f"the hub answers {status}; try again later")
            case errors.LocalTokenNotFoundError():
                return f"not logged in; {LOG_IN}"
            case errors.OfflineModeIsEnabled() | errors.LocalEntryNotFoundError() if constants.HF_HUB_OFFLINE:
                cause = "HF_HUB_OFFLINE is set"
            case errors.HFValidationError() | OSError(errno=int()):  # of the disk
                return f"{one_line(error)}; give owner/name, and a cache with space (HF_HOME) that can be written"
            case _ if isinstance(error, FileNotFoundError) or type(error).__name__.startswith("Connect"):
                cause = "the hub can't be reached"  # earlier versions of the client use another HTTP library
            case _:
                return f"the transfer broke off ({one_line(error)}); check the network, and try again"
        copy = f"the cache at {constants.HF_HUB_CACHE!r} doesn't have it; connect, or copy HF_HOME from another machine"
        return f"{cause}; connect, and try again" if access == "write" else f"{cause}, and {copy}"


def _without_network() -> bool:
    """Whether DNS lookup of the hub fails: its client would retry six times, in 23 seconds."""
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    if getproxies().get(address.scheme) or address.hostname is None:  # a proxy resolves names itself
        return False
    try:
        return not socket.getaddrinfo(address.hostname, address.port or address.scheme)
    except OSError:
        return True
