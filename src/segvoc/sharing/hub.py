"""Shared models: the entry `segvoc` in their `config.json`, and repositories of the Hugging Face hub.

The hub's environment variables apply: HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE.
"""

import errno
import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from segvoc.errors import CheckpointError, UsageError, missing_extra, one_line
from segvoc.records import from_json, to_json
from segvoc.storage.files import read_json
from segvoc.version import __version__

CONFIG = "config.json"
"""The config file; the hub counts its downloads as the repository's."""

LIBRARY = "segvoc"
"""Our entry in the file, and the hub's name of the library."""

CARD = "README.md"

SHARED_WEIGHTS = "model.safetensors"
"""The network's weights in a shared folder."""

WORDS_SUFFIX = ".words.safetensors"
"""Suffix of files of taught words."""

SHARED_FORMAT = 1
"""Version of the layout."""

_NAME = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[^@\s]+))?", re.ASCII)
_FILES = (".safetensors", ".pt", ".pth", ".bin", ".onnx", ".json", ".npz")
"""Suffixes of files, which aren't repository names."""

LOG_IN = "log in with hf auth login, set HF_TOKEN, or pass token=..."

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
    format: int = SHARED_FORMAT

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

        Raises a `CheckpointError` that names the folder or repository if the entry can't be used.
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

    Raises a `CheckpointError` that names the folder or repository if the file is damaged.
    """
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, 1 << 26)))
        record = json.loads(header.get("__metadata__", {}).get(LIBRARY, "{}"))
        return str(record.get("preset", ""))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path.name} of {name!r} is damaged ({one_line(error)}); get it again") from None


@dataclass(frozen=True, kw_only=True)
class HubRepository:
    """A repository of models, at a revision."""

    repository: str
    revision: str | None = None
    """Branch, tag or commit; None: the main branch."""
    token: Token = None

    @classmethod
    def of(cls, name: str, revision: str | None = None, token: Token = None) -> "HubRepository | None":
        """Parse "owner/name" or "owner/name@revision"; None if it isn't a name, `UsageError` for two revisions."""
        found = _NAME.fullmatch(name)
        if found is None or name.lower().endswith(_FILES) or any(part in name for part in ("--", "..")):
            return None
        own = found["revision"]
        if own is not None and revision is not None:
            raise UsageError(f"{name!r} has a revision, and revision={revision!r} is another; give one of them")
        return cls(repository=found["repository"], revision=own or revision, token=token)

    @property
    def name(self) -> str:
        """The name, with the revision unless it is the main branch."""
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"

    def fetch(self, file: str) -> Path | None:
        """Return a file's path in the cache, downloading new or changed files; None if it isn't in the repository.

        If the hub can't be reached, the cached file is used.

        Raises:
            CheckpointError: the repository or revision doesn't exist, isn't readable, or can't be reached.
            UsageError: huggingface_hub isn't installed.
        """
        with self.explained("read"):
            import huggingface_hub as hub

            try:
                path = hub.hf_hub_download(
                    self.repository,
                    file,
                    revision=self.revision,
                    token=self.token,
                    library_name="segvoc",
                    library_version=__version__,
                    local_files_only=_without_network(),
                )
                return Path(path)
            except hub.errors.RemoteEntryNotFoundError:
                return None
            except hub.errors.LocalEntryNotFoundError:
                # the cache may record that the file isn't in the repository
                if hub.try_to_load_from_cache(self.repository, file, revision=self.revision) is hub._CACHED_NO_EXIST:
                    return None
                raise

    def at_commit_of(self, path: Path) -> "HubRepository":
        """Pin the commit of a downloaded file, so that further files are from the same commit."""
        return replace(self, revision=path.parent.name)

    def files(self) -> list[str]:
        """The names of all files; raises the errors of `fetch`."""
        with self.explained("read"):
            from huggingface_hub import HfApi

            return HfApi().list_repo_files(self.repository, revision=self.revision, token=self.token)

    @contextmanager
    def explained(self, what: str) -> Iterator[None]:
        """Turn errors of the hub's client into a one-line `CheckpointError`; `what` is "read" or "written"."""
        try:
            yield
        except (CheckpointError, UsageError):
            raise
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "huggingface_hub":
                raise missing_extra("huggingface_hub", "hub") from None
            raise
        except Exception as error:
            # errors of the hub's client, of the HTTP libraries below it, and of the disk
            written = what == "written"
            failed = "can't be written to the hub" if written else "isn't here, and can't be read from the hub"
            raise CheckpointError(f"{self.name!r} {failed}: {self._reason(error, what)}") from error

    def _reason(self, error: BaseException, what: str) -> str:
        """The cause, and how to fix it."""
        from huggingface_hub import constants, errors

        if type(error) is RuntimeError and error.__cause__ is not None:  # the client's, around what an upload raised
            error = error.__cause__
        match error:
            case errors.GatedRepoError():
                page = f"{constants.ENDPOINT}/{self.repository}"
                return f"it is gated; ask for access at {page}, then log in (hf auth login, HF_TOKEN or token=...)"
            case errors.RevisionNotFoundError():
                return f"it has no revision {self.revision!r}; name a branch, tag or commit, or leave it out"
            case errors.RepositoryNotFoundError() if what == "written":
                return "there is no such owner, or this token doesn't see it; check the name and the token"
            case errors.RepositoryNotFoundError():
                seen = "this token doesn't see it" if isinstance(self.token, str) else "it is private"
                advice = "check the name, or log in (hf auth login, HF_TOKEN or token=...)"
                return f"there is no such repository, or {seen}; {advice}"
            case errors.HfHubHTTPError():
                return self._refusal(error.response.status_code, what)
            case errors.LocalEntryNotFoundError():
                return self._not_cached(error)
            case errors.HFValidationError():
                return f"that is no name of a repository ({one_line(error)}); give owner/name"
        return _broken(error)

    def _refusal(self, status: int, what: str) -> str:
        """Explain an HTTP status."""
        from huggingface_hub import get_token

        if status == 401 and self.token is None and get_token() is None:
            return f"not logged in; {LOG_IN}"
        if status == 401:
            return "the hub refuses the token (401); log in again with hf auth login, or set another HF_TOKEN"
        if status == 403:
            access = "write" if what == "written" else "read"
            return f"this token has no {access} access (403); take one that has, of an account that may {access} it"
        return f"the hub answers {status}; try again later"

    def _not_cached(self, error: BaseException) -> str:
        from huggingface_hub import constants, errors

        cause = error.__cause__
        if isinstance(cause, errors.HfHubHTTPError):
            return self._refusal(cause.response.status_code, "read")
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub can't be reached"
        return (
            f"{why}, and the cache at {constants.HF_HUB_CACHE!r} doesn't have it; connect, or copy HF_HOME from a "
            "machine that has it"
        )


def _without_network() -> bool:
    """Whether DNS lookup of the hub fails: its client would retry six times, in 23 seconds."""
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    if getproxies().get(address.scheme) or address.hostname is None:  # a proxy resolves names itself
        return False
    try:
        socket.getaddrinfo(address.hostname, address.port or address.scheme)
    except OSError:
        return True
    return False


def _broken(error: BaseException) -> str:
    """Explain a failure of this machine or the network."""
    from huggingface_hub import constants, errors

    match error:
        case errors.LocalTokenNotFoundError():
            return f"no token is set; {LOG_IN}"
        case errors.OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE is set; unset it"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return f"no space is left at {constants.HF_HUB_CACHE!r}; free some, or set HF_HOME to another disk"
        case OSError(errno=errno.EACCES | errno.EPERM | errno.EROFS):
            return f"{constants.HF_HUB_CACHE!r} can't be written; change its mode, or set HF_HOME to another folder"
    # earlier versions of the client use another HTTP library
    failure = "the hub can't be reached" if type(error).__name__.startswith("Connect") else "the transfer broke off"
    return f"{failure} ({one_line(error)}); check the network, and try again"
