"""The metrics by the rules of Prometheus, and the dashboard and alerts by the metrics that the service has."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from segvoc.runtime.version import __version__
from tests.serving.services import in_process, png

CHART = Path(__file__).parents[2] / "deploy/helm/segvoc"
FUNCTIONS = "absent avg count group histogram_quantile increase label_values max min rate sum".split()
SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds."""

_SELECTED = re.compile(r"\b((?:segvoc|process)_[a-z_]+)\b(?:\{([^}]*)\})?")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a service says after a labeled image, a refused one and a wrong address."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"anna: {'k' * 20}\n")
    with in_process(api_key_file=keys) as client:
        client.headers["Authorization"] = f"Bearer {'k' * 20}"
        for content in (png(), b"no image"):
            client.post("/v1/segment", files={"image": content}, data={"words": "cat, wall"})
        client.get("/no/such/address")
        return client.get("/metrics").text


def labels_by_name(text: str) -> Mapping[str, frozenset[str]]:
    """The labels of each sample's name."""
    return {
        sample.name: frozenset(sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def expressions() -> Iterator[tuple[str, str]]:
    """Where an expression is, and the expression."""
    rules = yaml.safe_load((CHART / "files/alerts.yaml").read_text("utf-8"))
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        yield rule["alert"], rule["expr"]
    dashboard = json.loads((CHART / "files/dashboard.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])
    yield from ((value["name"], value["query"]["query"]) for value in dashboard["templating"]["list"][1:])


def test_the_metrics_follow_the_rules_of_promtool(text: str) -> None:
    names = set()
    for family in text_string_to_metric_families(text):
        assert family.name not in names, f"{family.name} comes twice"
        names.add(family.name)
        assert family.documentation and family.type in ("counter", "gauge", "histogram"), family.name
        assert re.fullmatch(r"(segvoc|process)_[a-z_]+", family.name)
        assert not re.search(r"_(milliseconds|ms|kb|mb|minutes|total|count|sum|bucket)$", family.name)
        samples = {sample.name for sample in family.samples}
        assert all(name.endswith("_total") for name in samples) == (family.type == "counter") or not samples
        placed = [(sample.name, *sorted(sample.labels.items())) for sample in family.samples]
        assert len(set(placed)) == len(placed)
        if family.type == "histogram":
            assert any(sample.labels.get("le") == "+Inf" for sample in family.samples) or not samples
            assert all("le" in sample.labels for sample in family.samples if sample.name.endswith("_bucket"))
    assert {"segvoc_build_info", "segvoc_model_info", "segvoc_reload_failures"} <= names


@pytest.mark.parametrize(("place", "expression"), expressions())
def test_expressions_use_metrics_and_labels_that_there_are(place: str, expression: str, text: str) -> None:
    known = labels_by_name(text)
    used = _SELECTED.findall(expression)
    assert used
    labels = set[str](SCRAPED)
    for name, selector in used:
        assert name in known, name
        labels |= known[name]
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) <= known[name] | SCRAPED
    for listed in re.findall(r"\b(?:by|on|group_left|without)\s*\(([^)]*)\)", expression):
        assert set(re.findall(r"\w+", listed)) <= labels
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)
    called = set(re.findall(r"\b(\w+)\s*\(", expression)) - {"by", "on", "group_left", "without"}
    assert called <= set(FUNCTIONS)
    assert not re.search(r"(?:rate|increase)\([^()]*(?<!\])\)", expression)  # they need a range


def test_counters_are_rates_and_the_alerts_have_what_a_person_reads() -> None:
    for place, expression in expressions():
        for name in re.findall(r"\b(\w+)_total\b", expression):
            assert re.search(rf"(?:rate|increase)\({name}_total", expression), place
    rules = yaml.safe_load((CHART / "files/alerts.yaml").read_text("utf-8"))["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] in ("page", "ticket") for rule in rules)


def test_the_chart_names_the_version_that_it_installs() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["appVersion"] == __version__
