"""How alike the two streams are: of tensors made by hand, on an image, over runs."""

import json
import math

import numpy as np
import pytest
import torch

from papers.streams import CURVE_POINTS, StreamCurves, image_similarity, stream_similarity, write_curves
from papers.streams import write_image_similarity as write_similarity
from segvoc.errors import InputError, UsageError
from segvoc.imaging.reading import read_image
from tests.papers.small_views import WORDS, make_image, segmenter


@pytest.mark.parametrize("degrees", [0, 45, 60, 90, 135, 180])
def test_of_streams_at_an_angle(degrees):
    angle = math.radians(degrees)
    spatial = torch.tensor([3.0, 0.0]).expand(1, 2, 3, 4, 2)
    semantic = torch.tensor([math.cos(angle), math.sin(angle)]).expand(1, 2, 3, 4, 2)
    found = stream_similarity(spatial, semantic)
    assert found["cosine"] == pytest.approx(math.cos(angle), abs=1e-5)
    assert found["absolute_cosine"] == pytest.approx(abs(math.cos(angle)), abs=1e-5)
    assert found["squared_cosine"] == pytest.approx(math.cos(angle) ** 2, abs=1e-5)


def test_cosines_of_both_signs_do_not_cancel_out():
    spatial, semantic = torch.ones(1, 1, 1, 2, 3), torch.ones(1, 1, 1, 2, 3)
    semantic[..., 1, :] *= -1
    found = stream_similarity(spatial, semantic)
    assert (found["cosine"], found["absolute_cosine"]) == pytest.approx((0, 1), abs=1e-5)
    assert found["squared_cosine"] == pytest.approx(1, abs=1e-5)


def test_serial_streams_are_more_alike_than_parallel_ones_where_class_aggregation_does_nothing():
    means = {}
    for order in ("parallel", "serial"):
        small = segmenter(order=order)
        for block in small.network.aggregation.blocks:  # the class stream is then x and its pooled, smoothed self
            for parameter in (*block.semantic.mlp.parameters(), *block.semantic.project.v.parameters()):
                parameter.zero_()
        means[order] = np.mean([block["squared_cosine"] for block in image_similarity(small, make_image(), WORDS)])
    assert 0 < means["parallel"] < 0.8 * means["serial"] < 0.8


def test_a_network_without_blocks_is_refused():
    with pytest.raises(UsageError, match="no blocks"):
        image_similarity(segmenter(aggregation="none"), make_image(), WORDS)


def run_folder(folder, values, **recipe):
    """A run whose blocks have noted so much at each step."""
    folder.mkdir()
    lines = [
        {"step": step, "loss": 1.0}
        | {f"fod_{block}": value for block, value in enumerate(row, 1)}
        | {f"cosine_{block}": value and -value for block, value in enumerate(row, 1)}
        for step, row in enumerate(values, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.json").write_text(json.dumps({"recipe": {"model": "small", **recipe}}))
    return folder


def test_runs_are_read_drawn_and_told(tmp_path):
    rising = run_folder(tmp_path / "serial", [[0.1 * step] * 2 for step in range(10)], network={"order": "serial"})
    # ten blocks stand in the order of their numbers, and a step that was not finite is passed over
    blocks = run_folder(
        tmp_path / "parallel", [[None] * 10, [block / 10 for block in range(10)]], objective={"fod_weight": 0.01}
    )
    runs = [StreamCurves.of_run(folder) for folder in (rising, blocks)]
    write_curves(tmp_path / "out", runs)
    first, second = json.loads((tmp_path / "out/streams.json").read_text())["runs"]
    assert (first["name"], first["recipe"]["network"], second["recipe"]["objective"]) == (
        "serial",
        {"order": "serial"},
        {"fod_weight": 0.01},
    )
    assert (first["first_tenth"], first["last_tenth"], first["least"]) == pytest.approx((0, 0.9, 0))
    assert (second["first_tenth"], second["last_tenth"]) == (None, pytest.approx(0.45))
    assert second["blocks_last_tenth"] == pytest.approx([block / 10 for block in range(10)])
    assert second["cosine"]["blocks_last_tenth"] == pytest.approx([-block / 10 for block in range(10)])
    assert (first["cosine"]["first_tenth"], first["cosine"]["least"]) == pytest.approx((0, -0.9))
    assert min(read_image(tmp_path / "out/streams.png").shape[:2]) > 300


def test_long_runs_are_thinned_to_means(tmp_path):
    steps = 2 * CURVE_POINTS + 3
    run = StreamCurves.of_run(run_folder(tmp_path / "long", [[step % 2] for step in range(steps)]))
    write_curves(tmp_path / "out", [run])
    assert len(run.steps) == steps
    assert run.facts()["last_tenth"] == pytest.approx(0.5, abs=0.01)


def test_folders_without_streams_are_refused(tmp_path):
    with pytest.raises(InputError, match="log_stream_similarity=true"):
        StreamCurves.of_run(run_folder(tmp_path / "unwatched", [[], []]))
    with pytest.raises(InputError, match="is not a run of segvoc train"):
        StreamCurves.of_run(tmp_path / "nowhere")


def test_a_images_streams_are_drawn(tmp_path):
    blocks = image_similarity(segmenter(), make_image(), WORDS)
    write_similarity(tmp_path, blocks, {"image": "p"})
    assert json.loads((tmp_path / "streams_image.json").read_text()) == {"image": "p", "blocks": blocks}
    assert min(read_image(tmp_path / "streams_image.png").shape[:2]) > 100
