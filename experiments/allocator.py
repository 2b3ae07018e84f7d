"""How the process holds memory on the CPU."""

import ctypes
import platform

KEPT = 2**31 - 1  # bytes that may lie free, the most that mallopt takes
LARGE = 2**30  # bytes; what is as large goes back to the kernel as soon as it is freed
MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD, ARENA_MAX = -3, -1, -2, -8  # as in glibc's malloc.h


def keep_freed_memory() -> None:
    """Has malloc hand freed memory out again rather than return it; before threads are started.

    XLA's programs for the CPU allocate their scratch anew at each call. By default glibc gives
    large blocks and emptied heaps back to the kernel, which then zeroes every page of the next
    ones, one fault at a time. Where the C library is another one, nothing is done.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for option, value in (
        (MMAP_THRESHOLD, LARGE),
        (TRIM_THRESHOLD, KEPT),
        (TOP_PAD, 2**26),
        (ARENA_MAX, 1),
    ):
        libc.mallopt(option, value)
