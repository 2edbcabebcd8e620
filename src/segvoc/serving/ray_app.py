"""The service on a cluster: replicas of it as a Ray Serve application, which Ray starts, watches and adds as needed.

    serve run segvoc.serving.ray_app:build_app model=tiny max_replicas=8

A replica is the application of `segvoc serve` with its queue and its batches, so the API is the same, and so are the
settings. Ray's proxies share requests out between replicas.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ray import serve

from segvoc.configuration import with_settings
from segvoc.errors import UsageError
from segvoc.hardware import DtypeName
from segvoc.inference.segmenter import Segmenter
from segvoc.models.opening import load
from segvoc.serving.app import create_app
from segvoc.serving.labeler import BATCHES
from segvoc.serving.logs import LOGGER, JsonLines
from segvoc.serving.settings import KEY_VARIABLE, ServiceSettings, key_settings

if TYPE_CHECKING:
    from fastapi import FastAPI

_SECRET = "api_key"


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Settings of the application.

    Raises:
        UsageError: the numbers of replicas don't fit together, or a number isn't positive.
    """

    model: str = "tiny"
    """A preset, or a path that is the same on all nodes; see `segvoc.load`."""
    weights: str | None = None
    """A weights file for the model, likewise."""
    device: str = "auto"
    dtype: DtypeName = "auto"
    """The precision that the model runs in."""
    min_replicas: int = 1
    """Replicas that are always there; 2 or more where a lost node shouldn't be noticed."""
    max_replicas: int = 4
    """Ray adds and removes replicas so that two batches of requests run or wait for each."""
    cpus: float = 2.0
    """Cores of a replica, which are also its threads."""
    gpus: float = 0.0
    api_key_file: str | None = None
    """File with the API keys, on all nodes; or the environment has one."""
    service: ServiceSettings = field(default_factory=ServiceSettings)

    def __post_init__(self) -> None:
        if not 0 < self.min_replicas <= self.max_replicas:
            raise UsageError(
                f"min_replicas={self.min_replicas} and max_replicas={self.max_replicas} don't fit together; give 1 or "
                "more, and at most as many as max_replicas"
            )
        if self.cpus <= 0:
            raise UsageError(f"cpus={self.cpus} is not positive; give a number above 0")

    @property
    def batch(self) -> int:
        """Images that a replica takes through its model together."""
        return self.service.batch or (8 if self.gpus else 1)

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


def build_app(arguments: dict[str, Any]) -> Any:
    """The application for `serve run`, or for `import_path` and `args` of a configuration of Ray Serve's.

    Args:
        arguments: fields of `ClusterSettings` and of `ServiceSettings` by name.

    Raises:
        UsageError: a setting is unknown or wrong, or there is no API key.
    """
    if any(name.rpartition(".")[2] == _SECRET for name in arguments):
        raise UsageError(f"{_SECRET} is a secret, which Ray would show; set {KEY_VARIABLE} instead")
    settings = with_settings(ClusterSettings(), arguments, "the service", fixed=("service.extensions",))
    open_model = partial(load, settings.model, weights=settings.weights, device=settings.device, dtype=settings.dtype)
    return application(open_model, settings)


def application(open_model: Callable[[], Segmenter], settings: ClusterSettings) -> Any:
    """The application with any model, for `ray.serve.run`.

    Args:
        open_model: loads the model; called by each replica, so it has to be picklable.
        settings: the settings.

    Raises:
        UsageError: there is no API key.
    """
    settings.with_secrets()
    waiting = settings.service.queue * settings.max_replicas
    deployment: Any = serve.deployment(
        serve.ingress()(Replica),
        name="segvoc",
        # a proxy fills replicas of its own node before it asks others, so none takes more than it can work on
        max_ongoing_requests=BATCHES * settings.batch + 1,
        max_queued_requests=waiting,
        backpressure_config={"status_code": 429, "retry_after_s": 1},
        graceful_shutdown_timeout_s=settings.service.stop_seconds,
        autoscaling_config={
            "min_replicas": settings.min_replicas,
            "max_replicas": settings.max_replicas,
            "target_ongoing_requests": 2 * settings.batch,
            "upscale_delay_s": 10,
            "downscale_delay_s": 300,
        },
        ray_actor_options={"num_cpus": settings.cpus, "num_gpus": settings.gpus},
    )
    return deployment.bind(open_model, settings)


class Replica:
    """One service, in a process of its own on some node."""

    _app: "FastAPI"

    def __init__(self, open_model: Callable[[], Segmenter], settings: ClusterSettings) -> None:
        _log_as_json()
        self._open_model, self._settings = open_model, settings.with_secrets()

    def __serve_build_asgi_app__(self) -> "FastAPI":
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


def _log_as_json() -> None:
    """Let the service's log go to standard error as JSON, from where Ray collects it."""
    if not LOGGER.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines())
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.INFO)
        LOGGER.propagate = False
