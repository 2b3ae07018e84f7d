"""How the process holds memory on the CPU."""

import ctypes
import platform

KEPT = 2**30  # bytes; what is larger goes back to the kernel as soon as it is freed
MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD, ARENA_MAX = -3, -1, -2, -8  # as in glibc's malloc.h


def keep_freed_memory() -> None:
    """Has malloc hand freed memory out again rather than return it; before threads are started.

    XLA's CPU programs allocate their scratch anew at each call. From 128 KiB to 32 MiB on, glibc
    takes such a block from the kernel, which zeroes its pages one fault at a time, and gives it
    back when it is freed: a third of the time of a small convolutional zoo. Where the C library
    is another one, nothing is done.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for option, value in (
        (MMAP_THRESHOLD, KEPT),
        (TRIM_THRESHOLD, KEPT),
        (TOP_PAD, KEPT // 16),
        (ARENA_MAX, 1),
    ):
        libc.mallopt(option, value)
