"""The whole job: every stage in its order; what a stage has already done is not done again.

python -m experiments.run --config=configs/digits.py [--workdir=DIR]
"""

from experiments import classes, controls, encoders, evaluate, report, zoo
from experiments.setup import Setup, check
from experiments.start import main

STAGES = (classes, zoo, encoders, controls, evaluate, report)


def run_stage(config, run) -> None:
    check_run(config)
    for stage in STAGES:
        stage.run_stage(config, run)


def check_run(config) -> Setup:
    """The encoders must know their cell before hours are spent."""
    setup = check(config)
    setup.cell  # noqa: B018
    return setup


if __name__ == "__main__":
    main(run_stage, check_run)
