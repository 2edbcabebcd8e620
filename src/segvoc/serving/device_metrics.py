"""What the processes of the service and its GPU take, for Prometheus; looked up when somebody asks."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from segvoc.serving.logs import LOGGER


class WorkerProcesses(Collector):
    """The metrics that `ProcessCollector` has of one process, of several: each has the label `pid`.

    Args:
        numbers: the ids of the processes that there are.
    """

    def __init__(self, numbers: Callable[[], Sequence[int]]) -> None:
        self._numbers = numbers

    def collect(self) -> Iterable[Metric]:
        """The metrics; those of a process that has just ended are missing."""
        found: dict[str, Metric] = {}
        for number in self._numbers():
            for one in ProcessCollector(pid=lambda number=number: number, registry=None).collect():
                metric = found.setdefault(one.name, Metric(one.name, one.documentation, one.type))
                for sample in one.samples:
                    metric.add_sample(sample.name, {**sample.labels, "pid": str(number)}, sample.value)
        return found.values()


class Gpu(Collector):
    """Memory and utilization of a GPU, whichever programs use it.

    Args:
        device: its number, as PyTorch counts.
    """

    def __init__(self, device: int) -> None:
        self._device = device

    def collect(self) -> Iterable[Metric]:
        """The metrics; what PyTorch can't tell is missing."""
        import torch

        found = []

        def tell(name: str, text: str, value: float) -> None:
            metric = GaugeMetricFamily(f"segvoc_gpu_{name}", text, labels=["gpu"])
            metric.add_metric([str(self._device)], value)
            found.append(metric)

        try:
            free, total = torch.cuda.mem_get_info(self._device)
            tell("memory_used_bytes", "Memory of the GPU that is taken.", total - free)
            tell("memory_total_bytes", "Memory of the GPU.", total)
            # needs nvidia-ml-py and NVIDIA's management library, which some containers lack
            busy = torch.cuda.utilization(self._device) / 100
            tell("utilization_ratio", "Share of the last moments in which the GPU worked.", busy)
        except Exception as error:
            # the management library has errors of its own, and whatever they are, the other metrics are told
            LOGGER.debug(f"the GPU can't be asked: {error}")
        return found


def gpu_of(model: object) -> int | None:
    """The number of the GPU on which a model runs; None: it runs elsewhere."""
    device: Any = getattr(model, "device", None)
    if getattr(device, "type", None) != "cuda":
        return None
    import torch

    return torch.cuda.current_device() if device.index is None else device.index
