"""The command line of `benchmarks.faults`."""

import argparse
import json
import os
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

from tqdm import tqdm

import benchmarks.faults
from benchmarks.faults import pool, summary
from benchmarks.faults.kinds import KINDS, kind_of
from benchmarks.faults.oracle import BAD
from benchmarks.faults.subject import WORK
from benchmarks.provenance import num_cores, provenance


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults",
        description=benchmarks.faults.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--num", type=int, default=2000, help="trials a seed (%(default)s)")
    parser.add_argument("--seed", type=numbers, default=[0], help="one, or several: 0,1")
    parser.add_argument("--only", type=numbers, help="these trials alone: 17 or 17,40")
    parser.add_argument("--kind", action="append", choices=sorted(KINDS), help="only; repeatable")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the counts here")
    parser.add_argument("--workdir", type=Path, default=WORK, help="for copies (%(default)s)")
    parser.add_argument("--workers", type=int, default=num_cores(), help="processes (%(default)s)")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds a trial (%(default)s)")
    return parser.parse_args(argv)


def numbers(text: str) -> list[int]:
    """Of "3,5"."""
    return [int(part) for part in text.split(",")]


def main(argv: list[str]) -> int:
    """Runs the trials, prints what became of them, and returns the exit code."""
    args = parse(argv)
    jobs = [
        pool.Job(seed, number)
        for seed in args.seed
        for number in (args.only or range(args.num))
        if not args.kind or args.only or kind_of(seed, number) in args.kind
    ]
    by_kind: dict[str, Counter] = defaultdict(Counter)
    start = time.perf_counter()
    work = args.workdir.absolute()
    trials = pool.run(jobs, work, workers=args.workers, limit=args.limit)
    with tqdm(trials, total=len(jobs), unit="trial", dynamic_ncols=True) as bar:
        for job, verdict in bar:
            kind = kind_of(job.seed, job.number)
            by_kind[kind][verdict.outcome] += 1
            if verdict.outcome in BAD or args.only:
                bar.write(summary.bad_line(job, kind, verdict), file=sys.stdout)
            bar.set_postfix_str(f"{summary.num_bad(by_kind)} bad")
    print(summary.table(by_kind))
    if args.out:
        about = provenance("benchmarks.faults", argv)
        about["minutes"] = round((time.perf_counter() - start) / 60, 1)
        kept = summary.report(args.seed, args.num, by_kind, about)
        temporary = args.out.with_name(f"{args.out.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(kept, indent=2) + "\n")
        os.replace(temporary, args.out)
    return 1 if summary.num_bad(by_kind) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
