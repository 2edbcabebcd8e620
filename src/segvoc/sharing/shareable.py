"""Sharing a loaded model: a mixin of every segmenter."""

import os
from collections.abc import Mapping
from dataclasses import replace

from segvoc.errors import UsageError
from segvoc.sharing.hub import Token
from segvoc.sharing.uploading import ShareableModel


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
