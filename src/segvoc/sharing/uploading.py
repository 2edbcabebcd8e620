"""Sharing a model: its card, its files in a folder, and their upload to the Hugging Face hub."""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from segvoc.errors import UsageError
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.runtime.version import __version__
from segvoc.sharing.hub import CARD, CONFIG, LIBRARY, SHARED_WEIGHTS, WORDS_SUFFIX, HubRepository, SharedModel, Token
from segvoc.storage.atomic_writes import write_bytes
from segvoc.storage.files import write_json

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard

CARD_IMAGES = "card"
"""Folder of the card's images."""

TEMPLATE = Path(__file__).with_name("card.md")

TINY = "the network `tiny` of segvoc (EfficientNet-Lite2 and MiniLM)"
"""What `tiny` is, as `ShareableModel.network`."""

SHIPPED_WEIGHTS = "the weights of `tiny`, which ship with segvoc"
"""What they are among `ShareableModel.licenses`."""


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """Scores on held-out images, in percent; None: not measured."""

    title: str
    """What was measured, as a sentence without its period."""
    data: str
    columns: tuple[str, str] = ("before", "this model")
    """What the two scores of each row are."""
    miou: tuple[float | None, float | None]
    accuracy: tuple[float | None, float | None]
    """Share of pixels that are labeled right."""
    words: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """IoU of each word."""

    def results(self) -> "Iterator[EvalResult]":
        """The scores as the hub's metadata."""
        from huggingface_hub import EvalResult

        data = re.sub(r"[^a-z0-9]+", "-", self.data.lower()).strip("-") or "custom"
        values = {"mean_iou": ("mean IoU [%]", self.miou), "accuracy": ("pixel accuracy [%]", self.accuracy)}
        for metric, (label, (_, value)) in values.items():
            if value is not None:
                yield EvalResult("image-segmentation", data, self.data, metric, round(value, 2), metric_name=label)


@dataclass(frozen=True, kw_only=True)
class ShareableModel:
    """A model to share, and what its card says."""

    base: str
    """The preset."""
    network: str
    """What the preset is, after "It is", as Markdown."""
    made: str = ""
    """How the model was made from the preset, such as "fine-tuned on 24 labeled images"; empty if unchanged."""
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
        """A preset with taught words from any number of files."""
        if not taught:
            return cls(base=base, network=network, licenses=licenses)
        records = [one.record for one in taught]
        words = tuple(dict.fromkeys(word.name for record in records for word in record.words))
        pixels = sum(word.pixels for record in records for word in record.words)
        images = sum(record.images for record in records)
        shown = f"{images} labeled image{'' if images == 1 else 's'}"
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
        numbers = [""] if len(self.taught) == 1 else [f"_{number}" for number in range(1, len(self.taught) + 1)]
        taught = {f"taught{number}{WORDS_SUFFIX}": words for number, words in zip(numbers, self.taught, strict=True)}
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
            card = str(self.card(name, shared))
        if self.write_weights is not None:
            self.write_weights(folder / SHARED_WEIGHTS)
        for file, words in taught.items():
            words.save(folder / file)
        for file, record in {**self.records, CONFIG: shared.to_config()}.items():
            write_json(folder / file, record)
        for file, (path, _) in self.shown.items():
            write_bytes(folder / CARD_IMAGES / file, path.read_bytes())
        write_bytes(folder / CARD, card.encode())

    def card(self, name: str, shared: SharedModel) -> "ModelCard":
        """The card, with its metadata for the hub."""
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
        return ModelCard.from_template(metadata, template_path=str(TEMPLATE), **values, plain=_plain)


def _plain(text: str) -> str:
    """Escape user text for Markdown and tables."""
    return " ".join(re.sub(r"([\\|*_`<>\[\]])", r"\\\1", text).split())


class Shareable(Protocol):
    """What `push` asks of a model; a `Segmenter` is one."""

    name: str
    known_words: tuple[str, ...]
    """The words that it was trained on or taught, if its file or repository lists them."""
    known_background: str | None
    """The word among them that means "none of the others"."""

    def shareable(self, *, weights: bool | None = None) -> ShareableModel:
        """The model's files and facts."""
        ...


def push(
    model: Shareable | ShareableModel,
    repository: str,
    *,
    private: bool | None = None,
    token: Token = None,
    revision: str | None = None,
    license: str | None = None,
    weights: bool | None = None,
    keep_card: bool = False,
    out: str | os.PathLike[str] | None = None,
) -> str:
    """Upload a model to the Hugging Face hub, with its taught words and a card, for `segvoc.load("owner/name")`.

    `segvoc push RUN owner/name` does the same for a run folder, whose card also has data, curves and images.

    Args:
        model: what `segvoc.load` returns.
        repository: owner/name; created if missing.
        private: whether a new repository is private; None: the owner's default.
        token: a token with write access; None: HF_TOKEN, or `hf auth login`.
        revision: branch to write to, created if missing; None: the main branch.
        license: SPDX identifier of the model's license, for the card.
        weights: upload the network's weights; None: unless they are `tiny`'s shipped weights, for which the taught
            words are enough.
        keep_card: keep the repository's existing card.
        out: write the files to this new folder, which `segvoc.load` accepts, and upload nothing.

    Returns:
        The URL of the repository, or `out`.

    Raises:
        UsageError: the repository name is invalid, there is nothing to share, the network isn't a preset's, its
            weights were rounded, or huggingface_hub isn't installed.
        CheckpointError: the hub can't be reached, or rejects the upload.
        OutputError: a file can't be written.
    """
    place = HubRepository.of(repository, token=token)
    if place is None or place.revision is not None:
        raise UsageError(f"{repository!r} is not a repository name; give owner/name, and the branch as revision")
    if not isinstance(model, ShareableModel):
        files = model.shareable(weights=weights)
        words = tuple(dict.fromkeys((*model.known_words, *files.words)))
        model = replace(files, words=words, background=model.known_background)
    model = replace(model, license=license)
    if out is not None:
        model.write(Path(out), repository)
        return os.fspath(out)
    with tempfile.TemporaryDirectory(prefix="segvoc-share-") as folder:
        model.write(Path(folder), repository)
        with place.explained("write"):
            from huggingface_hub import HfApi

            api = HfApi(library_name=LIBRARY, library_version=__version__, token=token)
            address = str(api.create_repo(repository, private=private, exist_ok=True))
            if revision is not None:
                api.create_branch(repository, branch=revision, exist_ok=True)
            images = f"{CARD_IMAGES}/*"
            api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                revision=revision,
                ignore_patterns=[CARD, images] if keep_card else None,
                delete_patterns=[SHARED_WEIGHTS, f"taught*{WORDS_SUFFIX}", *([] if keep_card else [images])],
                commit_message=f"Share a model of segvoc {__version__}",
            )
    return address
