"""How alike the two streams are over runs."""

import json

import pytest

from papers.streams import StreamCurves, write_curves
from segvoc.errors import InputError
from segvoc.imaging.reading import read_image


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


def test_folders_without_streams_are_refused(tmp_path):
    with pytest.raises(InputError, match="log_stream_similarity=true"):
        StreamCurves.of_run(run_folder(tmp_path / "unwatched", [[], []]))
    with pytest.raises(InputError, match="is not a run of segvoc train"):
        StreamCurves.of_run(tmp_path / "nowhere")
