"""Submits the zoo stage to a Slurm cluster: every task a process, all of them on one zoo.

    python -m experiments.classes --config=configs/digits.py:full
    python -m experiments.slurm --nodes=2 --tasks_per_node=4 --gpus_per_node=4 \
        --partition=gpu --minutes=240 -- --config=configs/digits.py:full --config.zoo.plan=auto

What stands behind `--` goes to `experiments.zoo`. A job that runs out of time or is preempted is
queued again and goes on where it was. Needs `pip install genvec[slurm]` and a file system that all
nodes share; `--cluster=local` runs the tasks on this machine.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from experiments.errors import USER_ERRORS
from experiments.settings import config_of

FIRST_PORT, NUM_PORTS = 20_000, 20_000  # a job's coordinator listens at a port of its own


class ZooTask:
    """One task of the job; submitit pickles it, and asks it how to go on after a time-out."""

    def __init__(self, arguments: Sequence[str]):
        self.arguments = list(arguments)

    def __call__(self) -> int:
        import submitit

        job: Any = submitit.JobEnvironment()
        digits = "".join(c for c in job.job_id if c.isdigit())
        port = FIRST_PORT + int(digits) % NUM_PORTS
        flags = [
            f"--coordinator={job.hostnames[0] if job.num_nodes > 1 else 'localhost'}:{port}",
            f"--num_processes={job.num_tasks}",
            f"--process_id={job.global_rank}",
        ]
        command = [sys.executable, "-m", "experiments.zoo", *self.arguments, *flags]
        return subprocess.run(command, check=True).returncode

    def checkpoint(self, *args: Any) -> Any:
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Flags of the job, and what goes to `experiments.zoo`."""
    split = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cluster", default="slurm", choices=("slurm", "local"))
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--tasks_per_node", type=int, default=1, help="processes on each node")
    parser.add_argument("--gpus_per_node", type=int, default=0, help="divided among its tasks")
    parser.add_argument("--cpus_per_task", type=int, default=4)
    parser.add_argument("--minutes", type=int, default=60, help="after which it is queued again")
    parser.add_argument("--partition", default="", help="of the cluster")
    parser.add_argument("--logs", default="runs/slurm", help="folder of the logs of the jobs")
    parser.add_argument("--wait", action="store_true", help="until the job has ended")
    args = parser.parse_args(argv[:split])
    arguments = list(argv[split + 1 :])
    if not any(argument.startswith("--config=") for argument in arguments):
        parser.error("what is to run stands behind --, such as -- --config=configs/digits.py:full")
    return args, arguments


def main(argv: Sequence[str]) -> None:
    args, arguments = parse(argv)
    try:  # here, and not when the job has waited for its turn
        config_of(arguments)
    except USER_ERRORS as error:
        sys.exit(f"error: {error}")
    try:
        import submitit
    except ImportError:
        sys.exit("error: submitit is not installed; pip install 'genvec[slurm]'")
    executor = submitit.AutoExecutor(folder=os.path.abspath(args.logs), cluster=args.cluster)
    options = {"gpus_per_node": args.gpus_per_node} if args.gpus_per_node else {}
    if args.partition:
        options["slurm_partition"] = args.partition
    executor.update_parameters(
        name="genvec-zoo",
        nodes=args.nodes,
        tasks_per_node=args.tasks_per_node,
        cpus_per_task=args.cpus_per_task,
        timeout_min=args.minutes,
        **options,
    )
    job = executor.submit(ZooTask(arguments))
    print(f"job {job.job_id}; logs in {job.paths.folder}")
    if args.wait:
        job.results()


if __name__ == "__main__":
    main(sys.argv[1:])
