"""The service on a cluster: a real one of Ray's, with two nodes on this machine, of which one is killed."""

import contextlib
import json
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segvoc.client import Client, ServiceError
from segvoc.errors import UsageError
from segvoc.serving.failures import ServiceFailure
from segvoc.serving.settings import ServiceSettings
from tests.processes import free_port
from tests.serving.services import drawn_image, listening, png
from tests.serving.slow_models import SlowSegmenter

ray_app = pytest.importorskip("segvoc.serving.ray_app", reason='needs the extra "batch"')
RayError = pytest.importorskip("ray.exceptions").RayError

ROOT = Path(__file__).parents[2]
KEY = "k" * 20
WORDS = ["cat", "sofa, couch", "wall"]
SLEEP = 0.2


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEGVOC_API_KEY", raising=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"api_key": KEY}, "secret"),
        ({"no_such": 1}, "no setting 'no_such'"),
        ({"queue": 0}, "queue=0 is not positive"),
        ({"queue": "many"}, "queue=many"),
        ({"min_replicas": 5}, "don't fit together"),
        ({"min_replicas": 0}, "don't fit together"),
        ({"cpus": "-1"}, "cpus=-1"),
        ({"api_key_file": "/no/such/file"}, "both SEGVOC_API_KEY and api_key_file"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], said: str, monkeypatch):
    monkeypatch.setenv("SEGVOC_API_KEY", KEY)
    with pytest.raises(UsageError, match=said):
        ray_app.build_app(arguments)


@pytest.mark.parametrize(
    ("arguments", "said"), [({}, "SEGVOC_API_KEY"), ({"api_key_file": "/no/file"}, "can't be read")]
)
def test_it_demands_a_key(arguments: dict[str, Any], said: str):
    with pytest.raises(UsageError, match=said):
        ray_app.build_app(arguments)


def test_arguments_become_settings_of_ray_and_of_the_replicas(monkeypatch, tmp_path):
    (tmp_path / "key").write_text(f"{KEY}\n")
    arguments = {"api_key_file": str(tmp_path / "key"), "max_replicas": "6", "gpus": 1, "queue": 9, "cpus": 0.5}
    deployment = ray_app.build_app(arguments)._bound_deployment
    assert deployment.ray_actor_options["num_cpus"] == 0.5
    assert deployment.ray_actor_options["num_gpus"] == 1
    assert deployment.max_ongoing_requests == 25  # three batches of 8
    assert deployment.max_queued_requests == 54
    opened, settings = deployment.init_args
    assert opened.args == ("tiny",)
    assert settings.service.queue == 9
    assert KEY not in repr(deployment.init_args)
    assert settings.with_secrets() == ServiceSettings(queue=9, api_key_file=tmp_path / "key")


def test_the_example_for_kubernetes_fits_rays_schema_and_the_settings(monkeypatch):
    schema, yaml = pytest.importorskip("ray.serve.schema"), pytest.importorskip("yaml")
    monkeypatch.setenv("SEGVOC_API_KEY", KEY)
    manifest = yaml.safe_load((ROOT / "examples" / "ray_service.yaml").read_text(encoding="utf-8"))
    (described,) = schema.ServeDeploySchema(**yaml.safe_load(manifest["spec"]["serveConfigV2"])).applications
    module, _, function = described.import_path.partition(":")
    assert (module, getattr(ray_app, function)) == (ray_app.__name__, ray_app.build_app)
    assert ray_app.build_app(described.args)._bound_deployment.max_ongoing_requests == 4


def test_vocabularies_out_of_reach_are_a_failure_that_passes(monkeypatch):
    def unavailable() -> None:
        raise RayError

    monkeypatch.setattr(ray_app, "_definitions_actor", unavailable)
    with pytest.raises(ServiceFailure, match="try again") as failed:
        ray_app.SharedDefinitions().get("v0")
    assert (failed.value.status, failed.value.headers) == (503, {"Retry-After": "1"})


def test_kept_definitions_are_a_mapping(monkeypatch):
    kept = ray_app._KeptDefinitions()
    monkeypatch.setattr(ray_app.SharedDefinitions, "_ask", lambda _, method, *given: getattr(kept, method)(*given))
    shared = ray_app.SharedDefinitions()
    shared["a"], shared["b"] = b"1", b"2"
    assert (list(shared), len(shared), shared["a"], shared.get("c")) == (["a", "b"], 2, b"1", None)
    assert shared.pop("a") == b"1"
    assert shared.pop("a", None) is None
    assert dict(shared) == {"b": b"2"}


@contextlib.contextmanager
def two_nodes() -> Iterator[tuple[Any, Any, int]]:
    """A cluster, the node of it that may be killed, and the port of Ray Serve's proxy on the other one."""
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    port = free_port()
    folder = tempfile.mkdtemp(prefix="ray")  # a short path, since Ray's sockets are in it
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "temp_dir": folder}
    )
    try:
        second = cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        yield cluster, second, port
        serve.shutdown()
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_two_nodes_answer_as_one_service_and_lose_nothing_when_one_is_killed(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT)]))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("SEGVOC_API_KEY", KEY)
    images = [drawn_image(seed) for seed in range(3)]
    settings = ray_app.ClusterSettings(min_replicas=2, max_replicas=2, cpus=1.0)
    with two_nodes() as (cluster, second, port), listening(SlowSegmenter(0.0)) as single_port:
        from ray import serve

        serve.run(ray_app.application(partial(SlowSegmenter, SLEEP), settings))
        url = f"http://127.0.0.1:{port}"
        with pytest.raises(ServiceError, match="the API key is missing"):
            Client(url).models()
        client, single = Client(url, api_key=KEY, attempts=8), Client(f"http://127.0.0.1:{single_port}")
        assert client.models() == single.models()
        for image in images:
            options: dict[str, Any] = {"parts": {"cat": ["head"]}, "background": "other", "return_probabilities": True}
            found, expected = (one.segment(png(image), WORDS, **options) for one in (client, single))
            np.testing.assert_array_equal(found.labels, expected.labels)
            np.testing.assert_array_equal(found.probabilities, expected.probabilities)
            np.testing.assert_array_equal(found.part_labels, expected.part_labels)
            assert found.overlay == expected.overlay
            assert json.loads(json.dumps(found.report)) == {**expected.report, "seconds": found.report["seconds"]}

        # a name that one replica gave is known to the other
        name = client.encode(WORDS, background="other")
        assert name == single.encode(WORDS, background="other")
        with ThreadPoolExecutor(6) as threads:
            named = list(threads.map(lambda _: client.segment(png(), vocabulary=name).words, range(12)))
        assert set(named) == {(*WORDS, "other")}

        expected_labels = [single.segment(png(image), WORDS).labels for image in images]
        half = threading.Semaphore(0)

        def call(number: int) -> bool:
            labels = client.segment(png(images[number % 3]), WORDS).labels
            half.release()
            return np.array_equal(labels, expected_labels[number % 3])

        with ThreadPoolExecutor(8) as threads:
            calls = [threads.submit(call, number) for number in range(30)]
            for _ in range(8):
                assert half.acquire(timeout=60)
            cluster.remove_node(second, allow_graceful=False)
            assert all(one.result() for one in calls)
