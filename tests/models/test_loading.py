"""Networks by name and by file: the table of presets, devices, weights; what `segvoc.save` writes comes back."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import segvoc
from segvoc.checkpoints.files import write_weights
from segvoc.checkpoints.published import PUBLISHED, PublishedFile
from segvoc.cli.info import describe
from segvoc.encoders.vit import TIMM_CLIPS
from segvoc.errors import CheckpointError, UsageError
from segvoc.layers.cost_sum import CostSum, NoAggregation
from segvoc.models import loading
from segvoc.models import weights as network_weights
from segvoc.models.headers import configuration_record
from segvoc.models.loading import find_dtype
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.opening import load_network
from segvoc.models.presets import PRESETS
from segvoc.models.resolving import resolve
from tests.built import configured
from tests.images import one_line_error
from tests.inference.small_network import SMALL_PRESET, assert_same_results
from tests.official_checkpoints import official_weights, small_preset

pytestmark = pytest.mark.usefixtures("small_in_the_table")


@pytest.fixture(scope="module")
def small_in_the_table() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "small", SMALL_PRESET)
        yield


UNPUBLISHED = [name for name, preset in PRESETS.items() if not preset.shipped and preset.published is None]
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def random_small(small_in_the_table: None) -> NetworkSegmenter:
    return load_network("small", weights="random", device="cpu")


def _refused(*said: str, **arguments: object) -> str:
    with pytest.raises(CheckpointError) as refusal:
        load_network(**arguments)  # type: ignore[arg-type]
    message = str(refusal.value)
    assert "\n" not in message and all(part in message for part in said)
    return message


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *((name, "; the nearest is tiny") for name in ("tinny", "Tiny", "tiny ")),
        *((name, "; `segvoc models`") for name in ("", "some/folder/tiny", "weights.pth")),
        ("sam_vit_b", "; `segvoc click` finds objects by clicks and boxes; `segvoc models`"),
    ],
)
def test_unknown_name_is_refused_with_near_names(name: str, meant: str) -> None:
    with one_line_error(UsageError, f"{name!r} is unknown{meant}"):
        load_network(name)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        *(({"device": name}, f"{name!r} is not available; use 'auto'") for name in ("meta", "cuda:99")),
        *(({"device": name}, f"unknown device {name!r}; use 'cuda'") for name in ("gpu", "", "cpu:x")),
        *(
            ({"dtype": kind}, "it is 'auto', 'float32', 'bfloat16' or")
            for kind in ("double", "half", torch.float64, None)
        ),
        ({"dtype": "float16", "device": "cpu"}, "'float16' is for GPUs; on a CPU use 'bfloat16'"),
    ],
)
def test_unknown_devices_and_types_are_refused(setting: dict[str, Any], said: str) -> None:
    with one_line_error(UsageError, match=said):
        load_network("tiny", **setting)


def test_dtype_is_bfloat16_for_the_shipped_tiny_where_the_processor_multiplies_it(monkeypatch) -> None:
    expected = {(True, None): "bfloat16", (False, None): "float32", (True, "random"): "float32"}
    for (multiplies, weights), dtype in expected.items():
        monkeypatch.setattr(loading, "multiplies_bfloat16", lambda device, multiplies=multiplies: multiplies)
        assert load_network("tiny", device="cpu", weights=weights).dtype == dtype
    assert [name for name, preset in PRESETS.items() if preset.keeps_labels_in_bfloat16] == ["tiny"]
    assert find_dtype(torch.float32, torch.device("cpu"), keeps_labels=True) == torch.float32
    assert find_dtype("float16", torch.device("cuda"), keeps_labels=False) == torch.float16


COUNTS = {
    "cat-seg-eva-b": (154_359_778, 28_261_601), "cat-seg-eva-l": (433_865_890, 77_348_065),
    "pca-seg-b": (157_110_902, 31_012_725), "err-seg-b": (188_853_370, 126_432_633),
    "err-seg-vit-b": (156_960_506, 27_787_001), "part-cat-seg-b": (176_394_338, 26_773_601),
    "pca-part-b": (177_791_222, 42_326_261),
    # CLIP's own 149,620,737, the decoder and the projector
    "clipseg-rd64": (150_727_170, 1_106_433), "clipseg": (150_781_026, 1_160_289),
    # and the factor and the offset of the cosines
    "clip-b": (149_620_739, 20_447_234), "eva-clip-b": (149_691_139, 23_592_962),
}  # fmt: skip
"""Parameters, and those that learn."""


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_counted_as_published(name: str) -> None:
    facts = describe(name)
    assert (facts["parameters"], facts["trainable"]) == COUNTS[name]


def test_an_option_that_a_preset_cannot_have_is_refused() -> None:
    """tests/test_records.py has what is said of settings."""
    with pytest.raises(UsageError, match="tiny has no setting 'dense'; it has aggregation, order, blocks, fusion, "):
        describe("tiny", ["dense=qq"])
    with pytest.raises(UsageError, match="heads=0 is out of range; give a number from 1 to 256"):
        describe("cat-seg-b", ["vit.heads=0"])


@pytest.mark.parametrize("name", UNPUBLISHED)
def test_preset_without_weights_says_which_to_get(name: str) -> None:
    message = _refused(name, "none that are published", "--weights", name=name)
    named = ("DeCLIP", "OpenAI's ViT-", "open_clip's ", *(sizes.title for sizes in TIMM_CLIPS.values()))
    assert [towers in message for towers in named].count(True) == 1


@pytest.mark.parametrize("name", ["cat-seg-b", "cat-seg-l"])
def test_published_weights_are_fetched_where_none_are_given(name, tmp_path, monkeypatch):
    small = small_preset("cat-seg-b")
    monkeypatch.setitem(PRESETS, name, replace(small, published=PUBLISHED[name]))
    torch.save({"model": official_weights("cat-seg-b"), "optimizer": {}}, tmp_path / "fetched.pth")
    asked: list[PublishedFile] = []

    def fetch(published: PublishedFile) -> Path:
        asked.append(published)
        return tmp_path / "fetched.pth"

    monkeypatch.setattr(network_weights, "fetch", fetch)
    for weights in (tmp_path / "fetched.pth", "random"):
        load_network(name, weights=weights)
    assert asked == []
    expected = load_network(name, weights=tmp_path / "fetched.pth", device="cpu").network.state_dict()
    found = load_network(name, device="cpu").network.state_dict()
    assert asked == [PUBLISHED[name]]
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_random_weights_are_the_same_each_time(random_small: NetworkSegmenter) -> None:
    torch.manual_seed(1234)
    state = torch.random.get_rng_state()
    again = load_network("small", weights="random", device="cpu")
    assert torch.equal(torch.random.get_rng_state(), state)
    first, second = random_small.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert first["text_encoder.table.weight"].std() > 0


def test_another_aggregation_begins_with_the_cost_sum_if_that_fits() -> None:
    file = SimpleNamespace(tensors={name: torch.zeros(3) for name in ("image_encoder.a", "aggregation.skip.b", "c")})
    for size, taken in ((3, {"image_encoder.a", "aggregation.skip.b"}), (4, {"image_encoder.a"})):
        network = SimpleNamespace(state_dict=lambda size=size: {"aggregation.skip.b": torch.zeros(size)})
        assert network_weights.shared_tensors(file, network).keys() == taken  # type: ignore[arg-type]


def test_weights_of_another_network_are_refused_and_the_file_named(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.safetensors" for name in ("pca-seg-b", "from-the-future")}
    for name, path in paths.items():
        write_weights(path, {"a": torch.zeros(1)}, name)
    _refused("pca-seg-b.safetensors", "for 'pca-seg-b', not for tiny", name="tiny", weights=paths["pca-seg-b"])
    _refused("from-the-future", "newer", name=paths["from-the-future"])
    _refused("from-the-future.safetensors", name="tiny", weights=paths["from-the-future"])
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "resnet.pth")
    for name in ("tiny", "pca-seg-clip-b"):
        _refused("resnet.pth", "of another network", name=name, weights=tmp_path / "resnet.pth")


KEY = "image_encoder.project.weight"
MISFITS: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "missing": lambda state: state.pop(KEY),
    "unexpected": lambda state: state.update({"more.weight": state[KEY].clone()}),
    "nan": lambda state: state.update({KEY: state[KEY] * float("nan")}),
}


@pytest.mark.parametrize("change", MISFITS)
def test_weights_that_do_not_fit_are_refused(random_small: NetworkSegmenter, tmp_path: Path, change: str) -> None:
    state = dict(random_small.network.state_dict())
    MISFITS[change](state)
    write_weights(tmp_path / "w.safetensors", state, "small")
    _refused(
        "w.safetensors", "more" if change == "unexpected" else KEY, name="small", weights=tmp_path / "w.safetensors"
    )


WORDS = ["cat", "wall"]


def with_cost_alone() -> segvoc.NetworkSegmenter:
    """The smallest aggregation: the cost of each word, scaled."""
    model = segvoc.load("small", weights="random", device="cpu")
    model.network.aggregation = NoAggregation(CostSum(1))
    return model


def test_options_come_back(tmp_path: Path) -> None:
    model = segvoc.load("small", weights="random", options={"aggregation": "none"}, device="cpu")
    segvoc.save(model, tmp_path / "none.safetensors", origin="a test", license="none")
    again = segvoc.load(tmp_path / "none.safetensors", device="cpu")
    assert_same_results(*(one.segment(IMAGE, WORDS) for one in (model, again)))


def test_rounded_weights_are_not_saved(tmp_path: Path) -> None:
    model = segvoc.load("small", weights="random", device="cpu", dtype="bfloat16")
    with pytest.raises(segvoc.UsageError, match="were rounded to bfloat16; save it loaded with dtype='float32'"):
        segvoc.save(model, tmp_path / "rounded.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_network_of_ones_own_must_be_given_and_is_filled(tmp_path: Path) -> None:
    custom = with_cost_alone()
    with torch.no_grad():
        custom.network.aggregation.skip.weight.fill_(7)
    segvoc.save(custom, tmp_path / "mine.safetensors")
    again = segvoc.load(tmp_path / "mine.safetensors", network=with_cost_alone().network, device="cpu")
    assert float(again.network.aggregation.skip.weight) == 7
    assert_same_results(*(one.segment(IMAGE, WORDS) for one in (custom, again)))
    with pytest.raises(segvoc.CheckpointError, match=r"load it with network="):
        segvoc.load(tmp_path / "mine.safetensors")


def test_a_model_that_load_did_not_make_is_refused(tmp_path: Path) -> None:
    custom = with_cost_alone()
    model = segvoc.NetworkSegmenter(name="mine", network=custom.network, protocols=custom.protocols, templates=["{}"])
    with pytest.raises(segvoc.UsageError, match="the preset of 'mine' is unknown"):
        segvoc.save(model, tmp_path / "mine.safetensors")


def file_of(folder: Path, preset: str, **record: object) -> str:
    write_weights(folder / "w.safetensors", {"a": torch.zeros(1)}, preset, **record)
    return str(folder / "w.safetensors")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_file_brings_the_whole_configuration(preset, tmp_path):
    configuration = PRESETS[preset].configuration
    assert resolve(file_of(tmp_path, preset, **configuration_record(configuration))).configuration == configuration


@pytest.mark.parametrize(
    "record",
    [
        {"configuration": {"kind": "clip", "aggregation": {"kind": "new"}}},
        {"configuration": {"kind": "err-seg"}},
        {"configuration": {"aggregation": {"dim": 10**12}}},
        {"configuration": 3},
    ],
)
def test_a_header_that_asks_for_something_unknown_is_one_line(record, tmp_path):
    with one_line_error(CheckpointError, match=r"w.safetensors' needs a newer segvoc"):
        resolve(file_of(tmp_path, "cat-seg-b", **record))


def test_towers_alone_serve_another_preset_with_its_own_aggregation(tmp_path):
    record = configuration_record(configured("pca-seg-b", dense="qq"))
    towers = file_of(tmp_path, "pca-seg-b", parts=["image_encoder", "text_encoder"], **record)
    found = resolve("cat-seg-eva-b", weights=towers).configuration
    assert found == configured("cat-seg-eva-b", dense="qq")
    assert resolve("cat-seg-b", weights=towers).configuration == PRESETS["cat-seg-b"].configuration
