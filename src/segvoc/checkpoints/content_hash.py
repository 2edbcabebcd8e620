"""A digest of the weights of a module."""

import hashlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

_COPY = 64 << 20
"""Bytes that leave a GPU at a time: few large copies, and few waits."""


def content_hash(module: nn.Module) -> str:
    """A digest of a module's state: BLAKE2b over the name, type, shape and every byte of each tensor.

    Tensors on a CPU and on a GPU give different digests, since their results differ; all GPUs give the same one.
    Reading takes about 1.5 s per gigabyte: do it once a run, not once a call.
    """
    digest = hashlib.blake2b(digest_size=16)
    tensors = {name: value.detach() for name, value in module.state_dict().items()}
    for name, value in tensors.items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} {value.device.type}\n".encode())
    for content in _on_cpu(value.flatten().view(torch.uint8) for value in tensors.values()):
        digest.update(content.numpy().data)
    return digest.hexdigest()


def _on_cpu(tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    """The bytes of all tensors in their order; those on a GPU are put together before they are copied."""
    waiting: list[Tensor] = []
    for tensor in tensors:
        if tensor.device.type == "cpu":
            yield from _copied(waiting)
            waiting = []
            yield tensor
            continue
        for piece in tensor.split(_COPY):
            if sum(map(len, waiting)) + len(piece) > _COPY or (waiting and waiting[0].device != piece.device):
                yield from _copied(waiting)
                waiting = []
            waiting.append(piece)
    yield from _copied(waiting)


def _copied(pieces: list[Tensor]) -> Iterator[Tensor]:
    if pieces:
        yield torch.cat(pieces).cpu()
