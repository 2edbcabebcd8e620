"""Sharing a model: writing its files to a folder, and uploading them to the Hugging Face hub."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from segvoc.errors import CheckpointError, UsageError
from segvoc.sharing.card import CARD_IMAGES, CardFacts, model_card
from segvoc.sharing.hub import CARD, CONFIG, SHARED_WEIGHTS, WORDS_SUFFIX, HubRepository, SharedModel, Token
from segvoc.storage.atomic_writes import write_atomically, write_bytes
from segvoc.storage.files import write_json
from segvoc.teaching.taught_words import TaughtWords
from segvoc.version import __version__


@dataclass(frozen=True, kw_only=True)
class ShareableModel:
    """A model to share."""

    facts: CardFacts
    """The facts on its card."""
    write_weights: Callable[[Path], None] | None
    """Writes the weights file; None: the preset's shipped weights."""
    taught: tuple[TaughtWords, ...] = ()
    """Words taught to the preset's shipped weights."""
    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """JSON files that record how it was made, by name."""

    def write(self, folder: str | os.PathLike[str], name: str) -> SharedModel:
        """Write all files to a new or empty folder, or that of an earlier call; `name` stands on the card."""
        folder = Path(folder)
        files = [f"taught_{number}{WORDS_SUFFIX}" for number in range(1, len(self.taught) + 1)]
        if len(files) == 1:
            files = [f"taught{WORDS_SUFFIX}"]
        shared = SharedModel(
            model=self.facts.base,
            version=__version__,
            weights=None if self.write_weights is None else SHARED_WEIGHTS,
            taught=tuple(files),
            words=self.facts.words,
            background=self.facts.background,
        )
        if not shared.files:
            raise UsageError(
                f"{self.facts.base!r} ships with segvoc, and was taught nothing, so there is nothing to share; train "
                "or teach it first, or upload its weights too: --weights, or weights=True"
            )
        with HubRepository(repository=name).explained("written"):  # where the hub's client is missing
            card = str(model_card(name, shared, self.facts, tuple(self.records)))
        if self.write_weights is not None:
            self.write_weights(folder / SHARED_WEIGHTS)
        for file, words in zip(files, self.taught, strict=True):
            words.save(folder / file)
        for file, record in self.records.items():
            write_json(folder / file, record)
        for image in self.facts.shown:
            write_bytes(folder / CARD_IMAGES / image.name, image.path.read_bytes())
        write_json(folder / CONFIG, shared.to_config())
        write_bytes(folder / CARD, card.encode())
        return shared

    def upload(
        self,
        repository: str,
        *,
        private: bool | None = None,
        token: Token = None,
        revision: str | None = None,
        keep_card: bool = False,
    ) -> str:
        """Upload all files to a repository of the hub; see `Shareable.push_to_hub`."""
        place = HubRepository.of(repository, token=token)
        if place is None or place.revision is not None:
            raise UsageError(f"{repository!r} is not a repository name; give owner/name, and the branch as revision")
        with tempfile.TemporaryDirectory(prefix="segvoc-share-") as folder:
            self.write(folder, repository)
            with place.explained("written"):
                from huggingface_hub import HfApi

                api = HfApi(library_name="segvoc", library_version=__version__, token=token)
                address = str(api.create_repo(repository, private=private, exist_ok=True))
                if revision is not None:
                    api.create_branch(repository, branch=revision, exist_ok=True)
                api.upload_folder(
                    repo_id=repository,
                    folder_path=folder,
                    revision=revision,
                    ignore_patterns=[CARD, f"{CARD_IMAGES}/*"] if keep_card else [],
                    delete_patterns=[
                        SHARED_WEIGHTS,
                        f"taught*{WORDS_SUFFIX}",
                        *([] if keep_card else [f"{CARD_IMAGES}/*"]),
                    ],
                    commit_message=f"Share a model of segvoc {__version__}",
                )
        return address


def copied(source: Path) -> Callable[[Path], None]:
    """Return a function that copies a weights file."""

    def write(target: Path) -> None:
        try:
            with open(source, "rb") as content:
                write_atomically(target, lambda file: shutil.copyfileobj(content, file, 1 << 24))
        except FileNotFoundError:
            raise CheckpointError(f"the weights' file {str(source)!r} is gone; train the model again") from None

    return write


class Shareable:
    """Mixin of `Segmenter` for sharing."""

    name: str
    origin: Mapping[str, object]
    known_words: tuple[str, ...] = ()
    """The words that it was trained on or taught, if its file or repository lists them."""
    known_background: str | None = None
    """The word among them that means "none of the others"."""

    def shareable(self, *, weights: bool | None = None) -> ShareableModel:
        """Collect the model's files and facts.

        Args:
            weights: upload the network's weights; None: unless they ship with segvoc.

        Raises:
            UsageError: the model can't be shared.
        """
        raise UsageError(
            f"{self.name!r} is exported programs; share the preset, file or run that it was exported from: "
            "segvoc push RUN owner/name"
        )

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, license: str | None = None, weights: bool | None = None
    ) -> None:
        """Write the files of `push_to_hub` to a folder, which `segvoc.load` accepts.

        Args:
            folder: a new folder, or an empty one.
            license: see `push_to_hub`.
            weights: see `push_to_hub`.

        Raises:
            UsageError: the model can't be shared, or huggingface_hub, which writes the card, isn't installed.
            OutputError: a file can't be written.
        """
        found = self._shareable(weights, license)
        name = os.path.basename(os.path.abspath(folder))
        found.write(folder, name)

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool | None = None,
        token: Token = None,
        revision: str | None = None,
        license: str | None = None,
        weights: bool | None = None,
        keep_card: bool = False,
    ) -> str:
        """Upload the model to the Hugging Face hub, with its taught words and a card, for `segvoc.load("owner/name")`.

        `segvoc push RUN owner/name` does the same for a run folder, whose card also has data, curves and images.

        Args:
            repository: owner/name; created if missing.
            private: whether a new repository is private; None: the owner's default.
            token: a token with write access; None: HF_TOKEN, or `hf auth login`.
            revision: branch to write to, created if missing; None: the main branch.
            license: SPDX identifier of the model's license, for the card.
            weights: upload the network's weights; None: unless they are `tiny`'s shipped weights, for which the taught
                words are enough.
            keep_card: keep the repository's existing card.

        Returns:
            The URL of the repository.

        Raises:
            UsageError: the repository name is invalid, there is nothing to share, the network isn't a preset's, its
                weights were rounded, or huggingface_hub isn't installed.
            CheckpointError: the hub can't be reached, or rejects the upload.
            OutputError: a temporary file can't be written.
        """
        found = self._shareable(weights, license)
        return found.upload(repository, private=private, token=token, revision=revision, keep_card=keep_card)

    def _shareable(self, weights: bool | None, license: str | None) -> ShareableModel:
        found = self.shareable(weights=weights)
        words = tuple(dict.fromkeys((*self.known_words, *found.facts.words)))
        facts = replace(found.facts, license=license, words=words, background=self.known_background)
        return replace(found, facts=facts)
