"""Stage 2: sample the mixtures and train the zoo, going on where an earlier run stopped.

python -m experiments.zoo --config=configs/digits.py [--profile]
"""

import statistics
import time
from contextlib import nullcontext
from functools import partial

import jax
import numpy as np
from absl import flags

from experiments.cells import hold_zoo, manifest, members_table, prepare
from experiments.common import bar, clock, mixture_data, stream
from experiments.done import read_done
from experiments.processes import agree, is_first, wait_until
from experiments.setup import check, unseen_classes
from experiments.start import main
from genvec import trees
from genvec.keys import fold_in_name
from genvec.mixtures import (
    pure_mixtures,
    sample_mixtures,
    spread,
    triplet_mixtures,
    unseen_mixtures,
)
from genvec.store import (
    complete_cell,
    create_zoo,
    missing_segments,
    read_json,
    read_manifest,
    segment_rows,
    write_json,
    write_segment,
)
from genvec.zoo import (
    MemberInputs,
    Plan,
    chunk_runner,
    member_inputs,
    step_flops,
    train_zoo,
)

PROFILED_STEPS = 20

flags.DEFINE_bool("profile", False, "Write a trace of 20 training steps to WORKDIR/profile first.")


def run_stage(config, run) -> None:
    setup, chosen = check(config), read_json(run.classes)
    planned = planned_mixtures(config, setup.split, chosen["classes"])
    mixtures = {name: _of_cell(config, cell, planned) for name, cell in setup.cells.items()}
    inputs = {
        name: inputs_of(config, cell, mixtures[name][cell.members])
        for name, cell in setup.cells.items()
    }
    data = mixture_data(setup.dataset, run)
    with clock(run, "zoo") if is_first() else nullcontext():
        if is_first():
            hold_zoo(config, setup.cells, run)  # now that the classes are known
            create_zoo(run.zoo, list(setup.cells))
            for name, cell in setup.cells.items():
                table = members_table(setup.split, mixtures[name], chosen["classes"])
                table = table[cell.members]
                table = table.assign(**jax.device_get(inputs[name].hparams))
                header = partial(manifest, config, cell, chosen["classes"])
                prepare(run.zoo / name, name, cell, header, table, inputs[name], data)
        for name, segments in _shares(run.zoo, setup.cells, inputs).items():
            _train(run, name, setup.cells[name], inputs[name], data, segments)
        for name in setup.cells:
            _complete(run.zoo / name)


def planned_mixtures(config, split, classes) -> np.ndarray:
    """Of all members [N, K]: Dirichlet, then the triplets' unions, then those of unseen classes."""
    key, alpha = stream(config, "mixtures"), config.mixtures.alpha
    unseen = [classes.index(name) for name in unseen_classes(config)]
    seen = [k for k in range(len(classes)) if k not in unseen]
    drawn = np.asarray(sample_mixtures(key, config.mixtures.num, len(seen), alpha))
    mixtures = spread(drawn, seen, len(classes))
    parts = [mixtures, triplet_mixtures(mixtures, split.triplets)]
    if unseen:
        more = jax.random.fold_in(key, config.mixtures.num)
        parts.append(unseen_mixtures(more, len(split.unseen), len(classes), unseen, alpha))
    return np.concatenate(parts)


def _of_cell(config, cell, mixtures: np.ndarray) -> np.ndarray:
    """Where the settings of a cell say `pure`, each of its mixtures is one class drawn from it."""
    if not cell.settings.get("pure", False):
        return mixtures
    return pure_mixtures(fold_in_name(stream(config, "mixtures"), "pure"), mixtures)


def inputs_of(config, cell, mixtures) -> MemberInputs:
    hparams = cell.settings.hparams.to_dict()
    key = stream(config, "zoo")
    return member_inputs(key, mixtures, cell.family, init=cell.settings.init, hparams=hparams)


def _shares(zoo, cells, inputs) -> dict[str, dict[int, slice]]:
    """What this process is to train: of each cell every so many-th segment that is missing."""
    sizes = [
        -(-len(inputs[name].mixture) // cell.settings.segment_size) for name, cell in cells.items()
    ]
    todo = [np.zeros(size, bool) for size in sizes]
    if is_first():
        for mask, name in zip(todo, cells, strict=True):
            mask[missing_segments(zoo / name)] = True
    todo = np.split(agree(np.concatenate(todo)), np.cumsum(sizes)[:-1])
    shares = {}
    for name, mask in zip(cells, todo, strict=True):
        mine = np.flatnonzero(mask)[jax.process_index() :: jax.process_count()]
        rows = segment_rows(read_manifest(zoo / name))
        if len(mine):
            shares[name] = {int(n): rows[n] for n in mine}
    return shares


def _train(run, name, cell, inputs, data, segments) -> None:
    """The visible loop: trains the segments, saves each, shows how it goes."""
    header = read_manifest(run.zoo / name)
    plan = Plan(header["plan"], header["vmap_width"])
    runner = chunk_runner(plan, cell.task, precision=cell.settings.precision)
    if flags.FLAGS.profile and is_first():
        _profile(run.path / "profile", runner, inputs, data)
    num = sum(part.stop - part.start for part in segments.values())
    total = len(inputs.mixture) if jax.process_count() == 1 else num
    flops = step_flops(inputs, data, runner.task) * runner.task.steps
    loss_name = f"{runner.task.family.players[0].name}_loss"
    begin, losses = time.perf_counter(), []
    with bar(total, f"zoo {name}", "member", total - num) as progress:

        def on_chunk(num):
            progress.update(num)
            done = progress.n - progress.initial
            rate = flops * done / (time.perf_counter() - begin) / 1e9
            loss = f", median loss {statistics.median(losses):.4g}" if losses else ""
            progress.set_postfix_str(f"{rate:.3g} GFLOP/s{loss}")

        def on_segment(number, trained):
            write_segment(run.zoo / name, number, trained)
            if not losses and is_first():
                _record(run, name, segments[number], time.perf_counter() - begin)
            finite = trained.metrics["finite"]
            losses[:] = trained.metrics[loss_name][finite].tolist()
            if not finite.all():
                odd = (segments[number].start + np.flatnonzero(~finite)).tolist()
                progress.write(f"{name}: members {odd} diverged; they are kept, and flagged")

        train_zoo(runner, inputs, data, segments, on_segment, on_chunk)


def _record(run, name, rows, seconds) -> None:
    """How long the first segment took this process, compilation included."""
    speed = read_done(run, run.speed)
    write_json(run.speed, {**speed, name: {"members": rows.stop - rows.start, "seconds": seconds}})


def _profile(folder, runner, inputs, data) -> None:
    chunk = trees.take(inputs, np.arange(runner.size) % len(inputs.mixture))
    carry = runner.advance(runner.start(chunk), 0, 1, chunk, data)
    jax.block_until_ready(carry)
    with jax.profiler.trace(str(folder), create_perfetto_trace=True):
        steps = min(PROFILED_STEPS, runner.task.steps)
        jax.block_until_ready(runner.advance(carry, 0, steps, chunk, data))
    print(
        f"trace of {steps} steps of {runner.size} members in {folder}: open perfetto_trace.json.gz"
    )


def _complete(path) -> None:
    """The first process writes the manifest once all segments are there; the others wait for it."""
    if is_first():
        wait_until(lambda: not missing_segments(path))
        complete_cell(path)
    else:
        wait_until(lambda: read_manifest(path)["complete"])


if __name__ == "__main__":
    main(run_stage)
