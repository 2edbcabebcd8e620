"""The manifest of an exported folder: `segvoc.json`."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from segvoc.encoders.lexicon import Lexicon
from segvoc.encoders.prompt_tokenizer import UnknownBy
from segvoc.errors import CheckpointError, UsageError, one_line
from segvoc.inference.engine import PLAIN, ModelTraits
from segvoc.inference.protocols import Protocols
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.storage.atomic_writes import folder_in_the_making
from segvoc.storage.files import file_sha256
from segvoc.storage.records import check_amounts, from_json, leaves, to_json

MANIFEST = "segvoc.json"
"""Name of the manifest, which marks a folder as an exported model."""

ExportFormat = Literal["onnx", "triton"]
"""Output format: ONNX programs, or a Triton model repository of them."""

ExportDtype = Literal["float32", "float16", "int8"]
"""Precision of most weights; "float16" also computes in float16, "int8" in float32."""

DECISION_PROGRAMS = ("words", "differ", "offsets", "colors", "pixels")
"""The functions of `segvoc.inference.decision` as programs: `competition`, `differ`, the offsets of the confidence,
where it was fitted, `color_names`, where colors are compared, and `decide`."""

FOLDER_FORMAT = 1
"""Version of the folder's layout."""

MAX_VIEW = 65_535
"""Maximum side of a view [px]."""


@dataclass(frozen=True, kw_only=True)
class TextPart:
    """How words become embeddings."""

    program: str
    tokenizer: str
    """File of the tokenizer, for the library `tokenizers`."""
    max_tokens: int
    """Tokens of the longest prompt, including start and end."""
    padding: int
    unknown_by: UnknownBy
    """How to recognize words that the encoder doesn't know."""
    templates: tuple[str, ...]
    """Prompt templates; `{}` stands for the word."""
    average: bool
    """Whether a word has a single embedding, the mean over the templates."""
    unit_length: bool
    whole: bool = False
    """Whether to pad prompts to `max_tokens`, because the encoder attends to the padding."""


@dataclass(frozen=True, kw_only=True)
class WordsProgram:
    """A program from features and words to logits."""

    pooling: tuple[int, int]
    """Cells over which class aggregation pools."""
    program: str
    apart: tuple[str, str] | None = None
    """Files of the program's two halves (the second runs for a few classes at a time); see `WordsApart`."""


@dataclass(frozen=True, kw_only=True)
class ExportManifest(ModelTraits):
    """Everything about an exported model except its programs."""

    name: str
    dtype: ExportDtype
    image: str
    """File of the program from pixels to features; like all files, by its path in the folder."""
    stride: int
    """Sides of its input are multiples of this [px]."""
    smallest: int
    """Minimum side of its input [px]."""
    words: tuple[WordsProgram, ...]
    """The programs from features and words to logits, one for each pooling."""
    text: TextPart | None
    """How words become embeddings; None for a folder with a fixed vocabulary."""
    lexicon: Lexicon
    """What the words mean."""
    decision_programs: Mapping[str, str]
    """Files of the decision as programs, by `DECISION_PROGRAMS`: what other runtimes decide pixels with."""
    vocabulary: tuple[str, ...]
    """The fixed vocabulary; empty if words are free."""
    embeddings: str | None
    """File of the embeddings of the fixed vocabulary, followed by `Decision.unasked` (NumPy's .npz)."""
    protocols: Protocols
    origin: Mapping[str, Any]
    """Origin of the weights: the preset and its configuration; for shipped weights also sources and licenses."""
    files: Mapping[str, Mapping[str, Any]]
    """Size ("bytes") and "sha256" of every other file of the folder."""
    taught: tuple[str, ...] = ()
    """Files of taught words, applied at load; if a word is in several, the last counts."""
    known_words: tuple[str, ...] = ()
    """Words that the model was trained on, if its file or repository lists them."""
    known_background: str | None = None
    """The word among them that means "none of the others"."""

    @property
    def program_files(self) -> tuple[str, ...]:
        """Files of all programs."""
        text = () if self.text is None else (self.text.program,)
        return (self.image, *(words.program for words in self.words), *text, *self.decision_programs.values())

    @property
    def files_apart(self) -> tuple[str, ...]:
        """Files of the halves of split programs."""
        return tuple(name for words in self.words for name in words.apart or ())

    def renamed(self, names: Mapping[str, str]) -> "ExportManifest":
        """Rename programs and tokenizer, by their old names."""

        def new(name: str) -> str:
            return names.get(name, name)

        words = [
            replace(words, program=new(words.program), apart=words.apart and (*map(new, words.apart),))
            for words in self.words
        ]
        text = self.text and replace(self.text, program=new(self.text.program), tokenizer=new(self.text.tokenizer))
        programs = {name: new(file) for name, file in self.decision_programs.items()}
        return replace(self, image=new(self.image), words=tuple(words), text=text, decision_programs=programs)

    def to_json(self) -> str:
        """The text of `segvoc.json`."""
        return json.dumps({"format": FOLDER_FORMAT} | to_json(self), indent=1, ensure_ascii=False) + "\n"

    def write(self, folder: Path) -> None:
        """Write `segvoc.json` for the files that a folder has now."""
        files = {
            path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path != folder / MANIFEST
        }
        (folder / MANIFEST).write_text(replace(self, files=files).to_json(), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "ExportManifest":
        """Read `segvoc.json`; raises `CheckpointError` if it is damaged, unreadable, or of a newer segvoc."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record.pop("format") != FOLDER_FORMAT:
                raise CheckpointError(f"{str(path)!r} has another format; install a newer segvoc")
            manifest = from_json(cls, record)
            if missing := vars(PLAIN).keys() - record.keys():  # their defaults are those of other models
                raise UsageError(f"{min(missing)!r} is missing")
            # files may have more bytes than an amount, and weights may be negative
            check_amounts(replace(manifest, origin={}, files={}, decision=replace(manifest.decision, confidence=None)))
            manifest._check_sizes(path.name)
            return manifest
        except CheckpointError:
            raise
        except OSError as error:
            raise CheckpointError(f"{str(path)!r} can't be read: {error.strerror or error}") from None
        except (UsageError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{str(path)!r} is damaged ({one_line(error)}); export the model again") from None

    def _check_sizes(self, place: str) -> None:
        """Check for numbers that can't be computed with."""
        sizes: list[tuple[str, Any]] = [("stride", self.stride), ("smallest", self.smallest)]
        for window, protocol in self.protocols.items():
            if all(words.pooling != protocol.pooling for words in self.words):
                raise UsageError(f"no program pools as {window} does, over {protocol.pooling} cells")
            if protocol.selection is not None and (protocol.selection.owners or protocol.selection.classes):
                raise UsageError(f"{window} selects given classes, but the words are free")
            # 0 is the loader's size; selection is limited by the number of words
            steps = replace(protocol, size=protocol.size or 1, selection=None)
            sizes += leaves(to_json(steps), window)
        for name, number in sizes:
            if isinstance(number, int | float) and not 1 <= number <= MAX_VIEW and not isinstance(number, bool):
                raise UsageError(f"{name}={number} is out of range; give a number from 1 to {MAX_VIEW}")
        if not self.protocols or (self.text is None) == (self.embeddings is None):
            raise UsageError(f"{place} has no test protocol, or not one way to words")
        if self.text is not None and (self.text.max_tokens < 2 or not self.text.templates):
            raise UsageError(f"{place} has no templates, or prompts of {self.text.max_tokens} tokens")

    def check_files(self, folder: Path) -> None:
        """Raise `CheckpointError` if a file is missing, was modified, or is outside the folder (also by a link)."""
        others = [name for name in (self.text and self.text.tokenizer, self.embeddings) if name is not None]
        for name in (*self.files, *self.program_files, *self.files_apart, *others, *self.taught):
            parts = re.split(r"[/\\]", name) if isinstance(name, str) else [".."]  # of any system's paths
            if any(part in ("", ".", "..") or ":" in part or "\0" in part for part in parts):
                raise CheckpointError(f"{str(folder)!r} names {name!r}, a file outside of it; it was tampered with")
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise CheckpointError(
                    f"{str(folder / name)!r} is a link to outside the folder; put the file itself there"
                )
        for name, expected in self.files.items():
            path = folder / name
            if not path.is_file():
                raise CheckpointError(f"{str(path)!r} is missing; export the model again")
            if path.stat().st_size != expected.get("bytes") or file_sha256(path) != expected.get("sha256"):
                raise CheckpointError(f"{str(path)!r} is not what was exported; export the model again")


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Whether a path is an exported folder."""
    # unlike pathlib, this accepts text of any length
    return os.path.isfile(os.path.join(path, MANIFEST))


@contextmanager
def export_in_the_making(out: Path) -> Iterator[Path]:
    """Like `folder_in_the_making`, for a folder that is new, empty, or an earlier export; else `UsageError`."""
    if out.exists() and not is_exported(out) and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{str(out)!r} exists and is not an exported model; name another folder")
    with folder_in_the_making(out) as folder:
        yield folder


def add_taught(folder: Path, taught: Sequence[TaughtWords]) -> None:
    """Write taught words to an exported folder without any, and list them in its manifest."""
    if not taught:
        return
    names = tuple(f"taught_{number}.words.safetensors" for number in range(1, len(taught) + 1))
    for name, words in zip(names, taught, strict=True):
        words.save(folder / name)
    replace(ExportManifest.read(folder / MANIFEST), taught=names).write(folder)
