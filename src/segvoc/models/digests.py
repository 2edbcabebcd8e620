"""Digests of everything that a model's results depend on, to cache words on disk and resume runs."""

from functools import partial
from importlib.metadata import version
from typing import cast

from segvoc.encoders.prompts import PartWordEncoder
from segvoc.encoders.word_encoder import PromptedWordEncoder
from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.inference.segmenter import Segmenter
from segvoc.storage.files import digest_of


def model_record(model: Segmenter) -> dict[str, str]:
    """Everything that a model's results depend on, by readable names: equal records mean equal results.

    Reading the weights of a PyTorch network takes about 1.5 s per gigabyte.
    """
    record = {"model": model.name, "dtype": model.dtype, "device": model_device(model)}
    if model.taught:
        record["taught"] = " ".join(words.digest for words in model.taught)
    weights = weights_digest(model)
    assert weights is not None
    record |= {"weights": weights, "engine": _engine(model)}
    if isinstance(model, ExportedSegmenter):
        return record
    # equal weights give other labels with another activation or dense mode
    return record | {"network settings": digest_of(model.origin.get("configuration"))}


def weights_digest(model: Segmenter) -> str | None:
    """A digest of a model's weights; None for an engine of your own. See `model_record` for the time it takes."""
    if isinstance(model, ExportedSegmenter):
        # the manifest has the digests of all files, checked when the folder was opened
        return digest_of(model.manifest.to_json())
    network = getattr(model, "network", None)
    if network is None:
        return None
    from segvoc.checkpoints.origins import content_hash

    return content_hash(network)


def model_device(model: Segmenter) -> str:
    """The kind of device that a model runs on: "cpu", "cuda", ..."""
    device = getattr(model, "device", None)
    return "cpu" if device is None else device.type


def enable_word_cache(model: Segmenter) -> None:
    """Enable the on-disk word cache of a loaded model (`PromptedWordEncoder.digest`)."""
    encoder = model.encode_words
    if isinstance(encoder, PartWordEncoder):
        encoder = encoder.encode
    if not isinstance(encoder, PromptedWordEncoder):
        return  # the words of an exported model may be fixed
    # no reference to the model: a cycle would keep the weights in memory long after their last use
    if isinstance(model, ExportedSegmenter):
        encoder.digest = partial(_exported_words, digest_of(weights_digest(model), _engine(model)))
    else:
        encoder.digest = _network_words


def _exported_words(digest: str, encoder: PromptedWordEncoder) -> str:
    return digest  # the files of an exported model don't change


def _network_words(encoder: PromptedWordEncoder) -> str:
    from segvoc.checkpoints.origins import content_hash
    from segvoc.encoders.vocabulary_encoder import VocabularyEncoder

    tower = cast(VocabularyEncoder, encoder).text_encoder
    # equal weights give other embeddings with other activations, which only the modules show
    return digest_of(content_hash(tower), str(tower), f"torch {version('torch')}")


def _engine(model: Segmenter) -> str:
    package = "onnxruntime" if isinstance(model, ExportedSegmenter) else "torch"
    return f"{package} {version(package)}"
