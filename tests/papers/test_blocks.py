"""Table 4 of PCA-Seg: what is counted, to the digit; what is measure, by its bounds."""

import json

import pytest
import torch

from papers.blocks import costs_table, measure_costs, published_block, write_costs
from segvoc.errors import UsageError
from tests.built import built, configured
from tests.cli.command import make_script


def block(preset: str, **options):
    with torch.device("meta"):
        return built(preset, **options).aggregation.blocks[0]


@pytest.mark.parametrize(
    ("preset", "parameters", "multiply_adds"), [("cat-seg-eva-b", 0.68, 53.67), ("pca-seg-b", 1.03, 88.07)]
)
def test_blocks_of_table_4(preset, parameters, multiply_adds):
    one = block(preset)
    assert sum(parameter.numel() for parameter in one.parameters()) / 1e6 == pytest.approx(parameters, abs=0.005)
    assert published_block(one, 171, 24) / 1e9 == pytest.approx(multiply_adds, abs=0.01)


def test_what_is_not_published_is_refused():
    for options in ({"class_attention": "softmax"}, {"fusion": "nonsense"}):
        with pytest.raises(UsageError):
            published_block(block("pca-seg-b", **options), 171, 24)


def test_a_block_is_part_of_its_network(tmp_path):
    rows = measure_costs("tiny", configured("tiny", fusion="experts"), classes=3, repeat=1, device=torch.device("cpu"))
    small, network = rows
    assert [(row.model, row.module) for row in rows] == [("tiny fusion=experts", p) for p in ("block", "network")]
    assert 0 < small.counted < network.counted and min(small.seconds, network.seconds) > 0
    assert small.parameters == small.trainable < network.trainable < network.parameters
    assert (small.published is None, network.published is None) == (False, True)
    write_costs(tmp_path, rows, {"device": "cpu"})
    assert json.loads((tmp_path / "blocks.json").read_text())["rows"][1]["counted"] == network.counted
    assert (tmp_path / "blocks.md").read_text() == costs_table(rows)
    assert costs_table(rows).count("\n") == 4


def test_several_numbers_of_words_have_a_mean_time(monkeypatch, capfd, tmp_path):
    call = make_script("blocks", monkeypatch, capfd)
    done = call("tiny", "--classes", "3, 2,1", "--repeat", "1", "--device", "cpu", "--out", tmp_path).ok()
    content = json.loads((tmp_path / "blocks.json").read_text())
    networks = [row for row in content["rows"] if row["module"] == "network"]
    assert [row["classes"] for row in networks] == [3, 2, 1]
    (mean,) = content["means"]
    assert mean["seconds"] == pytest.approx(sum(row["seconds"] for row in networks) / 3)
    assert done.out.splitlines()[-1] == f"| tiny | mean of 3 |  |  |  |  |  | {mean['seconds']:.3f} |"
    for wrong in ("3,x", "0", "", "100001"):
        call("tiny", "--classes", wrong).refused("must be numbers from 1 to 100000")
