"""What the results of a model depend on, as digests: to keep words on disk, and to go on with a run."""

from functools import cache
from importlib.metadata import version

from segvoc.encoders.word_encoder import PromptedWordEncoder
from segvoc.exported.manifest import ExportManifest
from segvoc.exported.segmenter import ExportedSegmenter
from segvoc.inference.segmenter import Segmenter
from segvoc.storage.digests import digest_of


def model_record(model: Segmenter) -> dict[str, str]:
    """What the results of a loaded model depend on, by readable names: two models with equal records give equal ones.

    Reading the weights of a PyTorch network takes about 1.5 s per gigabyte.
    """
    record = {"model": model.name, "dtype": model.dtype, "device": model_device(model)}
    if model.taught:
        record["taught"] = " ".join(one.digest for one in model.taught)
    if isinstance(model, ExportedSegmenter):
        return record | {"weights": _exported_digest(model.manifest), "engine": _engine(model)}
    from segvoc.checkpoints.content_hash import content_hash
    from segvoc.models.network_segmenter import NetworkSegmenter

    assert isinstance(model, NetworkSegmenter)
    return record | {"weights": content_hash(model.network), "engine": _engine(model)}


def model_device(model: Segmenter) -> str:
    """The kind of device that a model runs on: "cpu", "cuda", ..."""
    device = getattr(model, "device", None)
    return "cpu" if device is None else device.type


def keep_words(model: Segmenter) -> None:
    """Let a model that was just loaded keep its words on disk (`PromptedWordEncoder.digest`).

    The encoder gets no reference to the model: a cycle would keep the weights in memory long after their last use.
    """
    encoder, engine = model.encode_words, _engine(model)
    encoder = getattr(encoder, "encode", encoder)  # an encoder of parts has one of names inside
    if not isinstance(encoder, PromptedWordEncoder):
        return  # the words of an exported model may be fixed
    if isinstance(model, ExportedSegmenter):
        manifest = model.manifest
        encoder.digest = lambda: digest_of(_exported_digest(manifest), engine)
        return
    from segvoc.checkpoints.content_hash import content_hash
    from segvoc.encoders.vocabulary_encoder import VocabularyEncoder

    if isinstance(encoder, VocabularyEncoder):
        tower = encoder.text_encoder
        encoder.digest = cache(lambda: digest_of(content_hash(tower), engine))


def _engine(model: Segmenter) -> str:
    """The library that runs a model, and its version."""
    with_onnx = isinstance(model, ExportedSegmenter) and model.manifest.programs == "onnx"
    package = "onnxruntime" if with_onnx else "torch"
    return f"{package} {version(package)}"


def _exported_digest(manifest: ExportManifest) -> str:
    # it has the digests of all files, which were checked when the folder was opened
    return digest_of(manifest.to_json())
