"""A project's figures; metrics by the rules of Prometheus, and the dashboard and alerts by the metrics that there are.

promtool, of Debian's package prometheus, also runs the alerts over drawn figures.
"""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from annotate.tests.projects.drawn_projects import drawn_project, drawn_work
from annotate.tests.service.jobs import failing, stuck
from annotate.tests.services import in_process
from segvoc.runtime.version import __version__
from segvoc_annotate.cli.project import project as project_command
from segvoc_annotate.projects.archive import last_backup
from segvoc_annotate.service import exports
from tests.serving.services import png

HELM = Path(__file__).parents[3] / "deploy/helm"
CHART = HELM / "segvoc"
ALERT_TESTS = HELM / "alerts_test.yaml"
FUNCTIONS = (
    "absent avg count group histogram_quantile increase label_values max max_over_time min rate sum time".split()
)
SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds."""

_SELECTED = re.compile(r"\b((?:segvoc|process)_[a-z_]+)\b(?:\{([^}]*)\})?")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a service with a project says after a labeled image, a refused one and a wrong address."""
    folder = tmp_path_factory.mktemp("street")
    (keys := folder / "keys").write_text(f"anna: {'k' * 20}\n")
    drawn_project(folder / "street", "a.png").close()
    with in_process(api_key_file=keys, project=folder / "street") as client:
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
    if shutil.which("promtool") is not None:
        subprocess.run(["promtool", "check", "metrics"], input=text, text=True, check=True)


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


def test_each_alert_fires_and_is_silent_in_the_tests_of_promtool() -> None:
    rules = yaml.safe_load((CHART / "files/alerts.yaml").read_text("utf-8"))["groups"][0]["rules"]
    tests = yaml.safe_load(ALERT_TESTS.read_text("utf-8"))["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    for fires in (True, False):
        tested = {case["alertname"] for case in cases if ("exp_alerts" in case) == fires}
        assert tested == {rule["alert"] for rule in rules}
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool: install Debian's package prometheus")
    subprocess.run(["promtool", "check", "rules", str(CHART / "files/alerts.yaml")], check=True)
    subprocess.run(["promtool", "test", "rules", str(ALERT_TESTS)], check=True)


def figures(client: TestClient) -> dict[str, float]:
    """The figures of the project that aren't 0, by name and the values of their labels."""
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            is_plain = "le" not in sample.labels and not sample.name.endswith("_created")
            if sample.name.startswith("segvoc_project_") and sample.value and is_plain:
                name = sample.name.removeprefix("segvoc_project_")
                found[" ".join((name, *(sample.labels[label] for label in sorted(sample.labels))))] = sample.value
    return found


def counts(found: dict[str, float], name: str) -> dict[str, float]:
    return {key.removeprefix(f"{name} "): value for key, value in found.items() if key.startswith(f"{name} ")}


def test_the_figures_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    project = drawn_project(tmp_path / "street", *(f"{number}.png" for number in range(6)))
    for number in range(5):
        revision = project.write(name := f"{number}.png", drawn_work(0, 1), expected=0).revision
        if number:
            revision = project.set_done(name, number != 1, expected=revision).revision
        if number > 2:
            project.review(name, "accepted" if number == 3 else "sent back", "", expected=revision)
    with in_process(project=project.folder) as client, ThreadPoolExecutor() as threads:
        found = figures(client)
        states = {"unlabeled": 1, "labeled": 2, "done": 1, "accepted": 1, "sent back": 1}
        assert counts(found, "images") == states
        assert 0 < found["free_bytes"] < found["volume_bytes"]
        # what nothing is known of is 0: changes before the start, backups, people
        assert set(found) == {f"images {state}" for state in states} | {"free_bytes", "volume_bytes"}

        assert not project_command(["backup", str(project.folder)], standalone_mode=False)
        seq = client.get("/v1/project").json()["seq"]
        polls = [
            threads.submit(client.get, f"/v1/project/changes?after={seq}&wait=25", headers={"X-Segvoc-User": name})
            for name in ("anna", "anna", "ben")
        ]
        while (found := figures(client)).get("long_polls") != 3:
            time.sleep(0.02)
        assert found["people"] == 2 and found["backup_timestamp_seconds"] == last_backup(project.folder) > 0
        answers = [
            client.put("/v1/project/done/0.png", json={"done": True}, headers={"If-Match": revision})
            for revision in ("1", "0")
        ]
        assert [answer.status_code for answer in answers] == [200, 412]
        assert all(poll.result().status_code == 200 for poll in polls)
        found = figures(client)
        assert counts(found, "changes_total") == {"done": 1} and counts(found, "images")["done"] == 2
        assert "long_polls" not in found and "people" not in found
        assert re.search(r'segvoc_requests_total\{code="conflict",.*status="412"\} 1', client.get("/metrics").text)

        for target in (exports.export_zip, failing, stuck):
            with monkeypatch.context() as patched:
                patched.setattr(exports, "export_zip", target)
                state = client.post("/v1/project/exports", json={"format": "voc", "all": True}).json()
                if target is stuck:
                    assert counts(figures(client), "jobs") == {"export": 1}
                    client.delete(f"/v1/project/exports/{state['id']}")
                while "jobs export" in (found := figures(client)):
                    time.sleep(0.05)
        ended = {"export done": 1, "export failed": 1, "export canceled": 1}
        assert counts(found, "job_seconds_count") == ended
        assert counts(found, "job_seconds_sum").keys() == ended.keys()
        failed = [record for record in caplog.records if "problem" in getattr(record, "fields", ())]
        assert [(record.levelname, record.fields["problem"]) for record in failed] == [
            ("WARNING", "the disk is full; free some space")
        ]
        # a volume that is away doesn't hide the other figures
        monkeypatch.setattr(shutil, "disk_usage", lambda _: (_ for _ in ()).throw(OSError()))
        assert "free_bytes" not in figures(client) and counts(figures(client), "images")


def test_the_chart_names_the_version_that_it_installs() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["appVersion"] == __version__
