"""Words taught to tiny's network work in its programs, which run without PyTorch, and give the same labels."""

import numpy as np

import segvoc
from segvoc.exported.shipped import open_tiny
from tests.teaching.drawn_examples import drawn_examples


def test_network_and_programs_agree():
    network, programs = segvoc.load("tiny", device="cpu", dtype="float32"), open_tiny()
    taught, image = network.teach(drawn_examples(2)), drawn_examples(3).images[2]
    one, other = (
        model.with_taught(taught).segment(image, ["grass", "sky", "brick", "cat"]) for model in (network, programs)
    )
    assert (one.labels == other.labels).mean() > 0.999
    assert np.abs(one.confidence - other.confidence).max() < 0.01
