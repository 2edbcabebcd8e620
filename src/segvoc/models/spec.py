"""`ModelSpec`: which network a model has, where its weights are, and which words it knows."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from segvoc.errors import CheckpointError
from segvoc.inference.engine import AnyEngine
from segvoc.inference.taught.taught_words import TaughtWords

if TYPE_CHECKING:
    from segvoc.networks.base import NetworkConfig, SegmentationNetwork


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model, before anything of it is opened; made by `segvoc.models.resolving.resolve`. Needs no PyTorch."""

    name: str
    """Its name in results and errors: the preset, or the path or repository that the user named."""
    preset: str
    """The preset of its network; of an exported folder, the folder."""
    source: Literal["preset", "file", "random", "exported"] = "preset"
    """Where its weights are: they are the preset's own (shipped or published), in `path`, untrained (those of a custom
    network stay), or in the exported folder `path`, which also has everything else that its engine needs."""
    path: str | None = None
    """A segvoc file, an official checkpoint, a folder of another library or an exported folder."""
    configuration: "NetworkConfig | None" = None
    """Configuration of the network; None: the preset's, or the variant of it that an official checkpoint has."""
    network: "SegmentationNetwork | None" = None
    """A custom network, which takes the weights."""
    taught: tuple[TaughtWords, ...] = ()
    """Taught words, with the temperatures of their confidence."""
    known_words: tuple[str, ...] = ()
    """The words that it was trained on or taught, in order."""
    background: str | None = None
    """The word among them that means "none of the others"."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """Header of its segvoc file: origin, license, training, ..."""

    @property
    def is_stock(self) -> bool:
        """Whether the network and its weights are the preset's own; words may have been taught to it."""
        return self.source == "preset" and self.configuration is None and self.network is None

    @property
    def is_place(self) -> bool:
        """Whether its name is that of a folder or repository whose files these are."""
        return self.name not in (self.preset, self.path)

    def describe(self, model: AnyEngine) -> AnyEngine:
        """Give an engine the name, the taught and the known words; returns it."""
        model.name, model.taught = self.name, self.taught
        model.known_words, model.known_background = self.known_words, self.background
        return model


@contextmanager
def naming_place(name: str) -> Iterator[None]:
    """Name a folder or repository in errors of its files."""
    try:
        yield
    except CheckpointError as error:
        raise error if name in str(error) else CheckpointError(f"{name}: {error}") from error
