"""Two clouds of points, ordinary or odd, and what is to come of them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.faults.actions import pick
from benchmarks.faults.measures import NUM, NUM_OTHER, WIDTH, Case


class Input(NamedTuple):
    """Two clouds."""

    told: str
    x: np.ndarray
    y: np.ndarray
    must: str  # "be right", "show" (that it is no number), "be refused", or "end" somehow


def draw_input(rng: np.random.Generator, case: Case) -> Input:
    """For one call."""
    m = NUM if case.paired else NUM_OTHER
    x, y = (rng.normal(size=(n, WIDTH)).astype(np.float32) for n in (NUM, m))
    how = pick(rng, sorted(set(ODD) - (set() if case.checked else {"other width", "flat"})))
    return ODD[how](rng, x, y, case)


def _spoilt(value, told, must):
    def spoil(rng, x, y, case):
        target = y if rng.random() < 0.5 and case.both else x
        target[int(rng.integers(len(target))), 0] = value
        return Input(f"points with {told}", x, y, must)

    return spoil


def _minus(rng, x, y, case):
    x[int(rng.integers(len(x))), 0] = -np.inf  # a logit that rules a class out
    return Input("logits of -inf", x, y, "be right" if case.logits else "end")


def _repeated(rng, x, y, case):
    x[1:4] = x[0]
    return Input("points of which four are equal", x, y, "be right")


def _shared(rng, x, y, case):
    y[:3] = x[:3]
    return Input("clouds that share three points", x, y, "be right")


def _collapsed(rng, x, y, case):
    x[:] = x[0]
    return Input("a cloud that is one point", x, y, "be right")


def _zeros(rng, x, y, case):
    (x if rng.random() < 0.7 else y)[int(rng.integers(4))] = 0
    return Input("a row of zeros", x, y, "be right" if case.zeros else "end")


def _all_zeros(rng, x, y, case):
    x[:] = 0
    return Input("zeros alone", x, y, "be right" if case.zeros else "end")


def _far(rng, x, y, case):
    return Input("clouds far apart", x, y + 3.0, "be right")


def _offset(rng, x, y, case):
    shift = np.float32(pick(rng, (100, 1000)))
    return Input(f"points around {shift:g}", x + shift, y + shift, "be right")


def _small(rng, x, y, case):
    return Input("points within 1e-4", x * np.float32(1e-4), y * np.float32(1e-4), "be right")


def _large(rng, x, y, case):
    return Input("points of size 1e4", x * np.float32(1e4), y * np.float32(1e4), "be right")


def _empty(rng, x, y, case):
    must = "end" if case.empty else "be refused"
    return Input("no points", x[:0], y[:0] if case.paired else y, must)


def _single(rng, x, y, case):
    return Input("a single point", x[:1], y[:1] if case.paired else y, "be right")


def _other_width(rng, x, y, case):
    return Input("points of two widths", x, y[:, :3], "be refused" if case.both else "end")


def _flat(rng, x, y, case):
    return Input("a vector in place of points", x[:, 0], y, "be refused")


def _ordinary(rng, x, y, case):
    return Input("ordinary points", x, y, "be right")


ODD: dict[str, Callable[..., Input]] = {
    "nan": _spoilt(np.nan, "a NaN", "show"),
    "nan too": _spoilt(np.nan, "a NaN", "show"),
    "infinite": _spoilt(np.inf, "an infinity", "end"),
    "minus": _minus,
    "repeated": _repeated,
    "shared": _shared,
    "collapsed": _collapsed,
    "zeros": _zeros,
    "all zeros": _all_zeros,
    "far": _far,
    "offset": _offset,
    "small": _small,
    "large": _large,
    "empty": _empty,
    "single": _single,
    "other width": _other_width,
    "flat": _flat,
    "ordinary": _ordinary,
}
