"""Worker of the JAX variants: `python -m benchmarks.jax_worker KIND CASE --devices N`."""

import argparse

import jax
import jax.numpy as jnp

from benchmarks.cases import CASES, Case
from benchmarks.workers import repeated, serve

PEAK_SIZE = 2048


def prepare_engine(case: Case, args: argparse.Namespace):
    """The engine with the choice that is fastest here."""
    from benchmarks import engine

    return engine.tuned(case, quick=args.quick, turn_s=args.turn)


def prepare_plain(case: Case, args: argparse.Namespace):
    """JAX without the engine."""
    from benchmarks import engine, plain_vae

    images = jnp.asarray(engine.images_of(case))
    run_fn, step_members = plain_vae.PROGRAMS[args.kind](case, images, quick=args.quick)
    return repeated(run_fn, step_members, args.turn), {"step_members": step_members}


def prepare_peak(case: Case, args: argparse.Namespace):
    """One large float32 matmul; its turn is the best of a few, in seconds."""
    del case
    matmul = jax.jit(jnp.matmul)
    a = jnp.ones((PEAK_SIZE, PEAK_SIZE))
    turn = repeated(lambda: matmul(a, a).block_until_ready(), 1, 0.0)
    return lambda: min(turn() for _ in range(5)), {}


PREPARE = {
    "engine": prepare_engine,
    "naive": prepare_plain,
    "single": prepare_plain,
    "step_loop": prepare_plain,
    "peak": prepare_peak,
}


def main() -> None:
    """Serves one variant of one case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=PREPARE)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--devices", type=int, default=1, help="JAX devices of the CPU")
    parser.add_argument("--turn", type=float, default=1.0, help="seconds of a turn, about")
    parser.add_argument("--quick", action="store_true", help="tune over fewer choices")
    args = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", args.devices)
    serve(lambda: PREPARE[args.kind](CASES[args.case], args))


if __name__ == "__main__":
    main()
