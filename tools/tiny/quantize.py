"""Int8 rows whose rounding errors cancel on real words, for the text tower's linear layers.

Paper: Frantar et al., "GPTQ", 2022: columns are rounded one after another, and what rounding one of them does to the
layer's output is made good by the columns still to come, in the least-squares sense over given inputs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segvoc.checkpoints.files import SCALE, pack_int8_rows
from segvoc.encoders.minilm import PAD, MiniLM

LINEAR_LAYERS = ("query_key_value", "attention_out", "hidden")
KEPT_FP16 = "hidden_out"
DAMPING = 0.01  # of the mean input energy: keeps the inverse tame


def rounded_rows(weight: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Integers (O I) int8 and scales (O) of a linear layer's weight, given examples of its inputs (N I)."""
    energy = inputs.double().T @ inputs.double() / len(inputs)
    energy.diagonal().add_(DAMPING * energy.diagonal().mean())
    order = energy.diagonal().argsort(descending=True)
    spread = torch.linalg.cholesky(torch.linalg.inv(energy[order][:, order]), upper=True)
    scale = weight.double().abs().amax(dim=1) / 127
    left = (weight.double() / scale[:, None])[:, order]
    rounded = torch.empty_like(left)
    for column in range(left.shape[1]):
        rounded[:, column] = left[:, column].round().clamp(-127, 127)
        error = (left[:, column] - rounded[:, column]) / spread[column, column]
        left[:, column + 1 :] -= error[:, None] * spread[column, column + 1 :]
    return rounded[:, order.argsort()].to(torch.int8), scale.float()


class _Recorder(nn.Module):
    """Stands in for a layer and keeps the inputs of real tokens."""

    def __init__(self, layer: nn.Module, is_token: Tensor) -> None:
        super().__init__()
        self.layer, self.is_token = layer, is_token
        self.inputs = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        self.inputs = x[self.is_token]
        return self.layer(x)


@torch.no_grad()
def pack_text_tower(tower: MiniLM, prompts: Sequence[str]) -> dict[str, Tensor]:
    """The tower's weights as int8 rows, its layers rounded in order for the tokens of `prompts`; changes the tower.

    The position embeddings stay fp16, since every word uses the same few rows of them, and so do the MLPs' second
    matrices, whose outliers alone would move some words by more than 1e-3.
    """
    fp16 = [f"layers.{number}.{KEPT_FP16}.weight" for number in range(len(tower.layers))]
    packed = pack_int8_rows(tower.state_dict(), keep_fp16=["position_embedding.weight", *fp16])
    tokens = tower.tokenize(prompts)
    for number, layer in enumerate(tower.layers):
        for name in LINEAR_LAYERS:
            linear = layer.get_submodule(name)
            recorder = _Recorder(linear, tokens != PAD)
            setattr(layer, name, recorder)
            tower.sentence_embedding(tokens)
            setattr(layer, name, linear)
            weight = linear.get_parameter("weight")
            key = f"layers.{number}.{name}.weight"
            packed[key], packed[key + SCALE] = rounded_rows(weight, recorder.inputs)
            weight.copy_(packed[key].float() * packed[key + SCALE][:, None])
    return packed
