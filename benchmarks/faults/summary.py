"""Trials → a table for the terminal, lines for the bad ones, and the kept JSON."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.faults.oracle import BAD, OUTCOMES, Verdict
from benchmarks.faults.pool import Job


def table(by_kind: Mapping[str, Counter]) -> str:
    """A row a kind, a column an outcome."""
    total = sum(by_kind.values(), Counter())
    rows: list[tuple[str, ...]] = [("", *OUTCOMES, "all")]
    for name, counts in [*sorted(by_kind.items()), ("all", total)]:
        rows.append((name, *(str(counts[o]) for o in OUTCOMES), str(counts.total())))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        numbers = (cell.rjust(w) for cell, w in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([name.ljust(widths[0]), *numbers]))
    return "\n".join(lines)


def bad_line(job: Job, kind: str, verdict: Verdict) -> str:
    """A trial that shows a fault of the code, in a line, with what replays it."""
    happened = " ".join(verdict.happened.split())
    return (
        f"{verdict.outcome:9} {kind:11} --seed={job.seed} --only={job.number}: "
        f"{verdict.done} → {happened}"
    )


def report(
    seeds: Iterable[int], num: int, by_kind: Mapping[str, Counter], about: Mapping[str, Any]
) -> dict[str, Any]:
    """What is kept."""
    total = sum(by_kind.values(), Counter())
    return {
        "seeds": list(seeds),
        "num": num,
        "outcomes": {outcome: total[outcome] for outcome in OUTCOMES},
        "by_kind": {
            name: {outcome: counts[outcome] for outcome in OUTCOMES}
            for name, counts in sorted(by_kind.items())
        },
        "machine": dict(about),
    }


def num_bad(by_kind: Mapping[str, Counter]) -> int:
    """Trials that show a fault of the code."""
    return sum(counts[outcome] for counts in by_kind.values() for outcome in BAD)
