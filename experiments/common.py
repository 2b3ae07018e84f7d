"""What every script shares: flags, the check before any compute, devices, clock and bars."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags
from tqdm import tqdm

from experiments import processes
from genvec.classes import CLASSIFIERS
from genvec.controls import FITTED_CONTROLS
from genvec.data import DatasetNotPrepared, class_indices, load_dataset
from genvec.encoders import ENCODERS
from genvec.families import FAMILIES
from genvec.mixtures import MixtureData, assign_splits, group_by_class
from genvec.objectives import objective_name, weighted_sum
from genvec.registry import lookup
from genvec.represent import REPRESENTATIONS, Context
from genvec.store import RunFolder, StoreError, claim_run, lock_folder, read_json, write_json
from genvec.types import Dataset, Family, Split
from genvec.zoo import PLANS, PRECISIONS, Task, check_hparams

# of random numbers; only append
STREAMS = ("classes", "mixtures", "zoo", "encoders", "evaluate", "gallery")
config_flags.DEFINE_config_file("config", None, "What to run, such as configs/digits.py:smoke.")
flags.DEFINE_integer("cpu_devices", 0, "Devices that JAX sees in the CPU; one a core by default.")
flags.DEFINE_string("workdir", "", "Folder of the run; runs/<config name> by default.")


class Cell(NamedTuple):
    """One homogeneous part of the zoo."""

    family: Family
    settings: Any  # config.zoo, with what the cell has of its own

    @property
    def task(self) -> Task:
        return Task(self.family, self.settings.steps, self.settings.batch_size)

    @property
    def members(self) -> slice:
        """Which of the mixtures have a member here."""
        return slice(self.settings.members or None)


class Setup(NamedTuple):
    """What a checked config stands for."""

    dataset: Dataset
    cells: dict[str, Cell]
    chosen: str  # the cell that the encoders read; "" while none of several is named
    split: Split

    @property
    def cell(self) -> str:
        """Name of the cell that the encoders read.

        Raises:
          ConfigError: there are several, and none is named.
        """
        if not self.chosen:
            raise ConfigError(
                f"the zoo has the cells {', '.join(self.cells)}; say which one the encoders read, "
                f"such as --config.cell={next(iter(self.cells))}"
            )
        return self.chosen

    @property
    def family(self) -> Family:
        """Of the cell that the encoders read."""
        return self.cells[self.cell].family


class ConfigError(ValueError):
    """A setting that a stage needs and the config leaves open."""


class Stopped(KeyboardInterrupt):
    """SIGTERM, as Ctrl-C."""


def main(stage: Callable[[Any, RunFolder], Any]) -> None:
    """Runs one script: flags → `stage(config, run)`. What a user can mend ends in one message."""
    flags.mark_flag_as_required("config")
    app.run(lambda argv: _run(stage, argv))


def _run(stage, argv) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    cores = flags.FLAGS.cpu_devices or os.cpu_count()
    jax.config.update("jax_num_cpu_devices", cores)  # each core trains its own members
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
    config = flags.FLAGS.config
    jax.config.update("jax_disable_most_optimizations", config.quick_compile)
    run = RunFolder(flags.FLAGS.workdir or os.path.join("runs", config.name))
    try:
        processes.join()
        signal.signal(signal.SIGTERM, _stop)  # after JAX has set a handler of its own
        check(config)
    except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    try:
        with lock_folder(run.path) if processes.is_first() else nullcontext():
            if processes.is_first():
                claim_run(run, config.to_dict())
            stage(config, run)
    except (ConfigError, StoreError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as signal_:
        what, code = ("stopped", 143) if isinstance(signal_, Stopped) else ("interrupted", 130)
        message = f"{what}; the same command goes on where it was, in {run.path}"
        print(f"\n{message}", file=sys.stderr, flush=True)
        os._exit(code)  # a program that still runs on a device is abandoned, not waited for


def _stop(*_) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise Stopped


def stream(config: Any, name: str) -> jax.Array:
    """The key of one stage: no stage's numbers depend on how many another has drawn."""
    return jax.random.fold_in(jax.random.key(config.seed), STREAMS.index(name))


def check(config: Any) -> Setup:
    """Builds all that costs nothing, so that a bad config fails before any compute is spent."""
    with _named("config.data"):
        dataset = load_dataset(
            config.data.name,
            data_dir=config.data.data_dir or None,
            progress=_DecodingBar(config.data.name),
        )
    with _named("config.classes"):
        num_classes = len(chosen_classes(config, dataset) or range(config.classes.num))
        if not 2 <= num_classes <= len(dataset.class_names):
            raise ValueError(
                f"{num_classes} classes of {dataset.name}; allowed: 2..{len(dataset.class_names)}"
            )
        for name, classifier in config.classifiers.items():
            lookup(CLASSIFIERS, name, kind="classifier")(num_classes, **classifier.args)
    with _named("config.mixtures"):
        split = splits(config)
    cells = cells_of(config, dataset.images.shape[1:])
    with _named("config.cell"):
        chosen = config.cell or (next(iter(cells)) if len(cells) == 1 else "")
        family = lookup(cells, chosen, kind="cell").family if chosen else None
    for name, encoder in config.encoders.items():
        with _named(f"config.encoders.{name}"):
            lookup(REPRESENTATIONS, encoder.representation, kind="representation")
            if family is not None:
                make_encoder(encoder, family, num_classes)
            weighted_sum(encoder.objective.to_dict())
            _positive(encoder.train, "steps", "batch_size", "learning_rate")
            if encoder.augment < 0 or not encoder.seeds:
                raise ValueError(
                    f"augment={encoder.augment}, seeds={encoder.seeds}; "
                    "allowed: augment ≥ 0, at least one seed"
                )
    with _named("config.encoders"):
        names = [encoder_name(encoder) for encoder in config.encoders.values()]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{sorted(twice)} stands there twice; a run keeps one of each name")
    with _named("config.controls"):
        _positive(config.controls, "num_calibration", "untrained_readout")
        for name in config.controls.features:
            lookup(FITTED_CONTROLS, name, kind="representation for a control")
        if min(config.controls.num_samples, default=1) < 1:
            raise ValueError(f"num_samples is {config.controls.num_samples}; each must be positive")
    with _named("config.report"):
        _positive(config.report, "num_samples")
    return Setup(dataset, cells, chosen, split)


def _positive(section: Any, *names: str) -> None:
    for name in names:
        if not section[name] > 0:
            raise ValueError(f"{name} is {section[name]}; it must be positive")


@contextmanager
def _named(section: str) -> Iterator[None]:
    """Says which part of the config an error came from."""
    try:
        yield
    except DatasetNotPrepared:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{section}: {error}") from error


def chosen_classes(config: Any, dataset: Dataset) -> tuple[int, ...] | None:
    """Indices of an explicit choice; None where the classes are chosen by their distances."""
    choose = config.classes.choose
    return None if choose == "auto" else class_indices(dataset, choose.split(","))


def splits(config: Any) -> Split:
    """Who is in train, val and test, and who with whom in a triplet."""
    if not config.mixtures.alpha > 0:
        raise ValueError(f"alpha is {config.mixtures.alpha}; a Dirichlet needs alpha > 0")
    args = {k: v for k, v in config.mixtures.items() if k not in ("num", "alpha")}
    return assign_splits(config.seed, config.mixtures.num, **args)


def cells_of(config: Any, image_shape) -> dict[str, Cell]:
    """The cells of the zoo: `config.zoo` itself, or one for each entry of `config.zoo.cells`.

    What an entry holds takes the place of what `config.zoo` says.
    """
    base = config.zoo.to_dict()
    entries = base.pop("cells") or {base["family"]["name"]: {}}
    cells = {}
    for name, own in entries.items():
        section = f"config.zoo.cells.{name}" if config.zoo.cells else "config.zoo"
        with _named(section):
            if unknown := set(own) - set(base):
                raise KeyError(f"{sorted(unknown)}; known: {', '.join(sorted(base))}")
            if not name.isidentifier():
                raise ValueError(f"{name!r} cannot name a folder; use letters, digits and _")
            settings: Any = ConfigDict({**base, **own})
            make = lookup(FAMILIES, settings.family.name, kind="family")
            family = make(tuple(image_shape), **settings.family.args)
            check_hparams(family, init=settings.init, hparams=settings.hparams.to_dict())
            _positive(settings, "steps", "batch_size", "width", "segment_size")
            if not 0 <= settings.members <= config.mixtures.num:
                raise ValueError(
                    f"members is {settings.members}; allowed: 1..{config.mixtures.num}, the number "
                    "of mixtures, or 0 for one on every mixture and triplet"
                )
            lookup({**PLANS, "auto": None}, settings.plan, kind="plan")
            lookup(PRECISIONS, settings.precision, kind="precision")
            cells[name] = Cell(family, settings)
    return cells


def make_encoder(encoder: Any, family: Family, num_classes: int) -> Any:
    """The Flax module of one entry of `config.encoders`."""
    make = lookup(ENCODERS, encoder.encoder.name, kind="encoder")
    return make(family.spec, num_classes, **encoder.encoder.args)


def encoder_name(entry: Any) -> str:
    """`<representation>/<encoder>/<objective>`."""
    objective = objective_name(entry.objective.to_dict())
    return f"{entry.representation}/{entry.encoder.name}/{objective}"


def mixture_data(dataset: Dataset, run: RunFolder) -> MixtureData:
    """The images of the classes that the run has chosen."""
    return group_by_class(dataset, read_json(run.classes)["indices"])


def context(family: Family, data: MixtureData) -> Context:
    """What representations may use besides a member: its family, and held-out images."""
    return Context(family.spec, family.encode, data.heldout_images / 255.0)


@contextmanager
def clock(run: RunFolder, stage: str) -> Iterator[None]:
    """Adds the seconds spent to the run's timings, also where the stage is interrupted."""
    start = time.perf_counter()
    try:
        yield
    finally:
        timings = read_json(run.timings) if run.timings.exists() else {}
        timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - start
        write_json(run.timings, timings)


def bar(total: int, what: str, unit: str, done: int = 0) -> tqdm:
    """A progress bar on stderr."""
    return tqdm(total=total, initial=done, desc=what, unit=unit, dynamic_ncols=True, smoothing=0.1)


class _DecodingBar:
    """A bar that appears only where a data set has to be decoded."""

    def __init__(self, name: str):
        self.name, self.bar = name, None

    def __call__(self, done: int, total: int) -> None:
        self.bar = self.bar or bar(total, f"decoding {self.name}", "image")
        self.bar.update(done - self.bar.n)
        if done == total:
            self.bar.close()
