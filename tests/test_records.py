"""Configurations as JSON and as settings: strict, typed, by dotted names."""

import json
from dataclasses import dataclass, replace
from typing import Literal

import pytest

from segvoc.errors import UsageError
from segvoc.storage.records import check_range, differences, from_json, to_json, with_settings
from segvoc.storage.records import parse_settings as parse
from tests.images import one_line_error


@dataclass(frozen=True, kw_only=True)
class Sizes:
    heads: int = 4
    taps: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        check_range(self, {"heads": (1, 8), "taps": (0, 99)})


@dataclass(frozen=True, kw_only=True)
class Blocks:
    kind: Literal["blocks", "none"] = "blocks"
    order: Literal["parallel", "serial"] = "parallel"
    experts: int | None = None
    rate: float = 0.5
    sizes: Sizes = Sizes()


@dataclass(frozen=True, kw_only=True)
class Decoder:
    kind: Literal["decoder"] = "decoder"
    width: int
    heads: int = 2


@dataclass(frozen=True, kw_only=True)
class Network:
    name: str = "small"
    tower: Sizes = Sizes(heads=2)
    width: int = 16
    pair: tuple[int, int] = (1, 1)
    tuned: bool = False
    inner: Blocks | Decoder = Blocks()


CHANGED = Network(name="other", tuned=True, inner=Blocks(kind="none", experts=3, sizes=Sizes(taps=())))


@pytest.mark.parametrize("network", [CHANGED, Network(inner=Decoder(width=3))])
def test_json_gives_the_same_back(network):
    assert from_json(Network, json.loads(json.dumps(to_json(network)))) == network
    assert from_json(Network, {"inner": {"kind": "blocks", "order": "serial"}}) == Network(inner=Blocks(order="serial"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "the content is [], not an object"),
        ({"depth": 1}, "'depth' is unknown; there are name, tower,"),
        ({"tower": {"depth": 1}}, "'tower.depth' is unknown; there are heads, taps"),
        ({"tower": {"heads": True}}, "tower.heads=True is not a whole number"),
        ({"tower": {"heads": 10**9}}, "heads=1000000000 is out of range; give a number from 1 to 8"),
        ({"pair": [1, 2, 3]}, "pair=[1, 2, 3] is not a list"),
        ({"name": 3}, "name=3 is not a text"),
        ({"tower": {"taps": [1, "x"]}}, "tower.taps[1]=x is not a whole number"),
        ({"tuned": 1}, "tuned=1 is not true or false"),
        ({"inner": {"kind": "blocks", "order": "random"}}, "inner.order=random is not one of parallel, serial"),
        ({"inner": {"kind": "new"}}, "inner.kind is new; it is one of blocks, none, decoder"),
        ({"inner": {"kind": "decoder"}}, "'inner.width' is missing"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_dotted_name(content, said):
    with one_line_error(UsageError, said):
        from_json(Network, content)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "a b", "tuned": "true", "pair": "3, 4"}, Network(name="a b", tuned=True, pair=(3, 4))),
        ({"inner.order": "serial", "rate": "1e-3"}, Network(inner=Blocks(order="serial", rate=1e-3))),
        ({"experts": 2, "rate": 1}, Network(inner=Blocks(experts=2, rate=1.0))),
        ({"experts": "none"}, Network()),
        ({"tower.heads": "8", "tower.taps": ""}, Network(tower=Sizes(heads=8, taps=()))),
        ({"sizes.heads": "1"}, Network(inner=Blocks(sizes=Sizes(heads=1)))),
        ({"inner": "none", "order": "serial"}, Network(inner=Blocks(kind="none", order="serial"))),
        ({"width": "3"}, Network(width=3)),
    ],
)
def test_settings_change_what_they_name_and_nothing_else(settings, expected):
    assert with_settings(Network(), settings, "it") == expected
    decoder = Network(inner=Decoder(width=1))
    assert with_settings(decoder, {"inner.width": "5"}, "it") == replace(decoder, inner=Decoder(width=5))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"other": "serial"},
            "it has no setting 'other'; it has name, tower.heads, tower.taps, width, pair, tuned, inner,",
        ),
        ({"ordr": "serial"}, "it has no setting 'ordr'; did you mean order?"),
        ({"head": "2"}, "did you mean tower.heads or sizes.heads?"),
        ({"heads": "2"}, "'heads' is ambiguous; did you mean tower.heads or sizes.heads?"),
        ({"order": "serial", "inner.order": "serial"}, "'order' and 'inner.order' are the same setting"),
        ({"rate": "fast"}, "rate=fast is not a number"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, said):
    with one_line_error(UsageError, said):
        with_settings(Network(), settings, "it")


def test_fixed_fields_and_texts_that_set_nothing_or_twice_are_refused():
    with pytest.raises(UsageError, match="no setting 'width'"):
        with_settings(Network(), {"width": 3}, "it", ["width"])
    for texts, said in ((["blocks"], "'blocks' sets nothing; write it as NAME=VALUE"), (["a=1", "a=2"], "set twice")):
        with pytest.raises(UsageError, match=said):
            parse(texts)
    with pytest.raises(UsageError, match="NAME=VALUE"):
        parse(["=2"])


@pytest.mark.parametrize("network", [Network(), CHANGED, Network(inner=Blocks(order="serial", sizes=Sizes(heads=1)))])
def test_differences_are_the_settings_that_make_it(network):
    assert with_settings(Network(), differences(network, Network()), "it") == network
