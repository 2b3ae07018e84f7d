"""Where the time of a training step goes, by kind of operation.

python -m benchmarks.zoo_profile [--case conv_vae] [--out profile.json]

Traces steps of a chunk of two members on one device and adds up the kernels' durations by what XLA
says each was made from. Kernels that run at the same time are all counted, so that the shares are
of work, not of wall time.
"""

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import jax

from benchmarks.cases import CASES
from benchmarks.engine import problem
from benchmarks.provenance import provenance
from genvec.zoo.member import start_member, step_member

WIDTH, STEPS = 2, 30
KINDS = (  # the first whose pattern is found in the operation's name
    ("matmuls", r"dot_general|->|transpose\(jvp.*(dense_\d+|mean|log_var)/transpose$"),
    ("random numbers", r"random|threefry|uniform|randint|erf_inv|fold_in"),
    ("slices, pads, copies", r"concatenate|/pad|slice|gather|transpose$|copy|split|reshape"),
    ("loss and activations", r"jvp"),
    ("optimiser and the rest", r""),
)
KERNEL = re.compile(r'^\s+(?:ROOT )?%([\w.\-]+) = .*?op_name="([^"]*)"')


def profile(name: str) -> dict[str, Any]:
    """Microseconds per step and member of each kind of operation in one case."""
    inputs, data, task = problem(CASES[name], WIDTH)

    def member_fn(carry, step, inputs):
        return step_member(carry, step, inputs, data, task)

    def steps_fn(carry, inputs):
        step_fn = jax.vmap(member_fn, (0, None, 0))
        return jax.lax.fori_loop(0, STEPS, lambda i, c: step_fn(c, i, inputs), carry)

    carry = jax.jit(jax.vmap(lambda m: start_member(m, task)))(inputs)
    compiled = jax.jit(steps_fn).lower(carry, inputs).compile()
    jax.block_until_ready(compiled(carry, inputs))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(compiled(carry, inputs))
        durations = kernel_ns(next(Path(folder).rglob("*.xplane.pb")))
    names = dict(
        match.groups() for line in compiled.as_text().splitlines() if (match := KERNEL.match(line))
    )
    total: Counter[str] = Counter()
    for kernel, duration in durations.items():
        if kernel in names:
            total[kind_of(names[kernel])] += duration / 1e3 / STEPS / WIDTH
    return {kind: round(total[kind], 1) for kind, _ in KINDS}


def kernel_ns(trace: Path) -> Counter[str]:
    """Kernel → nanoseconds, of all its calls."""
    total: Counter[str] = Counter()
    for plane in jax.profiler.ProfileData.from_file(str(trace)).planes:
        for line in plane.lines:
            for event in line.events:
                total[event.name] += event.duration_ns
    return total


def kind_of(operation: str) -> str:
    """The first of KINDS that an operation's name speaks of."""
    return next(kind for kind, pattern in KINDS if re.search(pattern, operation))


def main() -> None:
    """Profiles the cases that the flags name."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="repeatable")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the numbers here")
    args = parser.parse_args()
    report = {name: profile(name) for name in args.case or CASES}
    for name, kinds in report.items():
        whole = sum(kinds.values())
        print(f"{name}: {whole:.0f} µs of kernels a step and member")
        for kind, microseconds in kinds.items():
            print(f"  {kind:<24}{microseconds:9.1f} µs {100 * microseconds / whole:5.0f} %")
    if args.out:
        about = provenance("benchmarks.zoo_profile", sys.argv[1:])
        args.out.write_text(json.dumps({**report, "machine": about}, indent=2) + "\n")


if __name__ == "__main__":
    main()
