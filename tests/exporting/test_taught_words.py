"""Words taught to a network work in its exported folder too, and give the same labels."""

from pathlib import Path

import numpy as np
import pytest

import segvoc
from segvoc.errors import CheckpointError
from segvoc.exporting.export import export
from tests.teaching.drawn_examples import drawn_examples
from tests.teaching.small_networks import NETWORKS, small_model
from tests.teaching.test_networks import with_share


# tests/exported has a small cost volume in each run
@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_folders_give_the_networks_labels(kind: str, tmp_path: Path, untyped: None) -> None:
    model = small_model(kind)
    export(model, tmp_path / "out", say=lambda line: None)
    exported = segvoc.load(tmp_path / "out")
    found = model.teach(drawn_examples(3), keep_worse=True)
    taught = with_share(found, 0.25)
    for image in drawn_examples(5).images[3:]:
        one, other = (
            each.with_taught(taught).segment(image, ["grass", "sky", "cup", "brick"], return_probabilities=True)
            for each in (model, exported)
        )
        assert (one.labels == other.labels).mean() > 0.99
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-3)
    by_folder = exported.teach(drawn_examples(3), keep_worse=True)
    assert (by_folder.record.share, by_folder.words) == (found.record.share, found.words)
    with pytest.raises(CheckpointError, match="has other weights"):
        exported.with_taught(small_model(kind, seed=5).teach(drawn_examples(3)))
