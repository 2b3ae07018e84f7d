"""Prints the results table of kept runs: python -m experiments.table results/digits_full.json …"""

import sys
from pathlib import Path

from genvec.report import families_table, results_table
from genvec.store import StoreError, read_json


def main(paths: list[str]) -> None:
    if not paths:
        sys.exit(__doc__)
    for path in paths:
        try:
            metrics = read_json(Path(path))
        except StoreError as error:
            sys.exit(f"error: {error}")
        print(f"\n{path} · {metrics['environment']['command']}")
        print(f"{metrics['environment']['date']} · commit {metrics['environment']['commit']}\n")
        print(families_table(metrics) if "families" in metrics else results_table(metrics))


if __name__ == "__main__":
    main(sys.argv[1:])
