"""Stage 6: the report, from what the run folder holds."""

from experiments.common import clock
from experiments.start import main
from genvec.report import results_table, write_report
from genvec.store import read_json


def run_stage(config, run) -> None:
    with clock(run, "report"):
        write_report(run)
    print(results_table(read_json(run.metrics)))
    print(f"\n{run.report}")


if __name__ == "__main__":
    main(run_stage)
