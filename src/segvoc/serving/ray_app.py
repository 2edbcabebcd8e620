"""The service on a cluster: a Ray Serve application, whose replicas Ray starts, monitors and scales.

    serve run segvoc.serving.ray_app:build_app model=tiny

A replica is the application of `segvoc serve` with its queue and batching, so API and settings are the same. Ray's
proxies distribute requests. Configure the number of replicas and their cores and GPUs in Ray's deployment "segvoc"
(`autoscaling_config`, `ray_actor_options`, `max_ongoing_requests`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from fastapi import FastAPI
from ray import serve

from segvoc.errors import UsageError
from segvoc.inference.segmenter import Segmenter
from segvoc.models.opening import load
from segvoc.runtime.hardware import DtypeName
from segvoc.serving.app import create_app
from segvoc.serving.labeler import BATCHES
from segvoc.serving.middleware import start_log
from segvoc.serving.settings import KEY_VARIABLE, ServiceSettings, key_settings
from segvoc.storage.records import with_settings


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Settings of the application; paths are the same on all nodes."""

    model: str = "tiny"
    """A preset, or a path; see `segvoc.load`."""
    weights: str | None = None
    device: str = "auto"
    dtype: DtypeName = "auto"
    api_key_file: str | None = None
    """API key file; alternatively, the environment has a key."""
    service: ServiceSettings = field(default_factory=ServiceSettings)

    def with_secrets(self) -> ServiceSettings:
        """The settings with the node's secrets, which don't travel through the cluster; `UsageError` if it has none."""
        keys = key_settings(self.api_key_file, "api_key_file")
        if not any(keys.values()):
            raise UsageError(
                f"Ray's proxies may be reached from elsewhere; set {KEY_VARIABLE} on all nodes, or give api_key_file"
            )
        return replace(self.service, **keys)


class Replica:
    """A service in its process on a node."""

    def __init__(self, open_model: Callable[[], Segmenter], settings: ClusterSettings) -> None:
        start_log()  # Ray collects standard error
        self._app = create_app([open_model], settings.with_secrets())

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application; called once by Ray."""
        return self._app

    def check_health(self) -> None:
        """Raise an error if the model is stuck in a batch; Ray then replaces the replica."""
        if not self._app.state.service.is_healthy:
            raise RuntimeError("the model is stuck in a batch")


def build_app(arguments: dict[str, Any]) -> Any:
    """Build the application for `serve run`, or for `import_path` and `args` of a Ray Serve configuration.

    `arguments` are fields of `ClusterSettings` and `ServiceSettings` by name, except the key, which Ray would show.
    Raises a `UsageError` if one is unknown or wrong, or if there is no API key.
    """
    secret = ("service.api_key", "service.api_key_file", "service.extensions")
    settings = with_settings(ClusterSettings(), arguments, "the service", fixed=secret)
    how = {"weights": settings.weights, "device": settings.device, "dtype": settings.dtype}
    open_model = partial(load, settings.model, **how)
    return application(open_model, settings)


def application(open_model: Callable[[], Segmenter], settings: ClusterSettings, **options: Any) -> Any:
    """Build the application with any model (`open_model` is picklable); `options` override Ray's deployment."""
    settings.with_secrets()
    batch = settings.service.batch or 1
    defaults = {
        # a proxy fills replicas of its node before others, so cap each at its capacity
        "max_ongoing_requests": BATCHES * batch + 1,
        "max_queued_requests": 4 * settings.service.queue,
        "backpressure_config": {"status_code": 429, "retry_after_s": 1},
        "graceful_shutdown_timeout_s": settings.service.stop_seconds,
        "autoscaling_config": {"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 2 * batch},
        "ray_actor_options": {"num_cpus": 2},
    }
    deployment: Any = serve.deployment(serve.ingress()(Replica), name="segvoc", **{**defaults, **options})
    return deployment.bind(open_model, settings)
