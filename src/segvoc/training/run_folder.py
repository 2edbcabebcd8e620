"""The folder of a training run, with its configuration, its checkpoint and the metrics of every step.

    config.json        the recipe, the data, the seed and the files that the run started from; for each start
                       ("sessions") the command, the machine, versions; "kept" has callbacks' texts for a resumed run
    metrics.jsonl      one line per step: step, loss, its terms, learning rates, seconds
    validation.jsonl   one line per validation: step, pixel accuracy, mean IoU
    checkpoint.pt      everything needed to resume the run
    curves.png         plots of the metrics
    images/          overlays of a few validation images
    model.safetensors  the trained network

Files are replaced atomically, except for the two journals (`segvoc.storage.journal`): if the process is killed, their
last line may be incomplete. Resuming cuts them back to the step of the checkpoint.
"""

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch

from segvoc.errors import CheckpointError, UsageError, one_line
from segvoc.runtime.distributed import Processes
from segvoc.storage.atomic_writes import write_atomically, write_bytes
from segvoc.storage.files import read_json, strict_json, write_json
from segvoc.storage.journal import Journal, lock_folder, read_journal
from segvoc.storage.records import flattened
from segvoc.storage.resume import difference

FEATURES = "features"
"""Folder of cached features of captioned images, filled before config.json is written."""

MODEL_FILE = "model.safetensors"
"""The trained weights."""

STARTED_FROM = "started_from"
"""Entry of config.json for the files that the run started from."""

NUMERIC = ("class_chunk_size", "activation_checkpointing", "compile", "cuda_graph")

FREE = (
    *(f"recipe.runtime.{name}" for name in ("num_workers", "save_every", "eval_every", "max_bad_steps", *NUMERIC)),
    STARTED_FROM,  # "weights_digest" compares their contents
)
"""Settings that may change when a run is resumed, since they don't affect the training."""

ROUNDING = (*(f"recipe.runtime.{name}" for name in NUMERIC), "machine.")
"""Settings that change the order of summation, and thus the last digits of results."""

OF_CALLBACKS = "kept"
"""Entry of config.json for callbacks' texts."""

STATE = frozenset("step weights optimizer scaler best random_states unreadable".split())
"""Keys of a checkpoint."""


def validation_score(line: Mapping[str, Any]) -> float | None:
    """By what validations (lines of validation.jsonl) are compared: the sum of mean IoU and pixel accuracy.

    None without labels. Of a background that takes half of the pixels, the mean IoU alone says little.
    """
    return None if line.get("mean_iou") is None else line["mean_iou"] + line["pixel_accuracy"]


def kept_validation(lines: Sequence[dict[str, Any]], patience: int) -> dict[str, Any]:
    """The validation of the weights that a run keeps: the best with early stopping, else the last; {} if none."""
    scored = [line for line in lines if validation_score(line) is not None]
    if patience and scored:
        return max(scored, key=lambda line: validation_score(line) or 0.0)
    return (scored or [*lines] or [{}])[-1]


class RunFolder:
    """The folder of a run. Use `open` to create or resume one, and close it, or use it in a `with` block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._journals: dict[str, Journal] = {}
        self._lock = ExitStack()
        self.notes: list[str] = []
        """Notes on a resumed run, as readable lines."""

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], config: Mapping[str, Any], *, resume: bool
    ) -> tuple["RunFolder", dict[str, Any] | None]:
        """Create or resume a run folder; return it and the checkpoint to resume from, if any.

        A folder without a completed step counts as new, for example after a refused call. `config` is everything
        that the run's results depend on; a resumed run may only differ in `FREE`. Its entry "session" describes this
        start. `UsageError`: the folder has a run in progress, one with another configuration, or any run without
        `resume`; `CheckpointError`: its checkpoint is damaged.
        """
        cls.check(path)  # before the lock file is created
        folder = cls(Path(path))
        session = dict(config.get("session", {}))
        config = json.loads(strict_json({key: value for key, value in config.items() if key != "session"}))
        try:
            lock = lock_folder(folder.path)
        except UsageError:
            raise UsageError(f"another process trains in {str(path)!r}; wait, or choose another --out") from None
        with ExitStack() as stack:
            stack.enter_context(lock)
            known = folder._config()
            if known is None or not folder._begun():
                write_json(folder.path / "config.json", {**config, "sessions": [session]})
            elif not resume:
                message = f"{str(path)!r} already holds a run; continue it with --resume, or choose another folder"
                raise UsageError(message)
            else:
                folder._continue(known, config, session)
            state = folder.state() if resume else None
            if resume and known is not None and state is None:
                folder.notes.append(f"{str(path)!r} has no checkpoint yet: the run restarts at step 1")
            folder._cut_back(0 if state is None else state["step"])
            folder._lock = stack.pop_all()
        return folder, state

    def _cut_back(self, last: int) -> None:
        """Take back what the journals have of steps after the last one of the checkpoint."""
        for name in ("metrics.jsonl", "validation.jsonl"):
            if (journal := self.path / name).exists():
                kept = "".join(f"{strict_json(line)}\n" for line in self.read_lines(name) if line["step"] <= last)
                write_bytes(journal, kept.encode())

    @classmethod
    def check(cls, path: str | os.PathLike[str], recipe: Mapping[str, Any] | None = None) -> None:
        """Raise `UsageError` early if a run with some recipe (None: any) can't use the folder."""
        folder = cls(Path(path))
        known = folder._config()
        if recipe is not None and known is not None and folder._begun():
            folder._refuse_changes({"recipe": known["recipe"]}, {"recipe": json.loads(strict_json(recipe))})

    def _begun(self) -> bool:
        """Whether any step was completed."""
        files = (self.path / name for name in ("metrics.jsonl", "checkpoint.pt", "model.safetensors"))
        return any(file.exists() and file.stat().st_size for file in files)

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint atomically: if writing fails, the previous one is kept.

        Raises: OutputError: the file can't be written, for example because the disk is full.
        """
        # after a power failure, the checkpoint must not be ahead of the metrics
        for journal in self._journals.values():
            journal.sync()
        content = io.BytesIO()
        torch.save(dict(state), content)
        write_atomically(self.path / "checkpoint.pt", lambda file: file.write(content.getbuffer()))

    def note(self, name: str, entry: Mapping[str, Any]) -> None:
        """Append an entry to a journal of the folder; see `Journal.append`."""
        if name not in self._journals:
            self._journals[name] = Journal(self.path / name)
        self._journals[name].append(entry)

    def kept(self) -> dict[str, str]:
        """Texts stored by callbacks."""
        return dict((self._config() or {}).get(OF_CALLBACKS, {}))

    def keep(self, key: str, value: str) -> None:
        """Store a callback's text for the next session."""
        write_json(self.path / "config.json", {**(self._config() or {}), OF_CALLBACKS: {**self.kept(), key: value}})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Flush the journals to the disk, close them and release the folder."""
        with self._lock:
            while self._journals:
                self._journals.popitem()[1].close()

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """The entries of a journal of the folder."""
        return list(read_journal(self.path / name, is_whole=lambda line: isinstance(line.get("step"), int)))

    def _config(self) -> dict[str, Any] | None:
        path = self.path / "config.json"
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{str(self.path)!r} is not a folder; choose another --out")
        try:
            # list the folder before checking for config.json, which a starting run writes first
            names = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
            config = read_json(path) if (exists := path.exists()) else None
        except (OSError, ValueError) as error:
            raise UsageError(f"{str(path)!r} can't be read ({one_line(error)}); choose another folder") from None
        others = [name for name in names if name != FEATURES and not name.startswith(".segvoc-")]
        if not exists and others:
            raise UsageError(f"{str(self.path)!r} holds other files ({others[0]}); choose a new folder")
        if not exists:
            return None
        if not _is_config(config):
            raise UsageError(f"{str(path)!r} does not belong to a run; choose a new folder")
        return config

    def _refuse_changes(self, known: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        known = {key: value for key, value in known.items() if key not in ("sessions", OF_CALLBACKS)}
        fixed = ({key: value for key, value in flattened(one).items() if key not in FREE} for one in (known, config))
        if changes := difference(*fixed):
            raise UsageError(
                f"{str(self.path)!r} was started with other settings ({changes}); use the same settings, or a new --out"
            )

    def _continue(self, known: dict[str, Any], config: Mapping[str, Any], session: Mapping[str, Any]) -> None:
        """Add a session to the configuration, with the settings that differ from the first session; others may not."""
        self._refuse_changes(known, config)
        sessions: list[dict[str, Any]] = known.pop("sessions", [])
        last = sessions[-1] if sessions else {}
        before = flattened(known) | last.get("changed", {}) | flattened({"machine": last.get("machine", {})})
        now = flattened(config) | flattened({"machine": session.get("machine", {})})
        rounding = ({key: value for key, value in one.items() if key.startswith(ROUNDING)} for one in (before, now))
        if changes := difference(*rounding):
            self.notes.append(f"{changes}: losses may differ in the last digits from those of an uninterrupted run")
        changed = {key: now.get(key) for key in FREE if now.get(key) != flattened(known).get(key)}
        write_json(self.path / "config.json", {**known, "sessions": [*sessions, {**session, "changed": changed}]})

    def state(self) -> dict[str, Any] | None:
        """The latest checkpoint, if there is one; `CheckpointError` if it is damaged."""
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()  # PyTorch itself doesn't verify checksums
            state = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict) or not state.keys() >= STATE or not isinstance(state["step"], int):
                raise CheckpointError(damaged or "no checkpoint of a run")
        except Exception as error:
            # unpickling damaged data raises a dozen different exceptions
            raise CheckpointError(f"{str(path)!r} is damaged ({one_line(error)}); delete it to start over") from None
        return state


def _is_config(config: Any) -> bool:
    """Whether a value is the configuration of a run, with its sessions."""
    try:
        texts, sessions = config.get(OF_CALLBACKS, {}).values(), config.get("sessions", [])
        groups = [config["recipe"], *(one.get(name, {}) for one in sessions for name in ("changed", "machine"))]
    except (AttributeError, KeyError, TypeError):
        return False
    return all(isinstance(group, dict) for group in groups) and all(isinstance(text, str) for text in texts)


def open_together(
    processes: Processes, path: str | os.PathLike[str], config: Mapping[str, Any], *, resume: bool
) -> tuple[RunFolder, dict[str, Any] | None]:
    """Call `RunFolder.open` in all processes: rank 0 creates or refuses the folder, the others follow or exit."""
    opened = processes.on_first(lambda: RunFolder.open(path, config, resume=resume))
    if opened is None:
        folder = RunFolder(Path(path))
        opened = folder, folder.state() if resume else None
    return opened
