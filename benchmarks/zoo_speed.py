"""How fast the engine trains a zoo, as ratios to other ways of doing the same, in one run.

python -m benchmarks.zoo_speed --torch torch-venv/bin/python --out speed.json --plot speed.svg

Every variant trains the same architecture on batches of the same size by Adam, in a process of its
own; in every round each takes one turn, alone. A number is the median over the rounds, a ratio is
that of two medians, and its spread the least and the largest ratio of a round. What is compared:

engine            genvec.zoo.train_zoo on a device a core, with the best of a few plans and widths
naive             jit(vmap(scan)) in plain JAX, one device
single            jit(scan) of one member, one member after the other
step_loop         one jitted step in a Python loop
torch_loop_*      PyTorch training loop with 1 thread and with a thread a core
torch_processes   one such loop of one thread a core, rates added up
torch_vmap_*      torch.func's vmap over stacked members, likewise

PyTorch runs eagerly with the fused Adam; convolutions in the faster of two memory layouts.
FLOPs are the textbook count of the layers (benchmarks/cases.py), the peak is the best 2048×2048
float32 matmul of JAX and PyTorch in the same run. Compiled programs are kept in --cache, so that a
second run spends its time on the turns; --quick then takes less than three minutes on two cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, NOT_YET
from benchmarks.chart import speed_chart
from benchmarks.measure import Effort, Timings, measure
from benchmarks.provenance import provenance
from benchmarks.summary import peak_of, summarise, table

FULL, QUICK = Effort(rounds=5, turn_s=1.5, quick=False), Effort(rounds=2, turn_s=0.3, quick=True)
CACHE = Path(tempfile.gettempdir()) / f"genvec-benchmark-cache-{os.getuid()}"
HOW_TO = "python -m venv torch-venv && torch-venv/bin/pip install torch==2.13.0 numpy"


def torch_version(python: str) -> str | None:
    """The version of PyTorch that an interpreter imports."""
    program = "import torch; print(torch.__version__)"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def machine(argv: list[str], torch: str | None, timings: list[Timings]) -> dict[str, Any]:
    """What the numbers hold for."""
    peak, peak_by = peak_of(timings)
    peaks = {"peak_gflops": peak, "peak_by": peak_by, "peak_rounds": [t.peak for t in timings]}
    return {**provenance("benchmarks.zoo_speed", argv), "torch": torch, **peaks}


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that imports PyTorch")
    parser.add_argument("--case", action="append", choices=CASES, help="only this one; repeatable")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write all numbers here")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the ratios here")
    parser.add_argument("--cache", type=Path, default=CACHE, help="compiled programs (%(default)s)")
    args = parser.parse_args(argv)
    if args.plot and args.plot.suffix != ".svg":
        parser.error(f"--plot writes SVG, name it so: {args.plot.with_suffix('.svg')}")
    return args


def main(argv: list[str]) -> dict[str, Any]:
    """Measures the cases and returns the report."""
    args = parse(argv)
    python = args.torch or sys.executable
    torch = torch_version(python)
    if torch is None:
        print(f"{python} has no PyTorch, its ratios stay empty; to have them: {HOW_TO}")
    effort = QUICK if args.quick else FULL
    names = list(dict.fromkeys(args.case or CASES))
    timings = measure(
        [CASES[name] for name in names],
        effort,
        python=python if torch else None,
        cache=str(args.cache),
        log=report_progress,
    )
    about = machine(argv, torch, timings)
    pairs = zip(names, timings, strict=True)
    report = {n: summarise(CASES[n], t, about["peak_gflops"]) for n, t in pairs}
    report["machine"] = about
    print(table(report))
    print("\n".join(f"{name}: left out, {why}" for name, why in NOT_YET.items()))
    print(f"peak {about['peak_gflops']:.0f} GFLOP/s ({about['peak_by']}), {about['cpu']}")
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n")
    if args.plot:
        args.plot.write_text(speed_chart(report))
    return report


def report_progress(text: str) -> None:
    """One line on stderr, so that stdout holds the table alone."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
