"""The comparison with the official code, on a checkout that only looks like one."""

import argparse
import json
import math
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import against_official, machine
from benchmarks.against_official import (
    END,
    START,
    Line,
    compared,
    measure_all,
    measured,
    reached,
    report,
    settings_of,
    show,
    table,
    with_earlier,
)
from benchmarks.official_code import (
    CLIP_FILE,
    ERR_FILE,
    OurAggregation,
    Setting,
    difference,
    equal_labels,
    fill,
    find_model,
    import_official,
    random_features,
)
from segvoc.errors import SegvocError, UsageError
from segvoc.layers.aggregation import cost_volume
from segvoc.layers.class_selection import DROPPED, PUBLISHED_VOTES

CAT_SEG = """
from dataclasses import replace

import torch
from no_such_library.models import CCA
from torch import nn

from segvoc.checkpoints.official_cost_aggregation import aggregation_state
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.decoder_sizes import DecoderSizes
from segvoc.networks.base import CostAggregation
from segvoc.networks.cat_seg import CAT_SEG
from segvoc.networks.choices import layers_of
from tests.golden_sets import compact_case

from .scale import SCALE


class Aggregator(nn.Module):
    # weights with the official names, and our own code behind them
    def __init__(self, num_layers, pooling_size, pad_len):
        super().__init__()
        shapes = compact_case("cat_aggregator").record["weights"]
        self.weights = {name: 0.02 * torch.randn(shape) for name, shape in shapes.items()}
        config = replace(CAT_SEG, decoder_sizes=DecoderSizes(lifts=()))
        self.inner, self.pooling = [CostAggregation(config, layers_of(config), channels=512).eval()], pooling_size
        self.inner[0].requires_grad_(False)

    def state_dict(self, destination=None, prefix="", keep_vars=False):
        destination = {} if destination is None else destination
        destination.update({prefix + name: value for name, value in self.weights.items()})
        return destination

    def forward(self, image, text, guidance):
        (inner,) = self.inner
        inner.load_state_dict(aggregation_state(self.weights, inner))
        return SCALE * inner([image], text, guidance, AggregationContext(self.pooling, None, 2))[0]

    def correlate(self):
        return CCA(2)
"""


def checkout(folder: Path, source: str = CAT_SEG, file: Path = CLIP_FILE, scale: float = 1.0) -> Path:
    """A folder with this source in the place of the official aggregator."""
    place = folder / file
    place.parent.mkdir(parents=True)
    place.write_text(source)
    (place.parent / "scale.py").write_text(f"SCALE = {scale}\n")
    (place.parent / "__init__.py").write_text("raise ImportError('the package must not be imported')\n")
    return folder


@pytest.fixture(autouse=True)
def forgotten_imports():
    yield
    for name in [name for name in sys.modules if name.startswith("official_")]:
        del sys.modules[name]


@pytest.fixture
def steady_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Rates that need no measuring, and a folder for results."""
    rates = {"float32_gflops": 100.0, "bfloat16_gflops": 400.0}
    monkeypatch.setattr(against_official, "matrix_rates", lambda: dict(rates))
    monkeypatch.setattr(machine, "matrix_rate", lambda: 100.0)
    monkeypatch.setattr(machine, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def line(model: str, words: int, ratio: float = 3.14, **changes: object) -> Line:
    """A row as `measured` and `measure_all` make it."""
    return {
        "model": model,
        "words": words,
        "views": 1,
        "dtype": "float32",
        **compared(([ratio, 2 * ratio], [1.0, 2.0])),
        "official_share": 0.25,
        "share": 0.5,
        "official_gigabytes": 2.0,
        "gigabytes": 1.25,
        "difference": 1e-6,
        "repeats": 2,
        **changes,
    }


def test_a_checkout_is_known_by_its_files(tmp_path: Path):
    assert find_model(checkout(tmp_path / "cat")) == "cat-seg-b"
    assert find_model(checkout(tmp_path / "pca", "class DualFeatureMoE: ...")) == "pca-seg-b"
    assert find_model(checkout(tmp_path / "err", "", ERR_FILE)) == "err-seg-b"
    with pytest.raises(UsageError, match="give a checkout of CAT-Seg, PCA-Seg or ERR-Seg"):
        find_model(tmp_path)


def test_missing_libraries_are_replaced_while_importing_and_named_when_called(tmp_path: Path):
    code = import_official(checkout(tmp_path))
    assert "no_such_library" not in sys.modules
    assert "no_such_library.models" not in sys.modules
    assert code.torch is torch
    with pytest.raises(UsageError, match=r"calls no_such_library\.models\.CCA; install no_such_library"):
        code.Aggregator.correlate(None)


def test_codes_that_agree_are_measured(tmp_path: Path, steady_machine: Path):
    row = measured(checkout(tmp_path), Setting("cat-seg-b", 3), "float32", 2)
    assert float(str(row["difference"])) < 1e-5
    assert (row["model"], row["words"], row["views"], row["repeats"]) == ("cat-seg-b", 3, 1, 2)
    seconds, gigamacs = float(str(row["seconds"])), float(str(row["gigamacs"]))
    assert row["share"] == pytest.approx(2 * gigamacs / seconds / 100)
    assert 5 < gigamacs < 6


def test_codes_that_disagree_are_not_measured(tmp_path: Path, steady_machine: Path):
    with pytest.raises(SegvocError, match=r"cat-seg-b, 3 words: our logits differ from the official ones by 1\.0e-03"):
        measured(checkout(tmp_path, scale=1 / 0.999), Setting("cat-seg-b", 3), "float32", 1)


def test_dropped_words_count_only_if_one_code_kept_them():
    official = torch.tensor([[1.0, 2.0], [DROPPED, DROPPED]])[None, :, None]
    assert difference(official, official.clone()) == 0
    changed = official.clone()
    changed[0, 0] += 0.5
    assert difference(official, changed) == 0.25
    changed[0, 1] = 0.0
    assert difference(official, changed) == math.inf
    assert equal_labels(official, changed) == 1.0
    assert equal_labels(official, official.flip(1)) == 0.0


def test_features_leave_no_doubt_which_words_are_kept():
    setting = Setting("err-seg-b", 60)
    features = random_features(setting)
    votes = PUBLISHED_VOTES(cost_volume(features.maps[0], features.text))[0]
    assert setting.kept == 16
    assert votes[:16].min() > 10 * votes[16:].max()
    assert [tuple(one.shape) for one in features.maps] == [(1, 640, 40, 40), (1, 640, 20, 20)]


def test_more_words_than_the_blocks_see_get_logits_too():
    setting = Setting("cat-seg-b", 258)
    assert setting.kept == 256
    ours = fill(OurAggregation(setting))
    assert ours.context.selection is not None
    assert (Setting("err-seg-b", 847).kept, Setting("err-seg-b", 150).kept) == (48, 32)


def test_rows_follow_the_options():
    assert [row.words for row in settings_of("cat-seg-b", ("single",), None)] == [20, 59, 171]
    assert settings_of("pca-seg-b", ("sliding",), [9]) == [Setting("pca-seg-b", 9, views=5, pooling=1)]
    assert [row.words for row in settings_of("err-seg-b", ("single", "sliding"), None)] == [150, 847]
    with pytest.raises(UsageError, match="err-seg-b has no rows of kind sliding"):
        settings_of("err-seg-b", ("sliding",), None)


def test_ratios_are_those_of_turns():
    facts = compared(([4.0, 9.0, 20.0], [1.0, 3.0, 4.0]))
    assert (facts["ratio"], facts["ratio_of_minima"]) == (4.0, 4.0)
    assert (facts["official_median"], facts["median"]) == (9.0, 3.0)
    assert facts["spread"] == 1.0
    assert reached(50_000_000_000, 2.0, 100.0) == 0.5


def test_the_table_has_ratios_first():
    lines = table([line("cat-seg-b", 20), line("pca-seg-b", 171, views=5, dtype="bfloat16")]).splitlines()
    assert lines[2] == "| `cat-seg-b` | 20 | **3.1** | 1 | 3.14 | 1.25 | 2 | 50% | 25% |"
    assert lines[3].startswith("| `pca-seg-b`, 5 views, bfloat16 | 171 | **3.1** |")
    text = report([line("cat-seg-b", 20)])
    assert "range over up to 67% of their median" in text
    assert "differ by up to 1e-06 of the largest" in text


def test_the_table_goes_between_the_marks(tmp_path: Path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    show([line("cat-seg-b", 20)], page)
    assert page.read_text() == f"before\n{START}\n{table([line('cat-seg-b', 20)])}{END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(UsageError, match="has no place for the table; add the lines"):
        show([], page)


def test_rows_replace_earlier_ones_of_the_same_setting_and_machine(tmp_path: Path):
    earlier = tmp_path / "earlier.json"
    rows = [line("err-seg-b", 150), line("cat-seg-b", 20, ratio=2.0)]
    earlier.write_text(json.dumps({"machine": machine.described(), "rows": rows}))
    half = line("cat-seg-b", 20, dtype="bfloat16")
    merged = with_earlier([half, line("cat-seg-b", 20, ratio=4.0)], earlier)
    assert [(row["model"], row["dtype"], row["ratio"]) for row in merged] == [
        ("cat-seg-b", "float32", 4.0),
        ("err-seg-b", "float32", 3.14),
        ("cat-seg-b", "bfloat16", 3.14),
    ]
    earlier.write_text(json.dumps({"machine": machine.described() | {"cores": 1000}, "rows": rows}))
    assert with_earlier([half], earlier) == [half]


def test_every_row_is_saved_with_the_memory_of_both(
    tmp_path: Path, steady_machine: Path, monkeypatch: pytest.MonkeyPatch
):
    def in_process(folder: Path, setting: Setting, *options: str) -> str:
        memory = {"official": "3.0", "ours": "1.5"}
        row = line(setting.model, setting.words, official_gigabytes=None, gigabytes=None)
        return memory[options[-1]] if "--memory" in options else json.dumps(row)

    monkeypatch.setattr(against_official, "in_process", in_process)
    page = tmp_path / "page.md"
    page.write_text(f"{START}{END}")
    options = argparse.Namespace(rows=["single"], words=[7, 5], dtype="float32", repeats=2, page=page)
    measure_all([checkout(tmp_path / "official")], options)
    saved = json.loads((steady_machine / "against_official.json").read_text())["rows"]
    assert [(row["words"], row["official_gigabytes"], row["gigabytes"]) for row in saved] == [
        (5, 3.0, 1.5),
        (7, 3.0, 1.5),
    ]
    text = (steady_machine / "against_official.md").read_text()
    assert table(saved) in text
    assert table(saved) in page.read_text()
