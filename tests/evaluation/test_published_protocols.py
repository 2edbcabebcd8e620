"""Published protocols score a benchmark unless a setting says otherwise."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from segvoc.data.benchmarks import BENCHMARKS
from segvoc.data.labeled_images import LabeledImages
from segvoc.encoders.prompts import CLIP_TEMPLATE, IMAGENET_TEMPLATES
from segvoc.evaluation import report_page
from segvoc.evaluation.protocol import NO_PAPER, evaluation_protocol, published_protocol
from segvoc.evaluation.task import EvaluationSettings, EvaluationTask
from segvoc.models import opening
from segvoc.models.headers import configuration_record
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.presets import PRESETS
from segvoc.networks.clip_network import clip_protocols
from segvoc.networks.err_seg import err_protocols
from segvoc.networks.part_cat_seg import part_protocols
from segvoc.networks.syn_seg import SYN_TEMPLATE, syn_protocols
from segvoc.storage.records import with_settings
from segvoc.vocabulary import Vocabulary
from tests.cli.command import Command
from tests.data.replicas import replica
from tests.inference.small_network import small_network, small_segmenter
from tests.networks.test_err_seg import small as small_err_seg

KEPT = {"a-150": 32, "pc-59": 24, "a-847": 48, "pc-459": 48, "pas-20": 16, "cityscapes": 16}
"""Of Cityscapes no paper has a score: that is the network's own rule."""


@pytest.fixture
def evaluated(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Prepares a replica, and runs `segvoc evaluate` on it with a small network in place of a preset's."""
    monkeypatch.setattr(report_page, "MAX_EXAMPLES", 0)

    def run(network: NetworkSegmenter, benchmark: str, *options: str, out: str = "report") -> dict[str, Any]:
        monkeypatch.setattr(opening, "open_model", lambda spec, **_: network)
        if not Path("data").exists():
            replica(benchmark, Path("data"))
            segvoc_command("prepare", benchmark, "--data", "data", "--jobs", "1", "--partial").ok()
        call = ("evaluate", network.name, "--benchmark", benchmark, "--data", "data", "--out", out, "--json")
        return json.loads(segvoc_command(*call, *options).ok().out)

    return run


@pytest.fixture(scope="module")
def err_seg() -> NetworkSegmenter:
    """A small ERR-Seg, with the protocols and the class selection of the preset."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = small_err_seg()
    model = NetworkSegmenter(name="err-seg-b", network=network, protocols=err_protocols(64), templates=(CLIP_TEMPLATE,))
    return model


@pytest.mark.parametrize(
    "name", [name if name in ("pc-59", "cityscapes") else pytest.param(name, marks=pytest.mark.slow) for name in KEPT]
)
def test_err_seg_keeps_as_many_classes_as_published_or_by_its_own_rule(name, evaluated, err_seg):
    report = evaluated(err_seg, name)
    protocol, published = report["protocol"], {"window": "official", "kept_classes": KEPT[name], "deviations": []}
    assert published.items() <= protocol.items()
    assert protocol["source"].startswith("ERR-Seg, Tables 8") == (name != "cityscapes")
    if name == "cityscapes":
        assert report["verdict"] == "no paper that segvoc knows reports a score of err-seg-b on Cityscapes"
    journal = Path("report/journal/rank-0.jsonl").read_text().splitlines()[1:]
    assert {json.loads(line)["value"]["kept_classes"] for line in journal} == {KEPT[name]}


def test_options_that_say_the_same_do_not_deviate_and_others_are_named_everywhere(evaluated, segvoc_command, err_seg):
    same = evaluated(err_seg, "pc-59", "--keep-classes", "24", "--window", "official", out="same")
    assert same["protocol"]["deviations"] == []
    options = ("--keep-classes", "8", "--window", "single", "--threshold", "0.25")
    report = evaluated(err_seg, "pc-59", *options)
    named = ["window single instead of official", "keep_classes 8 instead of 24", "threshold 0.25 instead of none"]
    assert (report["protocol"]["deviations"], report["protocol"]["kept_classes"]) == (named, 8)
    assert f"the protocol deviates: {', '.join(named)}" in report["verdict"]
    texts = [Path(f"report/{file}").read_text(encoding="utf-8") for file in ("row.md", "index.html")]
    call = ("evaluate", "err-seg-b", "--benchmark", "pc-59", "--data", "data", "--out", "report")
    for text in (*texts, segvoc_command(*call, *options).out):
        assert "window single instead of official" in text and "8 instead of 24" in text


def test_every_published_score_has_a_published_protocol():
    for name in BENCHMARKS:
        for score in BENCHMARKS[name].published:
            protocol = published_protocol(score.preset, name)
            assert protocol.source, (score.preset, name)
            assert PRESETS[score.preset].templates == protocol.templates
    assert published_protocol("tiny", "a-150") == published_protocol("unheard of", "a-150") == NO_PAPER


def protocol_of(preset: str, name: str, *, has_background: bool = False, **settings: Any):
    """The protocol of a preset's own windows and prompts on a benchmark."""
    clip = clip_protocols(384, 16)
    windows = {"CAT-Seg": clip, "PCA-Seg": clip, "SynSeg": syn_protocols()}
    protocols, templates = windows.get(PRESETS[preset].family or "", part_protocols(448)), PRESETS[preset].templates
    network = NetworkSegmenter(name=preset, network=small_network(0), protocols=protocols, templates=templates)
    network.traits = replace(network.traits, has_background=has_background)
    benchmark = BENCHMARKS[name]
    words, facts = benchmark.classes, {"name": "set", "background": benchmark.background}
    images = LabeledImages(vocabulary=Vocabulary(words), images=(), **facts)
    rules = {"benchmark": benchmark, "parts": benchmark.parts}
    task = EvaluationTask(name="set", title="Set", images=images, classes=words, **rules)
    guide = settings.pop("substring_guide", None)
    return evaluation_protocol(network, task, EvaluationSettings(substring_guide=guide, options=settings))


def test_cat_seg_and_pca_seg_slide_and_keep_256_classes():
    for preset in ("cat-seg-b", "pca-seg-b"):
        protocol = protocol_of(preset, "a-847")
        assert (protocol.options.window, protocol.kept_classes, protocol.steps.pooling) == ("official", 256, (1, 1))
        assert protocol.steps.sliding is not None and protocol.steps.loader is not None
        assert protocol_of(preset, "a-150").kept_classes is None
        assert protocol_of(preset, "a-150", keep_classes="all").deviations == ()
        (deviation,) = protocol_of(preset, "a-847", keep_classes="all").deviations
        assert deviation == "keep_classes all instead of the network's own rule"


def test_syn_seg_has_a_background_in_two_benchmarks_of_its_table():
    table = {name: protocol_of("syn-seg-b", name) for name in ("voc-21", "coco-object", "pc-59", "cityscapes", "a-150")}
    rules = [(protocol.options.background, protocol.options.threshold) for protocol in table.values()]
    assert rules == [("background", 0.5)] * 2 + [(None, None)] * 3
    assert {(one.options.window, one.templates) for one in table.values()} == {("official", (SYN_TEMPLATE,))}
    assert "threshold" in str(table["voc-21"].origin()["chosen"])
    tcl = protocol_of("syn-seg-b", "voc-21", window="tcl", threshold=0.4)
    assert tcl.deviations == ("window tcl instead of official", "threshold 0.4 instead of 0.5")


def test_part_networks_are_guided_by_substrings_as_published():
    for preset in ("part-cat-seg-b", "pca-part-b"):
        protocol = protocol_of(preset, "ade20k-part-234", has_background=True)
        assert (protocol.options.window, protocol.options.background) == ("official", "background")
        assert protocol.substring_guide and protocol.templates == IMAGENET_TEMPLATES
        exact = protocol_of(preset, "ade20k-part-234", has_background=True, substring_guide=False)
        assert exact.deviations == ("substring_guide False instead of True",)
    assert not protocol_of("tiny", "ade20k-part-234").substring_guide


def test_prompts_limits_and_options_of_the_network_are_deviations():
    network = small_segmenter(name="cat-seg-b")
    images = LabeledImages(name="set", vocabulary=Vocabulary(("cat", "dog")), images=())
    task = EvaluationTask(name="a", title="A", images=images, classes=("cat", "dog"), benchmark=BENCHMARKS["a-150"])
    found = evaluation_protocol(network, task, EvaluationSettings(limit=7)).deviations
    assert found == (f"prompts '{{}}' instead of {CLIP_TEMPLATE!r}", "only the first 7 images")
    preset = PRESETS["cat-seg-b"]
    changed = with_settings(preset.configuration, {"blocks": 1, "prompts": "imagenet"}, "cat-seg-b")
    network.origin = {"preset": "cat-seg-b", **configuration_record(changed)}
    found = evaluation_protocol(network, task, EvaluationSettings()).deviations
    assert found[1:] == ("the network differs from the preset: blocks=1",)
