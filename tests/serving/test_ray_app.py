"""The service on a cluster: a real one of Ray's, with two nodes on this machine, of which one is killed."""

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from segvoc.errors import UsageError
from segvoc.serving.settings import ServiceSettings
from tests.lazy_modules import lazily
from tests.processes import free_port
from tests.serving.services import SlowSegmenter, drawn_image, labeled, listening, png

ray_app = lazily("ray", 'needs the extra "batch"', "segvoc.serving.ray_app")

ROOT = Path(__file__).parents[2]
KEY = "k" * 20
WORDS = ["cat", "sofa, couch", "wall"]
SLEEP = 0.2


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEGVOC_API_KEY", raising=False)


@pytest.mark.parametrize(
    ("key", "arguments", "said"),
    [
        (KEY, {"api_key": KEY}, "no setting 'api_key'"),
        (KEY, {"queue": 0}, "queue=0 is not positive"),
        (KEY, {"queue": "many"}, "queue=many"),
        (KEY, {"api_key_file": "/no/such/file"}, "both SEGVOC_API_KEY and api_key_file"),
        (None, {}, "SEGVOC_API_KEY"),
        (None, {"api_key_file": "/no/file"}, "can't be read"),
    ],
)
def test_wrong_arguments_are_refused(key: str | None, arguments: dict[str, Any], said: str, monkeypatch):
    if key is not None:
        monkeypatch.setenv("SEGVOC_API_KEY", key)
    with pytest.raises(UsageError, match=said):
        ray_app.build_app(arguments)


def test_arguments_become_settings_of_ray_and_of_the_replicas(monkeypatch, tmp_path):
    (tmp_path / "key").write_text(f"{KEY}\n")
    arguments = {"api_key_file": str(tmp_path / "key"), "queue": "9", "batch": 8}
    deployment = ray_app.build_app(arguments)._bound_deployment
    assert deployment.ray_actor_options["num_cpus"] == 2
    assert deployment.max_ongoing_requests == 25  # three batches of 8
    assert deployment.max_queued_requests == 36
    opened, settings = deployment.init_args
    assert opened.args == ("tiny",)
    assert settings.service.queue == 9
    assert KEY not in repr(deployment.init_args)
    assert settings.with_secrets() == ServiceSettings(queue=9, batch=8, api_key_file=tmp_path / "key")


def test_the_example_for_kubernetes_fits_rays_schema_and_the_settings(monkeypatch):
    schema, yaml = pytest.importorskip("ray.serve.schema"), pytest.importorskip("yaml")
    monkeypatch.setenv("SEGVOC_API_KEY", KEY)
    manifest = yaml.safe_load((ROOT / "examples" / "ray_service.yaml").read_text(encoding="utf-8"))
    (described,) = schema.ServeDeploySchema(**yaml.safe_load(manifest["spec"]["serveConfigV2"])).applications
    module, _, function = described.import_path.partition(":")
    assert (module, getattr(ray_app, function)) == (ray_app.name, ray_app.build_app)
    assert ray_app.build_app(described.args)._bound_deployment.max_ongoing_requests == 4


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
    replicas = {"min_replicas": 2, "max_replicas": 2}
    options: dict[str, Any] = {"autoscaling_config": replicas, "ray_actor_options": {"num_cpus": 1}}
    with two_nodes() as (cluster, second, port), listening(SlowSegmenter(0.0)) as single_port:
        from ray import serve

        serve.run(ray_app.application(partial(SlowSegmenter, SLEEP), ray_app.ClusterSettings(), **options))
        url, single = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{single_port}"
        assert httpx2.get(f"{url}/v1/models").status_code == 401
        fields = {"parts": '{"cat": ["head"]}', "background": "other", "probabilities": "true"}
        for image in images:
            found, expected = (labeled(one, png(image), WORDS, KEY, **fields) for one in (url, single))
            seconds = found["result.json"]["seconds"]
            assert found.pop("result.json") == {**expected.pop("result.json"), "seconds": seconds}
            assert set(found) == set(expected)
            for name, content in found.items():
                np.testing.assert_array_equal(content, expected[name])

        expected_labels = [labeled(single, png(image), WORDS)["labels.png"] for image in images]
        half = threading.Semaphore(0)

        def call(number: int) -> bool:
            for _ in range(60):  # labeling twice does no harm
                with contextlib.suppress(httpx2.HTTPError):
                    labels = labeled(url, png(images[number % 3]), WORDS, KEY)["labels.png"]
                    break
                time.sleep(0.5)
            half.release()
            return np.array_equal(labels, expected_labels[number % 3])

        with ThreadPoolExecutor(8) as threads:
            calls = [threads.submit(call, number) for number in range(30)]
            for _ in range(8):
                assert half.acquire(timeout=300)
            cluster.remove_node(second, allow_graceful=False)
            assert all(one.result() for one in calls)
