"""What an exported folder says of itself: `segvoc.json`."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from segvoc.encoders.prompt_tokenizer import UnknownBy
from segvoc.errors import CheckpointError, one_line
from segvoc.inference.background_words import BackgroundWords
from segvoc.inference.part_labels import PartsAgainst
from segvoc.inference.protocols import LoaderResize, Protocol, Protocols, Sliding, Strides, Tiles
from segvoc.selection_rules import MostSimilar, OwnQuarter, OwnShare, Votes
from segvoc.storage.digests import file_sha256
from segvoc.storage.field_types import check_types

MANIFEST = "segvoc.json"
"""Name of the file; a folder that holds one is an exported model."""

ProgramKind = Literal["onnx", "torch"]
"""What programs are: ONNX files, or archives of `torch.export`."""

FOLDER_FORMAT = 1
"""Version of the folder's layout."""

MAX_VIEW = 65_535
"""Longest side of a view [px]."""

_Record = TypeVar("_Record")

_SLIDING: Mapping[str, type[Sliding | Tiles | Strides]] = {"sliding": Sliding, "tiles": Tiles, "strides": Strides}
_OWN_SELECTIONS: Mapping[str, type[OwnShare | OwnQuarter]] = {"share": OwnShare, "quarter": OwnQuarter}


@dataclass(frozen=True, kw_only=True)
class TextPart:
    """How words become embeddings."""

    program: str
    """File of the text encoder's program."""
    tokenizer: str
    """File of the tokenizer, as the library `tokenizers` reads it."""
    max_tokens: int
    """Tokens of the longest prompt, including start and end."""
    padding: int
    """Token that fills short prompts."""
    unknown_by: UnknownBy
    """How words are recognized that the encoder doesn't know."""
    templates: tuple[str, ...]
    """Prompt templates; `{}` stands for the word."""
    average: bool
    """Whether a word has a single embedding, the mean over the templates."""
    unit_length: bool
    """Whether embeddings have unit length."""


@dataclass(frozen=True, kw_only=True)
class ExportManifest:
    """Everything about an exported model but its programs."""

    name: str
    """Name of the model in results."""
    dtype: str
    """Precision of most weights: "float32", "float16" or "int8"."""
    programs: ProgramKind
    """What the programs are."""
    image: str
    """File of the program from pixels to features, like all files by its path in the folder."""
    stride: int
    """Sides of its input are multiples of this [px]."""
    smallest: int
    """Smallest side of its input [px]."""
    words: Mapping[tuple[int, int], str]
    """Files of the programs from features and words to logits, by the cells over which class aggregation pools."""
    text: TextPart | None
    """How words become embeddings; None for a folder with a fixed vocabulary."""
    vocabulary: tuple[str, ...]
    """The fixed vocabulary; empty if words are free."""
    embeddings: str | None
    """File of the fixed vocabulary's embeddings (NumPy's .npz)."""
    protocols: Protocols
    """Test protocols, one for each window."""
    selects: bool
    """Whether the programs select classes."""
    has_parts: bool
    """Whether words are sorted into objects and parts first."""
    has_background: bool
    """Whether the network predicts a map for "none of the words"."""
    own_selection: OwnShare | OwnQuarter | None
    """Default class selection; None: the protocol's."""
    votes: Votes
    """How the cells of an image vote for classes."""
    parts_against: PartsAgainst
    """The rule by which a pixel gets a part."""
    background_words: BackgroundWords | None
    """Words that stand for the background."""
    origin: Mapping[str, Any]
    """Where the weights come from: the preset and its configuration, and for the shipped ones sources and licenses."""
    files: Mapping[str, Mapping[str, Any]]
    """Size ("bytes") and "sha256" of every other file of the folder."""

    @property
    def program_files(self) -> tuple[str, ...]:
        """Files of all programs."""
        return (self.image, *self.words.values(), *(() if self.text is None else (self.text.program,)))

    def _named_files(self) -> Iterator[str]:
        yield from self.program_files
        yield from (name for name in (self.text and self.text.tokenizer, self.embeddings) if name is not None)

    def renamed(self, names: Mapping[str, str]) -> "ExportManifest":
        """The same for programs and a tokenizer that have other names, by their names until now."""
        text = self.text
        return replace(
            self,
            image=names.get(self.image, self.image),
            words={pooling: names.get(program, program) for pooling, program in self.words.items()},
            text=None
            if text is None
            else replace(
                text,
                program=names.get(text.program, text.program),
                tokenizer=names.get(text.tokenizer, text.tokenizer),
            ),
        )

    def to_json(self) -> str:
        """The text of `segvoc.json`."""
        record = asdict(self) | {
            "words": [{"pooling": pooling, "program": program} for pooling, program in self.words.items()],
            "protocols": {window: _of_protocol(protocol) for window, protocol in self.protocols.items()},
            "own_selection": _tagged(self.own_selection, _OWN_SELECTIONS),
        }
        return json.dumps({"format": FOLDER_FORMAT} | record, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> "ExportManifest":
        """Read a folder's `segvoc.json`.

        Raises:
            CheckpointError: the file can't be read, is damaged, or was written by a newer segvoc.
        """
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["format"] != FOLDER_FORMAT:
                raise CheckpointError(f"{str(path)!r} has format {record['format']!r}; install a newer segvoc")
            if record["programs"] not in get_args(ProgramKind):
                raise CheckpointError(f"{str(path)!r} has programs {record['programs']!r}; install a newer segvoc")
            text, background = record["text"], record["background_words"]
            manifest = cls(
                **{name: record[name] for name in _PLAIN},
                words={tuple(entry["pooling"]): entry["program"] for entry in record["words"]},
                text=None if text is None else TextPart(**text | {"templates": tuple(text["templates"])}),
                vocabulary=tuple(record["vocabulary"]),
                protocols={window: _protocol(entry) for window, entry in record["protocols"].items()},
                own_selection=_untagged(record["own_selection"], _OWN_SELECTIONS),
                votes=Votes(**record["votes"]),
                background_words=None
                if background is None
                else BackgroundWords(**background | {"words": tuple(background["words"])}),
            )
            check_types(manifest, cls, path.name)
            manifest._check_sizes(path.name)
            return manifest
        except CheckpointError:
            raise
        except OSError as error:
            raise CheckpointError(f"{str(path)!r} can't be read: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{str(path)!r} is damaged ({one_line(error)}); export the model again") from None

    def _check_sizes(self, place: str) -> None:
        """Check what can't be computed with, although it is a number.

        Raises:
            TypeError: a number is out of range.
        """
        least: dict[str, float] = {"stride": self.stride, "smallest": self.smallest}
        for window, protocol in self.protocols.items():
            views = {} if protocol.sliding is None else asdict(protocol.sliding)
            loader = {} if protocol.loader is None else asdict(protocol.loader)
            plain = {name: getattr(protocol, name) for name in ("multiple", "squash", "max_aspect", "pad_to")}
            pooling = {"rows of pooling": protocol.pooling[0], "columns of pooling": protocol.pooling[1]}
            least |= {f"{name} of {window}": one for name, one in (views | loader | plain | pooling).items()}
            least |= {f"size of {window}": protocol.size or 1}
            if protocol.pooling not in self.words:
                raise TypeError(f"no program of {place} pools as {window} does, over {protocol.pooling} cells")
            # a side longer than that of any image that is read
            most = max(protocol.size, protocol.multiple, protocol.pad_to, *views.values(), *loader.values(), 0)
            if most > MAX_VIEW:
                raise TypeError(f"a side of {window} in {place} is {most} pixels")
        for name, number in least.items():
            if number < 1:
                raise TypeError(f"{name} in {place} is {number}")
        if not self.protocols or (self.text is None) == (self.embeddings is None):
            raise TypeError(f"{place} has no test protocol, or not one way to words")
        if self.text is not None and (self.text.max_tokens < 2 or not self.text.templates):
            raise TypeError(f"{place} has no templates, or prompts of {self.text.max_tokens} tokens")

    def check_files(self, folder: Path) -> None:
        """Check that all files of a folder are there and whole.

        Raises:
            CheckpointError: a file is missing, differs from what was exported, or isn't in the folder; also by a link.
        """
        for name in (*self.files, *self._named_files()):
            if not _is_inside(name):
                raise CheckpointError(f"{str(folder)!r} names {name!r}, a file outside of it; it was tampered with")
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise CheckpointError(f"{str(folder / name)!r} is a link out of the folder; put the file itself there")
        for name, expected in self.files.items():
            path = folder / name
            if not path.is_file():
                raise CheckpointError(f"{str(path)!r} is missing; export the model again")
            if path.stat().st_size != expected.get("bytes") or file_sha256(path) != expected.get("sha256"):
                raise CheckpointError(f"{str(path)!r} is not what was exported; export the model again")


_PLAIN = (
    "name", "dtype", "programs", "image", "stride", "smallest", "embeddings", "selects", "has_parts", "has_background",
    "parts_against", "origin", "files",
)  # fmt: skip


def _is_inside(name: object) -> bool:
    """Whether a file's name, which a stranger may have written, stays in its folder on any system."""
    parts = re.split(r"[/\\]", name) if isinstance(name, str) else [".."]
    return not any(part in ("", ".", "..") or ":" in part or "\0" in part for part in parts)


def described_files(folder: Path) -> dict[str, dict[str, object]]:
    """Size and digest of every file in a folder and below it, as the manifest keeps them."""
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Whether a path is an exported folder."""
    # unlike pathlib's, this answers for any text, however long
    return os.path.isfile(os.path.join(path, MANIFEST))


def _of_protocol(protocol: Protocol) -> dict[str, Any]:
    plain = {field.name: getattr(protocol, field.name) for field in fields(protocol)}
    selection = protocol.selection
    if selection is not None and not isinstance(selection, MostSimilar):
        raise ValueError(f"a protocol that selects classes by {selection} can't be exported")
    return plain | {
        "loader": None if protocol.loader is None else asdict(protocol.loader),
        "sliding": _tagged(protocol.sliding, _SLIDING),
        "selection": None if selection is None else asdict(selection),
    }


def _protocol(record: Mapping[str, Any]) -> Protocol:
    changed = {
        "loader": None if record["loader"] is None else LoaderResize(**record["loader"]),
        "sliding": _untagged(record["sliding"], _SLIDING),
        "selection": None if record["selection"] is None else MostSimilar(**record["selection"]),
        "pooling": tuple(record["pooling"]),
    }
    return Protocol(**{**record, **changed})


def _tagged(value: object, kinds: Mapping[str, type[Any]]) -> dict[str, Any] | None:
    """The fields of a dataclass instance, and which one it is."""
    if value is None:
        return None
    (kind,) = (name for name, cls in kinds.items() if type(value) is cls)
    return {"kind": kind} | asdict(value)  # pyright: ignore[reportArgumentType]


def _untagged(record: Mapping[str, Any] | None, kinds: Mapping[str, type[_Record]]) -> _Record | None:
    if record is None:
        return None
    return kinds[record["kind"]](**{name: value for name, value in record.items() if name != "kind"})
