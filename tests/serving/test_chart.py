"""The chart: its schema, the options it names, and what `helm template` makes of it, where helm is installed."""

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
EVERYTHING = (
    "project.enabled=false,autoscaling.enabled=true,autoscaling.queue=4,monitoring.enabled=true,"
    "monitoring.labels.release=prometheus,network.callers[0].podSelector.matchLabels.app=ingress,"
    "ingress.enabled=true,ingress.host=labels.example.org,ingress.tlsSecret=tls,monitoring.alerts=true,"
    "monitoring.dashboard=true,env[0].name=SEGVOC_QUEUE,env[0].value=32,envFrom[0].secretRef.name=more,proxies[0]=10.0.0.0/8,"
    "volumes[0].name=models,volumes[0].persistentVolumeClaim.claimName=models,"
    "volumeMounts[0].name=models,volumeMounts[0].mountPath=/models"
)


def rendered(settings: str = "") -> dict[str, Any]:
    """The objects that helm makes, by kind; of two Services, that of the metrics is "metrics"."""
    command = ["helm", "template", "labels", str(CHART), "--set", f"keys.existingSecret=keys,{settings}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    objects = [one for one in yaml.safe_load_all(text) if one]
    return {"metrics" if one["metadata"]["name"].endswith("-metrics") else one["kind"]: one for one in objects}


@pytest.mark.skipif(shutil.which("helm") is None, reason="needs helm")
def test_rendered_objects_refer_to_one_another():
    plain, objects = rendered(), rendered(EVERYTHING)
    assert set(plain) == {"Deployment", "Service", "metrics", "PersistentVolumeClaim", "NetworkPolicy"}
    policy = plain["NetworkPolicy"]["spec"]
    assert policy["egress"] == [] and policy["policyTypes"] == ["Ingress", "Egress"]
    assert "from" not in policy["ingress"][0]
    kinds = {
        "PrometheusRule",
        "ConfigMap",
        "ServiceMonitor",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "Ingress",
    }
    assert kinds <= set(objects)
    pod = objects["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert f"--metrics-port={ports['metrics']}" in container["args"] and f"--port={ports['http']}" in container["args"]
    assert [variable["name"] for variable in container["env"]] == ["FORWARDED_ALLOW_IPS", "SEGVOC_QUEUE"]
    assert container["envFrom"] == [{"secretRef": {"name": "more"}}]
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["spec"]["volumes"]
    }
    assert {"name": "models", "mountPath": "/models"} in container["volumeMounts"]
    made = (plain, *map(rendered, ("keys.content=a", "keys.content=b")))
    pods = [objects_["Deployment"]["spec"]["template"] for objects_ in made]
    sums = [pod["metadata"]["annotations"]["checksum/keys"] for pod in pods]
    assert len(set(sums)) == 3
    assert objects["PrometheusRule"]["spec"] == yaml.safe_load((CHART / "files/alerts.yaml").read_text("utf-8"))
    assert json.loads(objects["ConfigMap"]["data"]["segvoc.json"])["uid"] == "segvoc"
    labels, service, metrics = pod["metadata"]["labels"], objects["Service"], objects["metrics"]
    digest = f"sha256:{64 * 'a'}"
    (pinned,) = rendered(f"image.digest={digest}")["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert (container["image"], pinned["image"]) == ("segvoc:cpu", f"segvoc@{digest}")
    # whatever type the Service has, only http is offered outside
    outside = rendered("service.type=LoadBalancer")
    assert [port["name"] for port in outside["Service"]["spec"]["ports"]] == ["http"]
    assert outside["metrics"]["spec"]["type"] == "ClusterIP"
    assert metrics["spec"]["selector"] == service["spec"]["selector"]
    selectors = [objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]]
    selectors.append(objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"])
    assert all(selector.items() <= labels.items() for selector in [*selectors, service["spec"]["selector"]])
    monitor = objects["ServiceMonitor"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    selected = monitor["spec"]["selector"]["matchLabels"].items()
    assert selected <= metrics["metadata"]["labels"].items() and not selected <= service["metadata"]["labels"].items()
    assert [monitor["spec"]["endpoints"][0]["port"]] == [port["name"] for port in metrics["spec"]["ports"]]
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
        {"image": {"repository": "segvoc", "tag": f"sha256:{64 * 'a'}"}},
        {"image": {"repository": "segvoc", "digest": "cpu"}},
        {"env": {"SEGVOC_QUEUE": "32"}},
        {"volumeMounts": [{"name": "models"}]},
    ],
)
def test_the_schema_takes_the_values_and_refuses_wrong_ones(wrong: dict[str, Any]):
    jsonschema.validate(VALUES, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(VALUES | wrong, SCHEMA)


def test_metrics_have_a_service_of_their_own_that_stays_inside_and_a_digest_is_one():
    outside, inside = (CHART / "templates/service.yaml").read_text("utf-8").split("\n---\n")
    assert "type: {{ .Values.service.type }}" in outside and "targetPort: metrics" not in outside
    assert "type: ClusterIP" in inside and "targetPort: metrics" in inside and ".Values" not in inside
    jsonschema.validate(VALUES | {"image": {"repository": "segvoc", "digest": f"sha256:{64 * 'a'}"}}, SCHEMA)
    helpers = (CHART / "templates/_helpers.tpl").read_text("utf-8")
    assert "{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag }}" in helpers


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
