"""What a process does with memory that tensors no longer need."""

import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_LARGEST_TENSORS = 32 << 20  # bytes; more is refused
_KEPT = 1 << 30  # bytes


@cache
def keep_freed_memory() -> None:
    """Ask glibc to keep up to 1 GiB of freed memory for the next tensors of this process.

    By default it gives back what a network's layer frees and takes it again for the next one, and the kernel clears
    each page anew: a tenth of a CPU's time. Where there is no glibc nothing happens.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_TENSORS)
        mallopt(_TRIM_THRESHOLD, _KEPT)
