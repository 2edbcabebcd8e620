"""Sharing a model: its card, its files in a folder, and their upload to the Hugging Face hub."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segvoc.errors import CheckpointError, UsageError
from segvoc.sharing.hub import CARD, CONFIG, LIBRARY, SHARED_WEIGHTS, WORDS_SUFFIX, HubRepository, SharedModel, Token
from segvoc.storage.atomic_writes import write_atomically, write_bytes
from segvoc.storage.files import write_json
from segvoc.teaching.taught_words import TaughtWords, TeachingRecord
from segvoc.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard

CURVES = "curves.png"
"""Name of the card's image of training curves."""

TINY = "the network `tiny` of segvoc (EfficientNet-Lite2 and MiniLM)"
"""What `tiny` is, as `CardFacts.network`."""

SHIPPED_WEIGHTS = "the weights of `tiny`, which ship with segvoc"
"""What they are among `CardFacts.licenses`."""

SHOWN_WORDS = 12
"""Maximum number of words in the first paragraph."""

ASKED_WORDS = 4
"""Maximum number of words in example calls."""

CARD_IMAGES = "card"
"""Folder of the card's images."""


@dataclass(frozen=True)
class WordScore:
    """The score of a word."""

    name: str
    images: int | None = None
    """Number of training images with the word."""
    before: float | None = None
    """IoU before training [%]; None: not measured."""
    after: float | None = None


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """Scores on held-out images, in percent; None: not measured."""

    title: str
    """What was measured, as a sentence without its period."""
    data: str
    miou: float | None
    miou_before: float | None = None
    """Before training."""
    accuracy: float | None = None
    accuracy_before: float | None = None
    words: tuple[WordScore, ...] = ()
    columns: tuple[str, str] = ("before", "this model")
    """Headers of the two scores of a word."""


@dataclass(frozen=True, kw_only=True)
class CardImage:
    """An image of the card."""

    path: Path
    name: str
    """Its name beside the card."""
    caption: str


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """Facts about a model."""

    base: str
    network: str
    """What the preset is, after "It is", as Markdown."""
    made: str = ""
    """How the model was made from the preset, such as "fine-tuned on 24 labeled images"; empty if unchanged."""
    words: tuple[str, ...] = ()
    """The words that it was trained on or taught."""
    background: str | None = None
    """The word among them that means "none of the others"."""
    license: str | None = None
    """SPDX identifier of the model's license; None: not stated."""
    licenses: Mapping[str, str] = field(default_factory=dict)
    """Licenses of its components, by component."""
    source: str | None = None
    """Origin of the training images, in the author's words."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Rows about these images."""
    scores: tuple[ScoreTable, ...] = ()
    """Scores, the most telling first."""
    training: Mapping[str, str] = field(default_factory=dict)
    """Rows about how it was made."""
    shown: tuple[CardImage, ...] = ()


def _taught_scores(record: TeachingRecord) -> ScoreTable | None:
    """The scores of taught words on held-out images; None if there are none."""
    if record.miou is None:
        return None
    return ScoreTable(
        title="Measured on images that were held out while it learned from the others",
        data="the images it was taught by",
        miou=record.miou,
        miou_before=record.miou_before,
        accuracy=record.accuracy,
        accuracy_before=record.accuracy_before,
        words=tuple(
            WordScore(word.name, word.images, word.before, word.before if word.keeps_text else word.after)
            for word in record.words
        ),
        columns=("by text alone", "this model"),
    )


def taught_facts(base: str, network: str, taught: Sequence[TaughtWords], *, licenses: Mapping[str, str]) -> CardFacts:
    """The facts of a model with taught words from any number of files; see `CardFacts` for the arguments."""
    records = [one.record for one in taught]
    words = dict.fromkeys(word.name for record in records for word in record.words)
    images = sum(record.images for record in records)
    made, rows = "", dict[str, str]()
    if records:
        tuned = any(record.pyramid_channels for record in records)
        shown = f"{images} labeled image{'' if images == 1 else 's'}"
        made = f"fine-tuned on {shown}" if tuned else f"taught {len(words)} words by {shown}, without training it"
        pixels = sum(word.pixels for record in records for word in record.words)
        rows = {"images": f"{images}", "words": ", ".join(words), "labeled pixels": f"{pixels:,}"}
    return CardFacts(
        base=base,
        network=network,
        made=made,
        words=tuple(words),
        licenses=licenses,
        data=rows,
        scores=tuple(table for record in records if (table := _taught_scores(record)) is not None),
        training={"made with": f"segvoc {records[-1].segvoc}"} if records else {},
    )


@dataclass(frozen=True, kw_only=True)
class ShareableModel:
    """A model to share."""

    facts: CardFacts
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


def model_card(name: str, shared: SharedModel, facts: CardFacts, records: Sequence[str] = ()) -> "ModelCard":
    """The card of the model `name`, with its metadata for the hub; `records` are files about how it was made."""
    from huggingface_hub import ModelCard, ModelCardData

    title, source = name.rpartition("/")[2], {"source": facts.source} if facts.source else {}
    results = [result for table in facts.scores for result in _results(table)]
    data = ModelCardData(
        license=None if facts.license is None else facts.license.lower(),
        library_name=LIBRARY,
        pipeline_tag="image-segmentation",
        tags=["open-vocabulary", "semantic-segmentation", *(["fine-tuned"] if facts.words else [])],
        metrics=["mean_iou"] if results else None,
        model_name=title if results else None,
        eval_results=results or None,
    )
    sections = [
        f"# {title}",
        _introduction(facts),
        *(f"![{one.caption}]({CARD_IMAGES}/{one.name})  \n*{one.caption}*" for one in facts.shown),
        "## Use it",
        _use(name, shared, facts),
        *(["## Scores", *(_scores(table) for table in facts.scores)] if facts.scores else []),
        *(["## Data", _rows({**source, **facts.data})] if facts.data else []),
        *(["## Training", _rows(facts.training)] if facts.training else []),
        "## License",
        _license(facts),
        "## Files",
        _files(shared, records),
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n")


def _results(table: ScoreTable) -> "Iterable[EvalResult]":
    """The scores as the hub's metadata."""
    from huggingface_hub import EvalResult

    values = {"mean_iou": ("mean IoU [%]", table.miou), "accuracy": ("pixel accuracy [%]", table.accuracy)}
    for metric, (label, value) in values.items():
        if value is not None:
            yield EvalResult(
                task_type="image-segmentation",
                dataset_type=re.sub(r"[^a-z0-9]+", "-", table.data.lower()).strip("-") or "custom",
                dataset_name=table.data,
                metric_type=metric,
                metric_name=label,
                metric_value=round(value, 2),
            )


def _introduction(facts: CardFacts) -> str:
    made = f", {facts.made}" if facts.made else ""
    text = f"This model labels every pixel of an image with words that you choose. It is {facts.network}{made}."
    named = [word for word in facts.words if word != facts.background]
    if named:
        shown = ", ".join(f"*{_plain(word)}*" for word in named[:SHOWN_WORDS])
        more = f" and {len(named) - SHOWN_WORDS} more" if len(named) > SHOWN_WORDS else ""
        text += f"\n\nIt knows {'this word' if len(named) == 1 else f'these {len(named)} words'} best: {shown}{more}."
        text += " Other words can be asked for too; the scores below say nothing of them."
    return text


def _use(name: str, shared: SharedModel, facts: CardFacts) -> str:
    named = [word for word in facts.words if word != facts.background] or ["cat", "sofa", "wall"]
    asked = named[:ASKED_WORDS] + ([facts.background] if facts.background else [])
    safe = [word for word in asked if not set(word) & set('",`\\')]
    words, listed = ", ".join(safe), ", ".join(f'"{word}"' for word in safe)
    flag = f' --background "{facts.background}"' if facts.background in safe else ""
    keyword = f', background="{facts.background}"' if facts.background in safe else ""
    light = shared.weights is None and shared.model == "tiny"
    install = 'pip install "segvoc[hub]"   # with PyTorch: segvoc[torch]' if light else 'pip install "segvoc[torch]"'
    return f"""```
{install}
segvoc segment photo.jpg --model {name} --words "{words}"{flag} --out out/
```

```python
import segvoc

model = segvoc.load("{name}")
result = model.segment("photo.jpg", [{listed}]{keyword})
result.overlay().show()
```"""


def _scores(table: ScoreTable) -> str:
    rows = [(_plain(word.name), word.images, word.before, word.after) for word in table.words]
    for label, before, after in (
        ("**mean IoU**", table.miou_before, table.miou),
        ("**pixels right**", table.accuracy_before, table.accuracy),
    ):
        if after is not None:
            rows.append((label, None, before, after))
    texts = [
        (name, "" if images is None else str(images), _percent(before), _percent(after))
        for name, images, before, after in rows
    ]
    header = ("word", "images", *table.columns)
    # columns without any value are left out
    kept = [column for column in range(4) if column in (0, 3) or any(row[column] is not None for row in rows)]
    cells = [[row[column] for column in kept] for row in (header, *texts)]
    title = f"{table.title}. Intersection over union of each word, in percent:"
    return f"{title}\n\n{_table(cells[0], cells[1:])}"


def _percent(score: float | None) -> str:
    return "–" if score is None else f"{score:.1f}"


def _license(facts: CardFacts) -> str:
    own = (
        f"Its author gives this model the license **{_plain(facts.license)}**."
        if facts.license
        else "Its author hasn't stated a license for this model."
    )
    parts = dict(facts.licenses)
    if facts.data:
        parts["the images that it learned from"] = "see Data" if facts.source else "not recorded; ask the author"
    if not parts:
        return own
    listed = "\n".join(f"- {what}: {_plain(license)}" for what, license in parts.items())
    return f"{own} What it is made from has licenses of its own:\n\n{listed}"


def _files(shared: SharedModel, records: Sequence[str]) -> str:
    rows = [["`config.json`", f"what the files are, written by segvoc {shared.version}"]]
    if shared.weights is not None:
        rows.append([f"`{shared.weights}`", f"the weights, for the network `{shared.model}`, with their configuration"])
    for file in shared.taught:
        use = f"; with segvoc's own `{shared.model}` and `--taught {file}` they work alone"
        rows.append([f"`{file}`", f"the taught words{use}"])
    rows += [[f"`{file}`", "how it was made: all settings, the data, the machine, scores"] for file in records]
    return _table(["file", "content"], rows)


def _rows(rows: Mapping[str, str]) -> str:
    return "\n".join(f"- **{what}**: {_plain(value)}" for what, value in rows.items())


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Escape user text for Markdown and tables."""
    for mark in "\\|*_`<>[]":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
