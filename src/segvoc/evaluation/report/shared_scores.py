"""The scores of a report, for the card of a shared model."""

import os
from collections.abc import Sequence
from pathlib import Path

from segvoc.errors import UsageError, one_line
from segvoc.sharing.facts import ScoreTable, WordScore
from segvoc.storage.json_files import read_json


def shared_scores(folder: str | os.PathLike[str], weights: str, taught: Sequence[str]) -> ScoreTable:
    """Read the report of `segvoc evaluate` on a model.

    Args:
        folder: the report's folder.
        weights: digest of the weights of the model's network (`content_hash`).
        taught: digests of its taught words.

    Raises:
        UsageError: it holds no report, or that of another model.
    """
    path = Path(folder) / "report.json"
    try:
        report = read_json(path)
        same = report["model"]["weights_digest"] == weights and report["protocol"].get("taught", []) == list(taught)
        data, classes = report["data"], report["classes"]
        words = tuple(WordScore(name=str(one["name"]), after=one["iou"]) for one in classes if one["pixels"])
        images, title = int(data["evaluated"]), str(data["title"])
        table = ScoreTable(
            title=f"Measured with `segvoc evaluate` on {images} images of *{title}*",
            data=title,
            miou=report["miou"],
            accuracy=report["pixel_accuracy"],
            words=words,
            columns=("before", "IoU"),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{str(path)!r} is no report of segvoc evaluate ({one_line(error)}); name one") from None
    if not same:
        raise UsageError(f"{str(path)!r} is of another model; evaluate the one that is shared, and name that report")
    return table
