"""Early stopping: the weights of the best validation, and when there is none better any more."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(kw_only=True)
class BestWeights:
    """The state with the best score so far: the parameters that learn, and all buffers."""

    patience: int
    """Validations in a row without a better score after which training stops; 0: no weights are kept."""
    score: float | None = None
    """The best score; None before the first one."""
    step: int = 0
    """The step that it was found after."""
    waited: int = 0
    """Validations since then."""
    weights: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    """That state, by name."""

    @property
    def out_of_patience(self) -> bool:
        """Whether training has to stop."""
        return bool(self.patience) and self.waited >= self.patience

    @torch.no_grad()
    def note(self, score: float | None, step: int, state: Mapping[str, Tensor]) -> None:
        """Keep the state that was validated if its score is the best; a validation without a score says nothing."""
        if not self.patience or score is None:
            return
        if self.score is not None and score <= self.score:
            self.waited += 1
            return
        self.score, self.step, self.waited = score, step, 0
        self.weights = {name: value.detach().cpu().clone() for name, value in state.items()}

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {"score": self.score, "step": self.step, "waited": self.waited, "weights": self.weights}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Load what `state` returned."""
        self.score, self.step, self.waited = state["score"], state["step"], state["waited"]
        self.weights = dict(state["weights"])
