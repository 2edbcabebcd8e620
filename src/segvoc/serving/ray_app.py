"""The service on a cluster: replicas of it as a Ray Serve application, which Ray starts, watches and adds as needed.

    serve run segvoc.serving.ray_app:build_app model=tiny

A replica is the application of `segvoc serve` with its queue and its batches, so the API is the same, and so are the
settings. Ray's proxies share requests out between replicas. How many there are, and which cores and GPUs each has, is
Ray's configuration of the deployment "segvoc" (`autoscaling_config`, `ray_actor_options`, `max_ongoing_requests`).
"""

import logging.config
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from fastapi import FastAPI
from ray import serve

from segvoc.configuration import with_settings
from segvoc.errors import UsageError
from segvoc.hardware import DtypeName
from segvoc.inference.segmenter import Segmenter
from segvoc.models.opening import load
from segvoc.serving.app import create_app
from segvoc.serving.labeler import BATCHES
from segvoc.serving.logs import log_settings
from segvoc.serving.settings import KEY_VARIABLE, ServiceSettings, key_settings


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Settings of the application."""

    model: str = "tiny"
    """A preset, or a path that is the same on all nodes; see `segvoc.load`."""
    weights: str | None = None
    """A weights file for the model, likewise."""
    device: str = "auto"
    dtype: DtypeName = "auto"
    """The precision that the model runs in."""
    api_key_file: str | None = None
    """File with the API keys, on all nodes; or the environment has one."""
    service: ServiceSettings = field(default_factory=ServiceSettings)

    def with_secrets(self) -> ServiceSettings:
        """The settings of a replica with the secrets of its node, so that they don't travel through the cluster.

        Raises:
            UsageError: there is no API key.
        """
        keys = key_settings(self.api_key_file, "api_key_file")
        if not any(keys.values()):
            raise UsageError(
                f"Ray's proxies may be reached from elsewhere; set {KEY_VARIABLE} on all nodes, or give api_key_file"
            )
        return replace(self.service, **keys)


class Replica:
    """One service, in a process of its own on some node."""

    _app: FastAPI

    def __init__(self, open_model: Callable[[], Segmenter], settings: ClusterSettings) -> None:
        logging.config.dictConfig(log_settings())  # Ray collects standard error
        self._open_model, self._settings = open_model, settings.with_secrets()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application, which Ray asks for once."""
        self._app = create_app(self._open_model, self._settings)
        return self._app

    def check_health(self) -> None:
        """Tell Ray how the replica is; it replaces one whose model is stuck.

        Raises:
            RuntimeError: the model is stuck in a batch.
        """
        if not self._app.state.service.labeler.is_healthy:
            raise RuntimeError("the model is stuck in a batch")


def build_app(arguments: dict[str, Any]) -> Any:
    """The application for `serve run`, or for `import_path` and `args` of a configuration of Ray Serve's.

    Args:
        arguments: fields of `ClusterSettings` and of `ServiceSettings` by name, but for the key itself, which Ray
            would show.

    Raises:
        UsageError: a setting is unknown or wrong, or there is no API key.
    """
    secret = ("service.api_key", "service.api_key_file", "service.extensions")
    settings = with_settings(ClusterSettings(), arguments, "the service", fixed=secret)
    open_model = partial(load, settings.model, weights=settings.weights, device=settings.device, dtype=settings.dtype)
    return application(open_model, settings)


def application(open_model: Callable[[], Segmenter], settings: ClusterSettings, **options: Any) -> Any:
    """The application with any model, for `ray.serve.run`.

    Args:
        open_model: loads the model; called by each replica, so it has to be picklable.
        settings: the settings.
        options: of Ray's deployment, in place of those here.

    Raises:
        UsageError: there is no API key.
    """
    settings.with_secrets()
    batch = settings.service.batch or 1
    own = {
        # a proxy fills replicas of its own node before it asks others, so none takes more than it can work on
        "max_ongoing_requests": BATCHES * batch + 1,
        "max_queued_requests": 4 * settings.service.queue,
        "backpressure_config": {"status_code": 429, "retry_after_s": 1},
        "graceful_shutdown_timeout_s": settings.service.stop_seconds,
        "autoscaling_config": {"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 2 * batch},
        "ray_actor_options": {"num_cpus": 2},
    }
    deployment: Any = serve.deployment(serve.ingress()(Replica), name="segvoc", **{**own, **options})
    return deployment.bind(open_model, settings)
