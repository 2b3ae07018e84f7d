"""Several processes on one zoo: how they find each other, and what they must agree upon.

On a cluster that JAX knows (Slurm, TPU and GPU pods, Open MPI) `--distributed` is all; elsewhere

    python -m experiments.zoo --config=… --coordinator=HOST:PORT --num_processes=2 --process_id=0
"""

import time

import jax
import numpy as np
from absl import flags
from jax.experimental import multihost_utils

from experiments.errors import ConfigError

flags.DEFINE_bool("distributed", False, "Join the other processes as the cluster tells.")
flags.DEFINE_string("coordinator", "", "host:port of process 0, to join by hand.")
flags.DEFINE_integer("num_processes", 1, "How many processes there are, with --coordinator.")
flags.DEFINE_integer("process_id", 0, "Which one this is, with --coordinator.")
flags.DEFINE_integer("patience", 100, "Seconds after which a silent process is given up.")

POLL_SECONDS = 0.5


def join() -> None:
    """Joins the other processes, if any; before anything else is asked of JAX.

    Where one of them vanishes the others end after `--patience` seconds; the same command goes on.

    Raises:
      ConfigError: a process number that cannot be.
    """
    args = flags.FLAGS
    if not 0 <= args.process_id < args.num_processes:
        raise ConfigError(
            f"--process_id is {args.process_id}; allowed: 0..{args.num_processes - 1}, "
            "one less than --num_processes"
        )
    if args.num_processes > 1 and not args.coordinator:
        raise ConfigError("--num_processes needs --coordinator=HOST:PORT, or use --distributed")
    patience = {"heartbeat_timeout_seconds": args.patience}
    if args.coordinator:
        jax.distributed.initialize(
            args.coordinator, args.num_processes, args.process_id, **patience
        )
    elif args.distributed:
        jax.distributed.initialize(**patience)


def is_first() -> bool:
    """True in the process that writes what there is one of."""
    return jax.process_index() == 0


def agree(values: np.ndarray) -> np.ndarray:
    """What the first process says; the others wait for it, and bring an array of equal shape."""
    if jax.process_count() == 1:
        return values
    return np.asarray(multihost_utils.broadcast_one_to_all(values))


def wait_until(condition) -> None:
    """Polls `condition()`; for what another process is to write."""
    while not condition():
        time.sleep(POLL_SECONDS)
