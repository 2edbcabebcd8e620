"""What the model of a PyTorch network shares: weights, unless they ship with segvoc, words, and facts for its card."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from segvoc.errors import UsageError
from segvoc.models.headers import TRAINING
from segvoc.models.network_file import is_custom, write_network
from segvoc.models.presets import Preset, find_preset
from segvoc.models.taught_weights import has_shipped_weights
from segvoc.networks.base import SegmentationNetwork
from segvoc.sharing.card import SHIPPED_WEIGHTS, TINY, CardFacts, taught_facts
from segvoc.sharing.uploading import ShareableModel
from segvoc.teaching.taught_words import TaughtWords

LICENSE = "that of the weights it started from and of its training data"
"""License in a file's header where its author has stated none."""


def shareable_network(
    name: str,
    network: SegmentationNetwork,
    built: Mapping[str, object],
    taught: Sequence[TaughtWords],
    *,
    weights: bool | None,
) -> ShareableModel:
    """What a model shares.

    Args:
        name: the model's name, for errors.
        network: its network.
        built: the network's preset and configuration, and how it was trained (`Segmenter.origin`).
        taught: words that it was taught.
        weights: whether its weights are shared; None: unless they ship with segvoc. Words alone, of a model with
            published weights, are checked against these when they are loaded.

    Raises:
        UsageError: the network isn't a preset's.
    """
    if "preset" not in built or is_custom(network, built):
        raise UsageError(
            f"{name!r} is a network that its author built, which nobody could load without its code; share its file "
            "beside the code yourself"
        )
    base = str(built["preset"])
    preset = find_preset(base)
    shipped = has_shipped_weights(base, network)
    facts = _facts(base, preset, built, taught, shipped=shipped)
    write = None
    if not shipped if weights is None else weights:
        origin = "shared from segvoc"
        write = partial(
            write_network, name=name, network=network, built=built, taught=taught, origin=origin, license=LICENSE
        )
    elif not shipped and not (taught and preset.published):
        raise UsageError(f"{name!r} has weights that are nowhere else, or no taught words; share its weights too")
    alone = shipped or write is None
    return ShareableModel(facts=facts, write_weights=write, taught=tuple(taught) if alone else ())


def _facts(
    base: str, preset: Preset, built: Mapping[str, object], taught: Sequence[TaughtWords], *, shipped: bool
) -> CardFacts:
    """What the model itself says; the folder of a run says more."""
    training = built.get(TRAINING)
    trained: Mapping[str, Any] = training if isinstance(training, dict) else {}
    network = TINY if base == "tiny" else f"the network `{base}` of segvoc ({preset.summary})"
    licenses = {SHIPPED_WEIGHTS: str(preset.read_record().get("license", ""))} if preset.shipped else {}
    for file in trained.get("started_from", []):
        if not preset.shipped or file.get("filename") not in preset.shipped:
            told = str(file.get("license", "not known"))
            licenses[f"the weights that training started from, {file.get('filename', 'a file')}"] = told
    facts = taught_facts(base, network, taught, licenses=licenses)
    return facts if facts.made or not trained or shipped else replace(facts, made="trained further")
