"""Sharing a loaded model: a part of every segmenter."""

import os
from collections.abc import Mapping
from dataclasses import replace

from segvoc.errors import UsageError
from segvoc.sharing.hub import Token
from segvoc.sharing.uploading import ShareableModel


class Shareable:
    """What a segmenter needs to be shared; see `Segmenter`."""

    name: str
    origin: Mapping[str, object]
    known_words: tuple[str, ...] = ()
    """What it was trained on or taught, where its file or repository says so."""
    known_background: str | None = None
    """The word among them that means "none of the others"."""

    def shareable(self, *, weights: bool | None = None) -> ShareableModel:
        """The model as files and facts.

        Args:
            weights: upload the network's weights; None: unless they are those that ship with segvoc.

        Raises:
            UsageError: it can't be shared as it is.
        """
        raise UsageError(
            f"{self.name!r} is exported programs; share the preset, file or run that it was exported from: "
            "segvoc push RUN owner/name"
        )

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, license: str | None = None, weights: bool | None = None
    ) -> None:
        """Write what `push_to_hub` uploads into a folder, which `segvoc.load` takes.

        Args:
            folder: a new folder, or an empty one.
            license: see `push_to_hub`.
            weights: see `push_to_hub`.

        Raises:
            UsageError: the model can't be shared as it is, or the hub's client, which writes the card, isn't installed.
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

        `segvoc push RUN owner/name` does the same for the folder of a run, whose card also has data, curves and images.

        Args:
            repository: owner/name; it is created if there is none.
            private: whether a new repository is private; None: as its owner's are by default.
            token: a token with write access; None: HF_TOKEN, or that of `hf auth login`.
            revision: branch to write to, created if there is none; None: the main branch.
            license: SPDX identifier of the license that you give the model, for the card.
            weights: upload the network's weights; None: unless they are those of `tiny` that ship with segvoc, for
                which the taught words alone are enough.
            keep_card: leave the repository's own card as it is.

        Returns:
            The address of the repository.

        Raises:
            UsageError: the name is no repository's, there is nothing to share, the network isn't a preset's, its
                weights were rounded, or the hub's client isn't installed.
            CheckpointError: the hub can't be reached, or refuses.
            OutputError: a temporary file can't be written.
        """
        found = self._shareable(weights, license)
        return found.upload(repository, private=private, token=token, revision=revision, keep_card=keep_card)

    def _shareable(self, weights: bool | None, license: str | None) -> ShareableModel:
        found = self.shareable(weights=weights)
        words = tuple(dict.fromkeys((*self.known_words, *found.facts.words)))
        facts = replace(found.facts, license=license, words=words, background=self.known_background)
        return replace(found, facts=facts)
