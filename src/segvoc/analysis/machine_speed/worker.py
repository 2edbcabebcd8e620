"""Processes that measure: each holds a model, so that its peak memory is the model's own, and its death only a row."""

import multiprocessing
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.analysis.machine_speed.rows import BenchSettings, Case, Sample
from segvoc.analysis.measuring import peak_bytes, reset_peak
from segvoc.encoders.base import TextEncoder
from segvoc.encoders.vocabulary_encoder import GPU_BATCH
from segvoc.encoders.word_encoder import CPU_BATCH
from segvoc.errors import CheckpointError, SegvocError, UsageError, one_line
from segvoc.evaluation.runner import peak_memory
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.models.loading import load_network
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.process_settings import end_with_parent, how_it_ended, interrupts_ignored, keep_freed_memory
from segvoc.vocabulary import Vocabulary

_VICTIM = Path("/proc/self/oom_score_adj")
"""Where a process says how gladly it is killed when memory runs out, up to 1000."""


class WorkerFailed(Exception):
    """A process couldn't do what it was asked, in one line; it is not to be asked again."""


class WorkerRefused(WorkerFailed):
    """The model can't be used as it was asked."""


class WorkerLate(WorkerFailed):
    """The answer took too long."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Asks a process to load the model of a case."""

    case: Case
    settings: BenchSettings
    device: str


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The answer to `Load`."""

    random: bool
    load_seconds: float
    """Time to load the model [s]."""
    word_seconds: float
    """Time to encode a word, in a batch [s]."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Asks a process to measure a case with the model that it holds."""

    case: Case
    seconds: float
    """Time to use, after which no other call begins [s]."""
    repeats: int


class Worker:
    """A process that measures; use it in a `with` block or close it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self._connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with interrupts_ignored():
            self.process.start()
        theirs.close()

    def send(self, request: Load | Measure) -> None:
        """Ask for something; `receive` waits for the answer."""
        with suppress(OSError):  # it has died, which `receive` says
            self._connection.send(request)

    def receive(self, deadline: float) -> Any:
        """Wait for the answer.

        Args:
            deadline: until when, on `time.monotonic` [s].

        Raises:
            WorkerLate: there is none by then.
            WorkerRefused: the model can't be used so.
            WorkerFailed: it was killed, or memory ran out, or there was another error.
        """
        try:
            if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                raise WorkerLate("the answer took too long")
            answer = self._connection.recv()
        except (EOFError, OSError):
            self.process.join()
            raise WorkerFailed(how_it_ended(self.process.exitcode)) from None
        if isinstance(answer, WorkerFailed):
            raise answer
        return answer

    def close(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self._connection.close()


def _serve(connection: Connection) -> None:
    """Answer requests until the parent has gone."""
    end_with_parent()
    with suppress(OSError):
        _VICTIM.write_text("1000")  # rather than the parent or what else runs here
    keep_freed_memory()  # as the command line does, which the figures are meant for
    warnings.simplefilter("ignore")
    model: _Model | None = None
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        try:
            if isinstance(request, Load):
                model = _Model(request)
                answer: Any = model.loaded
            else:
                assert model is not None, "a model is loaded first"
                answer = model.measure(request)
        except UsageError as error:
            answer = WorkerRefused(str(error)) if not isinstance(error, CheckpointError) else WorkerFailed(str(error))
        except SegvocError as error:
            answer = WorkerFailed(str(error))
        except Exception as error:  # whatever it is, it is a row of the table
            answer = WorkerFailed("memory ran out" if _is_memory(error) else one_line(error))
        connection.send(answer)


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)


class _Model:
    """A model, with the image that it labels."""

    def __init__(self, request: Load) -> None:
        torch.set_num_threads(request.case.threads)
        start = time.perf_counter()
        self.segmenter, random = _segmenter(request)
        load_seconds = time.perf_counter() - start
        self.settings = request.settings
        self.image = drawn_image(*request.settings.size)
        word_seconds = self._encode()
        self.loaded = Loaded(random=random, load_seconds=load_seconds, word_seconds=word_seconds)

    def _encode(self) -> float:
        """Encode a batch of prompts, and draw embeddings from then on; returns the time for a word [s]."""
        model, network = self.segmenter, self.segmenter.network
        templates = model.templates
        number = max(1, (CPU_BATCH if model.device.type == "cpu" else GPU_BATCH) // len(templates))
        vocabulary = Vocabulary(f"word {index}" for index in range(number))
        drawn = DrawnTexts(network.text_encoder)  # warms up, too
        start = time.perf_counter()
        network.word_encoder(templates)(vocabulary)  # a new encoder, which has kept no words
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        seconds = (time.perf_counter() - start) / number
        network.text_encoder = drawn
        model.encode_words = network.word_encoder(templates)
        return seconds

    def measure(self, request: Measure) -> Sample:
        """Label the image again and again."""
        case, model = request.case, self.segmenter
        torch.set_num_threads(case.threads)
        model.batch = case.batch
        words, images = self._words(case.words), [self.image] * case.batch
        reset_peak(model.device)
        times: list[float] = []
        end = time.perf_counter() + request.seconds
        while len(times) < 2 or (len(times) <= request.repeats and time.perf_counter() < end):
            start = time.perf_counter()
            model.segment(images, words, options=case.options(self.settings.window))
            times.append((time.perf_counter() - start) / case.batch)
        peak = peak_bytes(model.device)
        memory = peak_memory(model.device) if peak is None else peak / 1e9
        return Sample(seconds=tuple(times[1:]), memory=memory)  # the first call warms up

    def _words(self, number: int) -> PreparedVocabulary:
        return self.segmenter.encode(f"word {index}" for index in range(number))


def _segmenter(request: Load) -> tuple[NetworkSegmenter, bool]:
    """The model, and whether its weights are random."""
    case, settings = request.case, request.settings
    options: Mapping[str, Any] = {"device": request.device, "dtype": case.dtype, "options": settings.options}
    if not settings.models[case.model]:
        try:
            return load_network(case.model, **options), False
        except CheckpointError:
            if not settings.options:
                raise
            # the settings change the network, which the weights don't fit any more
    return load_network(case.model, weights="random", **options), True


class DrawnTexts(nn.Module):
    """Takes the place of a text encoder, which needs minutes for a thousand words: embeddings of prompts are drawn.

    Time and memory of labeling depend on their number. With drawn words and a drawn image, tiny takes up to a tenth
    longer than with a photograph and real words.

    Args:
        encoder: the text encoder. It stays in memory, as it does when it is used.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.unit_length: bool = getattr(encoder, "unit_length", True)
        with torch.no_grad():
            tokens = cast(TextEncoder, encoder).tokenize(["word"])
            self.like: Tensor = encoder(tokens.to(next(encoder.parameters()).device))[0]
        self.channels = len(self.like)
        self.generator = torch.Generator().manual_seed(0)

    def tokenize(self, prompts: Sequence[str], *, multiple: int = 1) -> Int[Tensor, "N L"]:
        """Tokens without meaning."""
        return torch.zeros(len(prompts), multiple, dtype=torch.long)

    def unknown_words(self, words: Sequence[str]) -> list[str]:
        """No word is known, and none is missed."""
        return []

    def forward(self, tokens: Int[Tensor, "N L"]) -> Float[Tensor, "N C"]:
        """An embedding for each prompt, as long as those of the encoder."""
        draws = F.normalize(torch.randn(len(tokens), self.channels, generator=self.generator), dim=-1)
        return draws.to(self.like) * self.like.norm()


def drawn_image(width: int, height: int) -> UInt8[np.ndarray, "H W 3"]:
    """An image of soft blots of color, the same each time."""
    blots = np.random.default_rng(0).integers(256, size=(12, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blots).resize((width, height), Image.Resampling.BICUBIC))
