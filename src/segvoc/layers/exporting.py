"""Whether `torch.export` traces the network, for layers that then need another formula."""

try:
    from torch.compiler import is_exporting
except ImportError:  # PyTorch 2.6, from which nothing is exported (`segvoc.exporting.export.OLDEST_PYTORCH`)

    def is_exporting() -> bool:
        """False: this PyTorch can't export the networks."""
        return False


__all__ = ["is_exporting"]
