"""Prints the results table of kept runs: python -m experiments.table results/digits_full.json …"""

import sys
from pathlib import Path

from genvec.report import comparisons, families_table, matching_table, results_table
from genvec.store import StoreError, read_json


def main(paths: list[str]) -> None:
    if not paths:
        sys.exit(__doc__)
    for path in paths:
        try:
            metrics = read_json(Path(path))
        except (StoreError, OSError) as error:
            sys.exit(f"error: {error}")
        if not isinstance(metrics, dict) or "environment" not in metrics:
            sys.exit(f"error: {path} holds no measured numbers; give files such as results/*.json")
        print(f"\n{path} · {metrics['environment']['command']}")
        print(f"{metrics['environment']['date']} · commit {metrics['environment']['commit']}\n")
        print(_table_of(metrics)(metrics))
        for comparison in comparisons(metrics):
            print(f"\n{comparison.as_markdown()}")


def _table_of(metrics):
    """A run is known by what it measured."""
    if "families" in metrics:
        return families_table
    return matching_table if "unseen_classes" in metrics else results_table


if __name__ == "__main__":
    main(sys.argv[1:])
