"""The chart: what `helm template` made of it, which is stored, and makes of it, where helm is installed.

After a change of the chart, `python -m tests.serving.test_chart` renders it anew, with helm.
"""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from segvoc.cli.serve import serve_command

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "segvoc"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))
STORED = Path(__file__).parent / "chart"
SETTINGS = {
    "default": "",
    "everything": "project.enabled=false,autoscaling.enabled=true,autoscaling.queue=4,monitoring.enabled=true,"
    "monitoring.labels.release=prometheus,network.callers[0].podSelector.matchLabels.app=ingress,"
    "ingress.enabled=true,ingress.host=labels.example.org,ingress.tlsSecret=tls",
}
needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="needs helm")


def template(settings: str) -> str:
    command = ["helm", "template", "labels", str(CHART), "--set", f"keys.existingSecret=keys,{settings}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def objects_of(text: str) -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all(text) if one}


def stored(name: str) -> dict[str, Any]:
    first, _, text = (STORED / f"{name}.yaml").read_text("utf-8").partition("\n")
    assert first == stamp(), "the chart has changed; with helm: python -m tests.serving.test_chart"
    return objects_of(text)


def stamp() -> str:
    """A comment with the digest of the chart's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in CHART.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(CHART).as_posix()}\n".encode() + path.read_bytes())
    return f"# of the chart {digest.hexdigest()}"


@needs_helm
@pytest.mark.parametrize("name", SETTINGS)
def test_stored_objects_are_what_helm_makes(name: str):
    assert stored(name) == objects_of(template(SETTINGS[name]))


def test_by_default_it_has_a_project_and_nothing_that_clusters_may_lack():
    objects = stored("default")
    assert set(objects) == {"Deployment", "Service", "PersistentVolumeClaim", "NetworkPolicy"}
    policy = objects["NetworkPolicy"]["spec"]
    assert policy["egress"] == [] and policy["policyTypes"] == ["Ingress", "Egress"]
    assert "from" not in policy["ingress"][0]


def test_with_everything_it_is_watched_scaled_and_kept_running():
    objects = stored("everything")
    kinds = {"ServiceMonitor", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Ingress"}
    assert kinds <= set(objects)
    pod = objects["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert f"--metrics-port={ports['metrics']}" in container["args"] and f"--port={ports['http']}" in container["args"]
    labels, service = pod["metadata"]["labels"], objects["Service"]
    selectors = [objects[kind]["spec"]["selector"]["matchLabels"] for kind in ("PodDisruptionBudget", "ServiceMonitor")]
    selectors.append(objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"])
    assert all(selector.items() <= labels.items() for selector in [*selectors, service["spec"]["selector"]])
    monitor = objects["ServiceMonitor"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    (queue, cpu) = objects["HorizontalPodAutoscaler"]["spec"]["metrics"]
    wanted = {"type": "AverageValue", "averageValue": "4"}
    assert queue["pods"] == {"metric": {"name": "segvoc_queue"}, "target": wanted}
    assert cpu["resource"]["name"] == "cpu"
    caller = {"podSelector": {"matchLabels": {"app": "ingress"}}}
    assert objects["NetworkPolicy"]["spec"]["ingress"][0]["from"] == [*VALUES["network"]["callers"], caller]


@pytest.mark.parametrize(
    "wrong",
    [
        {"autoscaling": {"enabled": True, "queue": -1}},
        {"network": {"enabled": True, "unknown": 1}},
        {"ingress": {"enabled": True, "host": "labels.example.org", "tlsSecret": ""}},
        {"unknown": 1},
    ],
)
def test_the_schema_takes_the_values_and_refuses_wrong_ones(wrong: dict[str, Any]):
    jsonschema.validate(VALUES, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(VALUES | wrong, SCHEMA)


def test_the_templates_use_the_values_that_there_are_and_options_that_the_command_has():
    flags = {name for option in serve_command.params for name in option.opts}
    for path in (CHART / "templates").iterdir():
        text = path.read_text("utf-8")
        for name in re.findall(r"\.Values\.([A-Za-z.]+)", text):
            value, described = VALUES, SCHEMA["properties"]
            for step in name.split("."):
                assert step in value and step in described, f"{path.name}: {name}"
                value, described = value[step], described[step].get("properties", {})
        assert {flag for flag in re.findall(r"- (--[a-z-]+)=", text)} <= flags, path.name


if __name__ == "__main__":
    for name, settings in SETTINGS.items():
        (STORED / f"{name}.yaml").write_text(f"{stamp()}\n{template(settings)}", encoding="utf-8")
