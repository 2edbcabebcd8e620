"""Sharing a model: its files in a folder, its card, and their upload to the Hugging Face hub."""

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segvoc.checkpoints.hub import (
    CARD,
    CONFIG,
    LIBRARY,
    SHARED_WEIGHTS,
    WORDS_SUFFIX,
    HubRepository,
    SharedModel,
    Token,
)
from segvoc.errors import UsageError, counted
from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.inference.segmenter import Segmenter
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.runtime.suggestions import checked_call
from segvoc.runtime.version import __version__
from segvoc.storage.atomic_writes import write_bytes
from segvoc.storage.files import write_json
from segvoc.storage.records import to_json

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard

    from segvoc.models.network_segmenter import NetworkSegmenter

TINY = "the network `tiny` of segvoc (EfficientNet-Lite2 and MiniLM)"
LEAST_SCORED = 10
"""Images from which scores are in the card's metadata."""

SHIPPED_WEIGHTS = "the weights of `tiny`, which ship with segvoc"


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """Scores on held-out images, in percent; None: not measured."""

    title: str
    """What was measured, a sentence without its period."""
    data: str
    images: int
    """Number of held-out images."""
    columns: tuple[str, str] = ("before", "this model")
    """What the two scores of each row are."""
    miou: tuple[float | None, float | None]
    accuracy: tuple[float | None, float | None]
    """Share of pixels that are labeled right."""
    words: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """IoU of each word."""

    @property
    def are_few(self) -> bool:
        """Whether the images are too few to rely on the scores."""
        return self.images < LEAST_SCORED

    def results(self) -> "list[EvalResult]":
        """The scores as the hub's metadata, which heads the card; those of few images are left out."""
        if self.are_few:
            return []
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
        pixels, shown = sum(word.pixels for word in learned), counted(images, "labeled image")
        tuned = any(record.pyramid_channels for record in records)
        return cls(
            base=base,
            network=network,
            made=f"fine-tuned on {shown}" if tuned else f"taught {len(words)} words from {shown}, without training it",
            taught=taught,
            licenses=licenses,
            data={"images": f"{images}", "words": ", ".join(words), "labeled pixels": f"{pixels:,}"},
            training={"made with": f"segvoc {records[-1].segvoc}"},
            scores=tuple(
                ScoreTable(
                    title=f"Measured on {counted(record.images, 'image')}, "
                    "each held out while it learned from the others",
                    data="the images it was taught from",
                    images=record.images,
                    columns=("zero-shot", "this model"),
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


def shareable(model: Segmenter, *, weights: bool | None = None) -> ShareableModel:
    """The files and facts of a model; see `push` for `weights` and the errors."""
    record = model.origin.get("record")  # only exported models with the shipped weights have a record
    if not isinstance(model, ExportedSegmenter):
        from segvoc.models.loading import require_network  # here, since PyTorch takes seconds to import

        files = _shareable_network(require_network(model, "share"), weights)
    elif model.origin.get("preset") == "tiny" and isinstance(record, Mapping) and not weights:
        files = ShareableModel.of_taught("tiny", TINY, model.taught, {SHIPPED_WEIGHTS: str(record.get("license", ""))})
    else:
        raise UsageError(
            f"{model.name!r} is exported programs; share the preset, file or run that it was exported from: "
            "segvoc push RUN owner/name"
        )
    return replace(files, words=model.own_words, background=model.own_background)


def _shareable_network(model: "NetworkSegmenter", weights: bool | None) -> ShareableModel:
    """A network's files: taught words without weights are checked against the published ones when loaded."""
    from segvoc.models.conversion import save
    from segvoc.models.headers import TRAINING
    from segvoc.models.presets import find_preset
    from segvoc.models.weights import has_shipped_weights, is_custom

    built, taught = model.origin, model.taught
    if "preset" not in built or is_custom(model.network, built):
        raise UsageError(
            f"{model.name!r} is a custom network, which can't be loaded without its code; share its file beside the "
            "code yourself"
        )
    base = str(built["preset"])
    preset, shipped, write = find_preset(base), has_shipped_weights(base, model.network), None
    if not shipped if weights is None else weights:
        write = partial(save, model, origin="shared from segvoc")
    elif not shipped and not (taught and preset.published):
        raise UsageError(f"{model.name!r} has unpublished weights, or no taught words; share its weights too")
    training = built.get(TRAINING)
    trained: Mapping[str, Any] = training if isinstance(training, dict) else {}
    network = TINY if base == "tiny" else f"the network `{base}` of segvoc ({preset.summary})"
    licenses = {SHIPPED_WEIGHTS: str(preset.read_record().get("license", ""))} if preset.shipped else {}
    for file in trained.get("started_from", []):
        if not preset.shipped or file.get("filename") not in preset.shipped:
            terms = str(file.get("license", "not known"))
            licenses[f"the weights that training started from, {file.get('filename', 'a file')}"] = terms
    files = ShareableModel.of_taught(base, network, taught, licenses)
    made = "trained further" if trained and not shipped and not files.made else files.made
    return replace(files, made=made, write_weights=write, taught=taught if shipped or write is None else ())


@checked_call
def push(
    model: Segmenter | ShareableModel,
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
        model = shareable(model, weights=weights)
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
