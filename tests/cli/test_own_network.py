"""`--network FILE.py:FUNCTION` builds the network of a file that no preset fits."""

import json

import segvoc
from tests.training.runs import drawn_images

CODE = """
import segvoc
from torch import nn

class Sum(nn.Module):
    def forward(self, maps, text, guidance, context):
        from segvoc.layers.aggregation import cost_volume
        return cost_volume(maps[0], text).sum(dim=1), None

def build():
    model = segvoc.load("tiny", device="cpu", dtype="float32")
    model.network.aggregation = Sum()
    return model

def nothing():
    return None
"""


def test_a_network_of_ones_own_is_segmented_and_evaluated_by_command(segvoc_command, tmp_path):
    drawn_images(tmp_path / "set", 2)
    (tmp_path / "mine.py").write_text(CODE)
    names: dict = {}
    exec(CODE, names)
    model = names["build"]()
    segvoc.save(model, tmp_path / "mine.safetensors")
    call = ["segment", "set/images/0.png", "--words", "ground, red disc", "--model", "mine.safetensors"]
    segvoc_command(*call, "--out", "no").refused("--network FILE.py:FUNCTION")
    segvoc_command(*call, "--network", "mine.py:absent", "--out", "no").refused("AttributeError")
    segvoc_command(*call, "--network", "mine.py", "--out", "no").refused("for example mine.py:build")
    segvoc_command(*call, "--network", "mine.py:nothing", "--out", "no").refused("gives a NoneType")
    segvoc_command(*call, "--network", "mine.py:build", "--out", "out").ok()
    expected = model.segment(tmp_path / "set/images/0.png", ["ground", "red disc"])
    assert (segvoc.read_label_map(tmp_path / "out/0.png") == expected.labels).all()
    folders = ["--images", "set/images", "--labels", "set/labels", "--classes", "set/classes.json"]
    segvoc_command(
        "evaluate", "mine.safetensors", "--network", "mine.py:build", *folders, "--out", "report", "--device", "cpu"
    ).ok()
    assert 0 <= json.loads((tmp_path / "report/report.json").read_text())["miou"] <= 100
