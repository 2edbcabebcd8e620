"""Digests of everything that a model's results depend on, to resume runs."""

from importlib.metadata import version

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
    engine = "onnxruntime" if isinstance(model, ExportedSegmenter) else "torch"
    record |= {"weights": weights, "engine": f"{engine} {version(engine)}"}
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
    return str(model.device).partition(":")[0]
