"""The chart: what `helm template` makes of it, where helm is installed; and that it reads only values that it has."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from segvoc.cli.serve import serve_command

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "segvoc"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
ALL = (
    "project.enabled=false,autoscaling.enabled=true,autoscaling.queue=4,monitoring.enabled=true,"
    "monitoring.labels.release=prometheus,network.callers[0].podSelector.matchLabels.app=ingress,"
    "ingress.enabled=true,ingress.host=labels.example.org,ingress.tlsSecret=tls"
)
needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="needs helm")


def rendered(settings: str = "") -> dict[str, Any]:
    """The objects by kind, with these settings and a key."""
    command = ["helm", "template", "labels", str(CHART), "--set", f"keys.existingSecret=keys,{settings}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {one["kind"]: one for one in yaml.safe_load_all(text) if one}


@needs_helm
def test_by_default_it_has_a_project_and_nothing_that_clusters_may_lack():
    objects = rendered()
    assert set(objects) == {"Deployment", "Service", "PersistentVolumeClaim", "NetworkPolicy"}
    policy = objects["NetworkPolicy"]["spec"]
    assert policy["egress"] == [] and policy["policyTypes"] == ["Ingress", "Egress"]
    assert "from" not in policy["ingress"][0]


@needs_helm
def test_with_everything_it_is_watched_scaled_and_kept_running():
    objects = rendered(ALL)
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
    assert queue["pods"] == {
        "metric": {"name": "segvoc_queue"},
        "target": {"type": "AverageValue", "averageValue": "4"},
    }
    assert cpu["resource"]["name"] == "cpu"
    assert objects["NetworkPolicy"]["spec"]["ingress"][0]["from"] == VALUES["network"]["callers"] + [
        {"podSelector": {"matchLabels": {"app": "ingress"}}}
    ]


@needs_helm
@pytest.mark.parametrize("settings", ["autoscaling.queue=-1", "network.unknown=1", "autoscaling.enabled=true"])
def test_wrong_values_are_refused(settings: str):
    with pytest.raises(subprocess.CalledProcessError):
        rendered(settings)


def test_the_templates_use_the_values_that_there_are_and_options_that_the_command_has():
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))["properties"]
    flags = {name for option in serve_command.params for name in option.opts}
    for path in (CHART / "templates").iterdir():
        text = path.read_text("utf-8")
        for name in re.findall(r"\.Values\.([A-Za-z.]+)", text):
            value, described = VALUES, schema
            for step in name.split("."):
                assert step in value and step in described, f"{path.name}: {name}"
                value, described = value[step], described[step].get("properties", {})
        assert {flag for flag in re.findall(r"- (--[a-z-]+)=", text)} <= flags, path.name
