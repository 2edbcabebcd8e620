"""The segmenter that runs an exported model with ONNX Runtime, without PyTorch."""

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float32, Int, Int64

from segvoc.encoders.lexicon import Lexicon
from segvoc.encoders.prompt_tokenizer import PromptTokenizer
from segvoc.encoders.prompts import PartWordEncoder, PartWords
from segvoc.encoders.word_encoder import EncodedWords, PromptedWordEncoder, WordEncoder
from segvoc.errors import CheckpointError, UsageError
from segvoc.inference.decision import Decision
from segvoc.inference.engine import EncoderIdentity
from segvoc.inference.exported.manifest import MANIFEST, ExportManifest, TextPart, WordsProgram
from segvoc.inference.onnx_program import OnnxProgram, RunProgram, WordsApart
from segvoc.inference.protocols import Protocol
from segvoc.inference.segmenter import Segmenter
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.layers.selection import ClassSelection
from segvoc.storage.files import digest_of
from segvoc.vocabulary import Vocabulary
from segvoc.vocabulary.names import folded


class ExportedSegmenter(Segmenter):
    """Labels images with an exported model, on a CPU, without the code of its network.

    Args:
        folder: the exported folder.
        manifest: name of its manifest.
        threads: number of threads of ONNX Runtime; 0: OMP_NUM_THREADS, or one per core.

    Raises:
        CheckpointError: the folder is damaged, or its words were taught to another model.
    """

    def __init__(self, folder: str | os.PathLike[str], *, manifest: str = MANIFEST, threads: int = 0) -> None:
        self.folder = Path(folder)
        self.manifest = about = ExportManifest.read(self.folder / manifest)
        about.check_files(self.folder)
        self._threads = threads
        self._image = self._opened(about.image)
        self._words = {words.pooling: self._opened_words(words) for words in about.words}
        super().__init__(
            name=about.name, protocols=about.protocols, encode_words=self._encoder(), traits=about, origin=about.origin
        )
        self.image_encoder = EncoderIdentity(lambda: digest_of(about.to_json()))
        if about.taught:
            self.taught = self.with_taught(*(TaughtWords.load(self.folder / name) for name in about.taught)).taught
        self.known_words, self.known_background = about.known_words, about.known_background

    @property
    def own_words(self) -> tuple[str, ...]:
        """The fixed words, or those that the model was trained on and taught."""
        return self.manifest.vocabulary or super().own_words

    @property
    def dtype(self) -> str:
        """Precision of most weights: "float32", "float16" or "int8"."""
        return self.manifest.dtype

    def encode_views(
        self, pixels: Float32[np.ndarray, "N 3 H W"], *, complete: bool = True
    ) -> Mapping[str, np.ndarray]:
        """Run the program for images, which may not be smaller than it supports; see `Engine.encode_views`."""
        del complete  # a program has all
        smallest = self.manifest.smallest
        if min(pixels.shape[2:]) < smallest:
            squares = (
                window for window, protocol in self.protocols.items() if protocol.size and protocol.max_aspect == 1
            )
            raise UsageError(
                f"{self.name} was exported for views of {smallest} px or more; "
                f"window={next(squares, 'single')!r} gives them"
            )
        return self._image({"pixels": pixels})

    def compare(
        self, features: Mapping[str, np.ndarray], text: EncodedWords, protocol: Protocol
    ) -> tuple[Float32[np.ndarray, "N P h w"], Int[np.ndarray, "N P"] | None]:
        """Run the program for words; see `Engine.compare`."""
        inputs, views = dict(features), len(next(iter(features.values())))
        if self.manifest.has_parts:
            if protocol.selection is not None:
                raise UsageError("part networks don't support class selection; leave out keep_classes, or give 'all'")
            inputs |= part_inputs(cast(PartWords, text))
        else:
            words, selection = cast(np.ndarray, text), protocol.selection
            if selection is not None and selection.classes is not None:  # words are inputs: just leave out the others
                words, selection = words[list(selection.classes)], None
            inputs["words"] = words
            if self.traits.selects:
                inputs |= selection_inputs(selection, len(words))
        outputs = self._words[protocol.pooling](inputs)
        if protocol.selection is not None and protocol.selection.classes is not None:
            return outputs["logits"], np.tile(np.array(protocol.selection.classes, np.int64), (views, 1))
        # ONNX Runtime's integers are C's `long long`, NumPy's are `long`
        return outputs["logits"], None if protocol.selection is None else outputs["kept"].view(np.int64)

    def _opened(self, file: str) -> RunProgram:
        return OnnxProgram(self.folder / file, self._threads)

    def _opened_words(self, words: WordsProgram) -> RunProgram:
        if words.apart is None:
            return self._opened(words.program)
        shared, each = words.apart
        return WordsApart(self._opened(shared), OnnxProgram(self.folder / each, threads=1), self._threads)

    def _encoder(self) -> WordEncoder:
        about = self.manifest
        if about.text is None:
            return FixedWords(fixed_words(about.vocabulary, about.decision), self.folder, about)
        program, tokenizer = self._opened(about.text.program), self.folder / about.text.tokenizer
        digest = digest_of(about.to_json(), f"onnxruntime {version('onnxruntime')}")
        encoder = ExportedWordEncoder(program, tokenizer, about.text, about.lexicon, digest)
        return PartWordEncoder(encoder) if about.has_parts else encoder


def selection_inputs(selection: ClassSelection | None, words: int) -> dict[str, Any]:
    """Convert class selection (None keeps all) to inputs of a program, for so many words."""
    selection = selection or ClassSelection()
    objects = words - len(selection.owners)
    pairs = [(objects + at, owner) for at, owners in enumerate(selection.owners) for owner in owners]
    part, owner = ([pair[i] for pair in pairs] or [0] for i in (0, 1))
    return {
        "least": np.int64(selection.number(objects)),
        "share": np.float64(selection.share or 0),
        "by_similarity": np.bool_(selection.by == "similarity"),
        "objects": np.int64(objects),
        "part": np.array(part, np.int64),
        "owner": np.array(owner, np.int64),
    }


class ExportedWordEncoder(PromptedWordEncoder):
    """Computes word embeddings with an exported text encoder and the tokenizer's file."""

    on_disk = True

    def __init__(self, program: RunProgram, tokenizer: Path, part: TextPart, lexicon: Lexicon, digest: str) -> None:
        super().__init__(part.templates, average=part.average, lexicon=lexicon)
        self.unit_length = part.unit_length
        self._program, self._digest = program, digest
        self._tokenizer = PromptTokenizer(
            tokenizer, max_tokens=part.max_tokens, padding=part.padding, unknown_by=part.unknown_by, whole=part.whole
        )

    @property
    def tokenizer(self) -> PromptTokenizer:
        """The text encoder's tokenizer."""
        return self._tokenizer

    def digest(self) -> str:
        """See `PromptedWordEncoder.digest`; the files of an exported model don't change."""
        return self._digest

    def embed(self, tokens: Int64[np.ndarray, "N L"]) -> Float32[np.ndarray, "N C"]:
        """Run the text encoder on the token ids of N prompts."""
        return self._program({"tokens": tokens})["embeddings"]


def part_inputs(words: PartWords) -> dict[str, np.ndarray]:
    """Convert words to inputs of a program, which gets a dummy part if there are no parts of objects."""
    # the program's logits: generic parts, objects, "no object", parts of objects, "no part"
    none = len(words.general)
    if not words.names_objects and len(words.specific):
        none += 1 + len(words.specific)
    places = words.places + words.parts + (words.places >= len(words.general) - words.parts)
    has_parts, first = len(words.specific) > 0, np.zeros(1, np.int64)
    return {
        "general": words.general,
        "specific": words.specific if has_parts else words.general[:1],
        "part_of": words.part_of if has_parts else first,
        "object_of": words.object_of if has_parts else first,
        "places": np.where(words.places < 0, none, places),
    }


def fixed_words(vocabulary: Sequence[str], decision: Decision) -> Vocabulary:
    """The words that a folder with a fixed vocabulary has embeddings of: these, and those that compete unasked."""
    fixed = set(map(folded, vocabulary))
    return Vocabulary([*vocabulary, *(word for word in decision.unasked if folded(word) not in fixed)])


class FixedWords:
    """The embeddings of a vocabulary that was fixed at export: "embeddings" (T P C) in NumPy's .npz."""

    templates: Sequence[str] = ()

    def __init__(self, words: Vocabulary, folder: Path, about: ExportManifest) -> None:
        self.lexicon, self._asked = about.lexicon, len(about.vocabulary)
        self._places = {folded(word): place for place, word in enumerate(words.words)}
        file = folder / cast(str, about.embeddings)
        try:
            with np.load(file, allow_pickle=False) as archive:
                self.embeddings = archive["embeddings"]
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(f"{str(file)!r} is damaged; export the model again ({error})") from None
        if len(self.embeddings) != len(words):
            raise CheckpointError(f"{str(file)!r} has embeddings of other words; export the model again")

    def __call__(self, vocabulary: Vocabulary, none: str | None = None) -> Float32[np.ndarray, "T P C"]:
        """The embeddings of some of the words; `UsageError` for a word that isn't part of the fixed vocabulary."""
        if missing := [word for word in vocabulary.words if word != none and folded(word) not in self._places]:
            raise UsageError(
                f"{missing[0]!r} is not one of the {self._asked} words that this model was exported with; "
                "export it without --words-file for free words"
            )
        return self.embeddings[[self._places.get(folded(word), 0) for word in vocabulary.words]]
