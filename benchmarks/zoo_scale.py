"""How the engine scales with the number of members: time, memory, disk.

python -m benchmarks.zoo_scale --out scale.json
python -m benchmarks.zoo_scale --members 100000 --steps 20

Without --members: trains zoos of 64, 1,024 and 16,384 tiny VAEs, each in a process of its own and
in turn for a few rounds, and prints seconds per step and member (median; flat within 10 % is the
target) and the peak memory of the process (flat as well: a zoo is streamed by segments).
With --members: one zoo of that size, trained and written through `genvec.store` to a folder that is
then removed; prints peak memory, disk use and members a second.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.provenance import provenance

ROOT = Path(__file__).parent.parent
SIZES = (64, 1024, 16384)
SEGMENT = 256
LEAST = 2048  # members trained for a time, be they the same ones again
FLAT = 1.10


def train(num: int, steps: int, width: int, folder: Path | None) -> dict[str, float]:
    """Trains N tiny members on all devices, and writes them where there is a folder.

    Timed from the first segment handed over: compilation does not count. A small zoo that is not
    written is trained several times over.
    """
    import jax

    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    from benchmarks.cases import CASES
    from benchmarks.engine import problem
    from genvec import zoo

    case = CASES["dense_tiny"]
    segments = [slice(i, min(i + SEGMENT, num)) for i in range(0, num, SEGMENT)]
    if not folder:
        segments *= max(1, -(-LEAST // num))
    save_fn = open_cell(folder, num) if folder else lambda number, trained: None
    done: list[float] = []

    def on_segment(number, trained):
        save_fn(number, trained)
        done.append(time.perf_counter())

    inputs, data, task = problem(case, num)
    runner = zoo.chunk_runner(zoo.Plan("scan", width), task._replace(steps=steps))
    zoo.train_zoo(runner, inputs, data, dict(enumerate(segments)), on_segment)
    if folder:
        complete(folder)
        done.append(time.perf_counter())
    # the last segment is handed over ahead of its turn, nothing being trained in the meantime
    timed = segments[1:] if folder else segments[1:-1]
    return report_of(num, timed, steps, (done[-1] if folder else done[-2]) - done[0], folder)


def report_of(num: int, timed: list[slice], steps: int, seconds: float, folder: Path | None):
    """The numbers of one process, of which the segments `timed` took so many seconds."""
    members = sum(rows.stop - rows.start for rows in timed)
    return {
        "members": num,
        "seconds_per_step_member": seconds / members / steps,
        "members_per_second": members / seconds,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "disk_mb": disk_mb(folder) if folder else 0.0,
    }


def open_cell(folder: Path, num: int):
    """Creates a zoo of one cell → on_segment that writes to it."""
    import pandas as pd

    from genvec import store

    cell = folder / "vae"
    store.create_zoo(folder, ["vae"])
    members = pd.DataFrame({"member": range(num), "split": "train"})
    store.create_cell(cell, {"family": "vae", "segment_size": SEGMENT}, members)
    return lambda number, trained: store.write_segment(cell, number, trained)


def complete(folder: Path) -> None:
    """Completes the cell of `open_cell`."""
    from genvec import store

    store.complete_cell(folder / "vae")


def disk_mb(folder: Path) -> float:
    """Blocks in use by all files of a folder."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*")) / 2**20


def in_process(num: int, args: argparse.Namespace, folder: str = "") -> dict[str, float]:
    """`train` in a process of its own, so that its peak memory is its own.

    This process imports no JAX: a child's peak begins at the memory of its parent.
    """
    command = [sys.executable, "-m", "benchmarks.zoo_scale", "--child", str(num), "--zoo", folder]
    command += [f"--steps={args.steps}", f"--width={args.width}"]
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def scaling(args: argparse.Namespace) -> dict[str, Any]:
    """All sizes, in turn, for some rounds."""
    results: dict[int, list[dict[str, float]]] = {num: [] for num in SIZES}
    for number in range(args.rounds):
        for num in SIZES:
            print(f"round {number + 1} of {args.rounds}: {num} members", file=sys.stderr)
            results[num].append(in_process(num, args))
    keys = ("seconds_per_step_member", "peak_rss_mb")
    return {
        str(n): {key: median(r[key] for r in rounds) for key in keys}
        for n, rounds in results.items()
    }


def print_scaling(report: dict[str, Any]) -> None:
    """A row a size, then what the targets say."""
    for num, row in report.items():
        micro, memory = row["seconds_per_step_member"] * 1e6, row["peak_rss_mb"]
        print(f"{int(num):>7,} members  {micro:8.2f} µs a step and member  {memory:7.0f} MB peak")
    for key, label in (("seconds_per_step_member", "time"), ("peak_rss_mb", "memory")):
        values = [row[key] for row in report.values()]
        ratio = max(values) / min(values)
        verdict = "reached" if ratio <= FLAT else "missed"
        print(f"{label}: most / least = {ratio:.2f}, target ≤ {FLAT:.2f}: {verdict}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, help="write one zoo of so many members instead")
    parser.add_argument("--steps", type=int, default=50, help="of every member (default 50)")
    parser.add_argument("--width", type=int, default=16, help="members a device (default 16)")
    parser.add_argument("--rounds", type=int, default=3, help="every size so often (default 3)")
    parser.add_argument("--folder", type=Path, help="where --members makes its temporary folder")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the numbers here")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--zoo", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.members is not None and args.members <= SEGMENT:
        parser.error(f"--members needs more than one segment: at least {SEGMENT + 1}")
    return args


def main() -> None:
    """Measures, prints and writes."""
    args = parse()
    if args.child:
        folder = Path(args.zoo) if args.zoo else None
        print(json.dumps(train(args.child, args.steps, args.width, folder)))
        return
    if args.members:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            report: dict[str, Any] = in_process(args.members, args, str(Path(folder, "zoo")))
        print(f"{args.members:,} members: {report['peak_rss_mb']:.0f} MB peak memory")
        print(f"{report['disk_mb']:.0f} MB on disk, {report['members_per_second']:.0f} members/s")
    else:
        report = scaling(args)
        print_scaling(report)
    if args.out:
        report["machine"] = provenance("benchmarks.zoo_scale", sys.argv[1:])
        args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
