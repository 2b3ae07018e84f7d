"""From seconds to the numbers of the report: medians, ratios with their spread, targets."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.cases import Case, train_flops
from benchmarks.measure import TORCH_LOOPS, TORCH_VMAPS, Timings

# ratio → the variants whose fastest the engine is compared with
RATIOS = {
    "vs_naive": ("naive",),
    "vs_single": ("single",),
    "vs_step_loop": ("step_loop",),
    "vs_torch_loop": ("torch_loop_1", "torch_loop_all"),
    "vs_torch_best": (*TORCH_LOOPS, *TORCH_VMAPS),
}
LABELS = {
    "vs_naive": "jit(vmap(scan))",
    "vs_single": "jit(scan), a member at a time",
    "vs_step_loop": "jitted step in a Python loop",
    "vs_torch_loop": "PyTorch loop",
    "vs_torch_best": "best of PyTorch",
    "peak_fraction": "share of matmul peak",
}


def peak_of(timings: Sequence[Timings]) -> tuple[float | None, str | None]:
    """The best matmul of a whole run in GFLOP/s, and whose it was."""
    rates = [(max(r), name) for t in timings for name, r in t.peak.items()]
    return max(rates) if rates else (None, None)


def summarise(case: Case, timings: Timings, peak_gflops: float | None) -> dict[str, Any]:
    """The report of one case; numbers that could not be measured are None."""
    medians = {name: median(seconds) for name, seconds in timings.seconds.items()}
    engine = medians.get("engine")
    gflops = train_flops(case) / engine / 1e9 if engine else None
    ratios, rivals, spread = {}, {}, {}
    for ratio, variants in RATIOS.items():
        present = [name for name in variants if name in medians]
        ratios[ratio] = None
        if engine and present:
            rival = min(present, key=lambda name: medians[name])
            each = [
                r / e
                for r, e in zip(timings.seconds[rival], timings.seconds["engine"], strict=True)
            ]
            ratios[ratio] = medians[rival] / engine
            rivals[ratio], spread[ratio] = rival, [min(each), max(each)]
    choice = timings.info.get("engine", {})
    return {
        "seconds_per_step_member": engine,
        "gflops": gflops,
        "peak_fraction": gflops / peak_gflops if gflops and peak_gflops else None,
        **ratios,
        "plan": choice.get("plan"),
        "width": choice.get("width"),
        "mflops_per_step_member": train_flops(case) / 1e6,
        "seconds": medians,
        "rounds": timings.seconds,
        "rivals": rivals,
        "spread": spread,
        "targets": dict(case.targets),
        "info": timings.info,
        "missing": timings.missing,
    }


def verdict(value: float | None, target: float | None) -> str:
    """One word on a target."""
    if target is None:
        return ""
    if value is None:
        return "not measured"
    return "reached" if value >= target else "missed"


def table(report: Mapping[str, Any]) -> str:
    """The report as text: measured numbers, their spread, targets beside them."""
    lines = []
    for name, entry in report.items():
        if name == "machine":
            continue
        seconds = entry["seconds_per_step_member"]
        lines.append(f"{name}: " + ("the engine was not measured" if not seconds else _head(entry)))
        for key, label in LABELS.items():
            value, target = entry[key], entry["targets"].get(key)
            row = f"  {label:<30}{_number(key, value):>9}"
            low, high = entry["spread"].get(key, (None, None))
            row += f"  {f'({low:.3g}..{high:.3g})' if low else '':<18}"
            row += f"{_target(key, target):>9}  {verdict(value, target):<13}"
            lines.append((row + entry["rivals"].get(key, "")).rstrip())
        lines += [f"  missing: {variant}: {why}" for variant, why in entry["missing"].items()]
    return "\n".join(lines)


def _head(entry: Mapping[str, Any]) -> str:
    choice = f"width {entry['width']}" + (f", plan {entry['plan']}" if entry["plan"] else "")
    micro = entry["seconds_per_step_member"] * 1e6
    return f"{micro:.4g} µs a step and member, {entry['gflops']:.3g} GFLOP/s ({choice})"


def _number(key: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0%}" if key == "peak_fraction" else f"{value:.3g}×"


def _target(key: str, target: float | None) -> str:
    return "" if target is None else f"≥ {_number(key, target)}"
