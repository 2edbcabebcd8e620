"""Models shared on the Hugging Face hub: their files, fetching, uploading, and the card.

The hub's environment variables apply: HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE.
"""

import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies

from segvoc.errors import CheckpointError, UsageError, missing_extra, one_line
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.runtime.version import __version__
from segvoc.storage.atomic_writes import write_bytes
from segvoc.storage.files import write_json
from segvoc.storage.records import from_json, to_json

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard

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
    """Version of the layout."""

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
    def of(cls, name: str, revision: str | None = None, token: Token = None) -> "HubRepository | None":
        """Parse "owner/name" or "owner/name@revision"; None if it isn't a name, `UsageError` for two revisions."""
        match = _NAME.fullmatch(name)
        if match is None or name.lower().endswith(_FILES) or any(part in name for part in ("--", "..")):
            return None
        if match["revision"] and revision is not None:
            raise UsageError(f"{name!r} has a revision, and revision={revision!r} is another; give one of them")
        return cls(repository=match["repository"], revision=match["revision"] or revision, token=token)

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

    def at_commit_of(self, path: Path) -> "HubRepository":
        """Pin the commit of a downloaded file, so that further files are from the same commit."""
        return replace(self, revision=path.parent.name)

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
        """The cause, and how to fix it."""
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


# ---- uploading

TINY = "the network `tiny` of segvoc (EfficientNet-Lite2 and MiniLM)"
SHIPPED_WEIGHTS = "the weights of `tiny`, which ship with segvoc"


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """Scores on held-out images, in percent; None: not measured."""

    title: str
    """What was measured, a sentence without its period."""
    data: str
    columns: tuple[str, str] = ("before", "this model")
    """What the two scores of each row are."""
    miou: tuple[float | None, float | None]
    accuracy: tuple[float | None, float | None]
    """Share of pixels that are labeled right."""
    words: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """IoU of each word."""

    def results(self) -> "list[EvalResult]":
        """The scores as the hub's metadata."""
        from huggingface_hub import EvalResult

        data = re.sub(r"[^a-z0-9]+", "-", self.data.lower()).strip("-") or "custom"
        values = (("mean_iou", "mean IoU [%]", self.miou[1]), ("accuracy", "pixel accuracy [%]", self.accuracy[1]))
        return [
            EvalResult("image-segmentation", data, self.data, metric, round(value, 2), metric_name=label)
            for metric, label, value in values
            if value is not None
        ]


@dataclass(frozen=True, kw_only=True)
class ShareableModel:
    """A model to share, and what its card says."""

    base: str
    """The preset."""
    network: str
    """What the preset is, after "It is", as Markdown."""
    made: str = ""
    """How it was made from the preset, such as "fine-tuned on 24 labeled images"; empty if unchanged."""
    write_weights: Callable[[Path], None] | None = None
    """Writes the weights file; None: the preset's shipped weights."""
    taught: tuple[TaughtWords, ...] = ()
    """Words taught to the preset's shipped weights."""
    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """JSON files that record how it was made, by name."""
    words: tuple[str, ...] = ()
    """The words that it was trained on or taught."""
    background: str | None = None
    """The word among them that means "none of the others"."""
    license: str | None = None
    """SPDX identifier; None: not stated."""
    licenses: Mapping[str, str] = field(default_factory=dict)
    """Licenses of its components, by component."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Rows about the training images: "source" is their origin, in the author's words."""
    training: Mapping[str, str] = field(default_factory=dict)
    """Rows about how it was made."""
    scores: tuple[ScoreTable, ...] = ()
    """The most telling first."""
    shown: Mapping[str, tuple[Path, str]] = field(default_factory=dict)
    """Images on the card and their captions, by the names that they get."""

    @classmethod
    def of_taught(
        cls, base: str, network: str, taught: tuple[TaughtWords, ...], licenses: Mapping[str, str]
    ) -> "ShareableModel":
        """A preset, and taught words if there are any."""
        if not taught:
            return cls(base=base, network=network, licenses=licenses)
        records = [words.record for words in taught]
        learned = [word for record in records for word in record.words]
        words, images = tuple(dict.fromkeys(word.name for word in learned)), sum(record.images for record in records)
        pixels, shown = sum(word.pixels for word in learned), f"{images} labeled image{'' if images == 1 else 's'}"
        tuned = any(record.pyramid_channels for record in records)
        return cls(
            base=base,
            network=network,
            made=f"fine-tuned on {shown}" if tuned else f"taught {len(words)} words by {shown}, without training it",
            taught=taught,
            words=words,
            licenses=licenses,
            data={"images": f"{images}", "words": ", ".join(words), "labeled pixels": f"{pixels:,}"},
            training={"made with": f"segvoc {records[-1].segvoc}"},
            scores=tuple(
                ScoreTable(
                    title="Measured on images that were held out while it learned from the others",
                    data="the images it was taught by",
                    columns=("by text alone", "this model"),
                    miou=(record.miou_before, record.miou),
                    accuracy=(record.accuracy_before, record.accuracy),
                    words={w.name: (w.before, w.before if w.keeps_text else w.after) for w in record.words},
                )
                for record in records
                if record.miou is not None
            ),
        )

    def write(self, folder: Path, name: str) -> None:
        """Write all files to a new or empty folder; `name` stands on the card."""
        only = len(self.taught) == 1
        taught = {f"taught{'' if only else f'_{n}'}{WORDS_SUFFIX}": words for n, words in enumerate(self.taught, 1)}
        shared = SharedModel(
            model=self.base,
            version=__version__,
            weights=None if self.write_weights is None else SHARED_WEIGHTS,
            taught=tuple(taught),
            words=self.words,
            background=self.background,
        )
        if not shared.files:
            raise UsageError(
                f"{self.base!r} ships with segvoc, and was taught nothing, so there is nothing to share; train "
                "or teach it first, or upload its weights too: --weights, or weights=True"
            )
        with HubRepository(repository=name).explained("write"):  # where the hub's client is missing
            card = str(self._card(name, shared))
        if self.write_weights is not None:
            self.write_weights(folder / SHARED_WEIGHTS)
        for file, words in taught.items():
            words.save(folder / file)
        config = {"library_name": LIBRARY, LIBRARY: to_json(shared)}
        for file, record in {**self.records, CONFIG: config}.items():
            write_json(folder / file, record)
        for file, (path, _) in self.shown.items():
            write_bytes(folder / "card" / file, path.read_bytes())
        write_bytes(folder / CARD, card.encode())

    def _card(self, name: str, shared: SharedModel) -> "ModelCard":
        from huggingface_hub import ModelCard, ModelCardData

        title, results = name.rpartition("/")[2], [result for scores in self.scores for result in scores.results()]
        metadata = ModelCardData(
            license=None if self.license is None else self.license.lower(),
            library_name=LIBRARY,
            pipeline_tag="image-segmentation",
            tags=["open-vocabulary", "semantic-segmentation", *(["fine-tuned"] if self.words else [])],
            metrics=["mean_iou"] if results else None,
            model_name=title if results else None,
            eval_results=results or None,
        )
        named = [word for word in self.words if word != self.background]
        # the words of the example calls
        asked = [*(named or ["cat", "sofa", "wall"])[:4], *([self.background] if self.background else [])]
        asked = [word for word in asked if not set(word) & set('",`\\')]
        values = {"model": self, "shared": shared, "name": name, "title": title, "named": named, "asked": asked}
        template = Path(__file__).with_name("card.md")
        return ModelCard.from_template(metadata, template_path=str(template), **values, plain=_escaped)


def _escaped(text: str) -> str:
    """User text for Markdown and its tables."""
    return " ".join(re.sub(r"([\\|*_`<>\[\]])", r"\\\1", text).split())


class Shareable(Protocol):
    """What `push` needs of a `Segmenter`."""

    known_words: tuple[str, ...]
    known_background: str | None

    def shareable(self, *, weights: bool | None = None) -> ShareableModel:
        """The model's files and facts."""
        ...


def push(
    model: Shareable | ShareableModel,
    repository: str,
    *,
    private: bool | None = None,
    token: Token = None,
    license: str | None = None,
    weights: bool | None = None,
    keep_card: bool = False,
    out: str | os.PathLike[str] | None = None,
) -> str:
    """Upload a model to the Hugging Face hub, with its taught words and a card, for `segvoc.load("owner/name")`.

    `segvoc push RUN owner/name` uploads a run folder, whose card also has data, curves and images.

    Args:
        model: what `segvoc.load` returns.
        repository: "owner/name", or "owner/name@branch" for another branch than main; both are created if missing.
        private: whether a new repository is private; None: the owner's default.
        token: a token with write access; None: HF_TOKEN, or `hf auth login`.
        license: SPDX identifier of the model's license, for the card.
        weights: upload the network's weights; None: unless they ship with segvoc, where taught words are enough.
        keep_card: keep the repository's existing card.
        out: write the files to this new folder, which `segvoc.load` accepts, and upload nothing.

    Returns:
        The URL of the repository, or `out`.

    Raises:
        UsageError: the name is invalid, there is nothing to share, the network isn't a preset's, its weights were
            rounded, or huggingface_hub isn't installed.
        CheckpointError: the hub can't be reached, or rejects the upload.
        OutputError: a file can't be written.
    """
    place = HubRepository.of(repository, token=token)
    if place is None:
        raise UsageError(f"{repository!r} is not a repository name; give owner/name or owner/name@branch")
    if not isinstance(model, ShareableModel):
        files = model.shareable(weights=weights)
        words = tuple(dict.fromkeys((*model.known_words, *files.words)))
        model = replace(files, words=words, background=model.known_background)
    model = replace(model, license=license)
    if out is not None:
        model.write(Path(out), place.repository)
        return os.fspath(out)
    with tempfile.TemporaryDirectory(prefix="segvoc-share-") as folder:
        model.write(Path(folder), place.repository)
        with place.explained("write"):
            from huggingface_hub import HfApi

            api = HfApi(library_name=LIBRARY, library_version=__version__, token=token)
            address = str(api.create_repo(place.repository, private=private, exist_ok=True))
            if place.revision is not None:
                api.create_branch(place.repository, branch=place.revision, exist_ok=True)
            api.upload_folder(
                repo_id=place.repository,
                folder_path=folder,
                revision=place.revision,
                ignore_patterns=[CARD, "card/*"] if keep_card else None,
                delete_patterns=[SHARED_WEIGHTS, f"taught*{WORDS_SUFFIX}", *([] if keep_card else ["card/*"])],
                commit_message=f"Share a model of segvoc {__version__}",
            )
    return address
