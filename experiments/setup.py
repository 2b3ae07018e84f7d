"""A config, checked before any compute is spent, and what its names stand for."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from experiments.common import DecodingBar
from genvec.classes import CLASSIFIERS, OPTIMISERS
from genvec.controls import FITTED_CONTROLS
from genvec.data import class_indices, load_dataset
from genvec.encoders import ENCODERS
from genvec.families import FAMILIES
from genvec.images import shrink_images
from genvec.mixtures import assign_splits
from genvec.objectives import objective_name, weighted_sum
from genvec.prepared import DatasetNotPrepared
from genvec.registry import lookup
from genvec.represent import REPRESENTATIONS
from genvec.types import Dataset, Family, Split
from genvec.validity import check_classes
from genvec.zoo import PLANS, PRECISIONS, Task, check_hparams


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


def check(config: Any) -> Setup:
    """Builds all that costs nothing, so that a bad config fails before any compute is spent."""
    with named_section("config.data"):
        dataset = load_dataset(
            config.data.name,
            data_dir=config.data.data_dir or None,
            progress=DecodingBar(config.data.name),
        )
        if size := config.data.get("size", 0):
            smaller = partial(shrink_images, size=size)
            dataset = dataset._replace(
                images=smaller(dataset.images), heldout_images=smaller(dataset.heldout_images)
            )
    with named_section("config.classes"):
        explicit = chosen_classes(config, dataset)
        # without a choice by name, any of them may be chosen
        check_classes(dataset, explicit or range(len(dataset.class_names)))
        num_classes = len(explicit or range(config.classes.num))
        if not 2 <= num_classes <= len(dataset.class_names):
            raise ValueError(
                f"{num_classes} classes of {dataset.name}; allowed: 2..{len(dataset.class_names)}"
            )
        if unseen_classes(config) and "counter" not in config.classifiers:
            raise ValueError("classes never seen need a classifiers.counter that has not seen them")
        for entry in config.classifiers.values():
            lookup(CLASSIFIERS, entry.network, kind="classifier")(num_classes, **entry.args)
            lookup(OPTIMISERS, entry.train.get("optimiser", "adamw"), kind="optimiser")
    with named_section("config.mixtures"):
        split = splits(config)
    cells = cells_of(config, dataset.images.shape[1:])
    with named_section("config.cell"):
        chosen = config.cell or (next(iter(cells)) if len(cells) == 1 else "")
        family = lookup(cells, chosen, kind="cell").family if chosen else None
    for name, encoder in config.encoders.items():
        with named_section(f"config.encoders.{name}"):
            lookup(REPRESENTATIONS, encoder.representation, kind="representation")
            if family is not None:
                make_encoder(encoder, family, num_classes)
            weighted_sum(encoder.objective.to_dict())
            positive(encoder.train, "steps", "batch_size")
            if min(rates := learning_rates(encoder), default=0) <= 0:
                raise ValueError(f"learning_rate is {rates}; each must be positive")
            if encoder.augment < 0 or not encoder.seeds:
                raise ValueError(
                    f"augment={encoder.augment}, seeds={encoder.seeds}; "
                    "allowed: augment ≥ 0, at least one seed"
                )
    with named_section("config.encoders"):
        names = [encoder_name(encoder) for encoder in config.encoders.values()]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{sorted(twice)} stands there twice; a run keeps one of each name")
    with named_section("config.ensembles"):
        for name, keys in config.get("ensembles", {}).items():
            parts = [lookup(config.encoders, key, kind="encoder") for key in keys]
            if len(parts) < 2 or not set.intersection(*(set(part.seeds) for part in parts)):
                raise ValueError(
                    f"{name} is {tuple(keys)}; it needs two encoders or more, with a common seed"
                )
    with named_section("config.controls"):
        positive(config.controls, "num_calibration", "untrained_readout")
        if "calibration_samples" in config.controls:
            positive(config.controls, "calibration_samples")
        for name in config.controls.features:
            lookup(FITTED_CONTROLS, name, kind="representation for a control")
        if min(config.controls.num_samples, default=1) < 1:
            raise ValueError(f"num_samples is {config.controls.num_samples}; each must be positive")
    with named_section("config.report"):
        positive(config.report, "num_samples")
    return Setup(dataset, cells, chosen, split)


def positive(section: Any, *names: str) -> None:
    for name in names:
        if not section[name] > 0:
            raise ValueError(f"{name} is {section[name]}; it must be positive")


@contextmanager
def named_section(section: str) -> Iterator[None]:
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
    num = config.mixtures.num
    args = {k: v for k, v in config.mixtures.items() if k not in ("num", "alpha", "unseen")}
    split = assign_splits(config.seed, num, **args)
    if not unseen_classes(config):
        return split
    positive(config.mixtures.unseen, "num")
    first = num + len(split.triplets)
    return split._replace(unseen=first + np.arange(config.mixtures.unseen.num))


def unseen_classes(config: Any) -> tuple[str, ...]:
    """Names of the classes that only members of the split "unseen" have seen.

    Raises:
      ValueError: they are not among the classes chosen by name, or leave fewer than two.
    """
    names = tuple(config.mixtures.get("unseen", {}).get("classes", ()))
    chosen = config.classes.choose.split(",")
    if odd := set(names) - set(chosen):
        raise ValueError(
            f"unseen.classes has {', '.join(sorted(odd))}; allowed: of config.classes.choose, "
            f"{config.classes.choose}"
        )
    if names and len(chosen) - len(names) < 2:
        raise ValueError(f"unseen.classes {names} leaves fewer than two of {', '.join(chosen)}")
    return names


def cells_of(config: Any, image_shape) -> dict[str, Cell]:
    """The cells of the zoo: `config.zoo` itself, or one for each entry of `config.zoo.cells`.

    What an entry holds takes the place of what `config.zoo` says.
    """
    base = config.zoo.to_dict()
    entries = base.pop("cells") or {base["family"]["name"]: {}}
    cells = {}
    for name, own in entries.items():
        section = f"config.zoo.cells.{name}" if config.zoo.cells else "config.zoo"
        with named_section(section):
            if unknown := set(own) - set(base):
                raise KeyError(f"{sorted(unknown)}; known: {', '.join(sorted(base))}")
            if not name.isidentifier():
                raise ValueError(f"{name!r} cannot name a folder; use letters, digits and _")
            settings: Any = ConfigDict({**base, **own})
            make = lookup(FAMILIES, settings.family.name, kind="family")
            family = make(tuple(image_shape), **settings.family.args)
            check_hparams(family, init=settings.init, hparams=settings.hparams.to_dict())
            positive(settings, "steps", "batch_size", "width", "segment_size")
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
    return make(family, num_classes, **encoder.encoder.args)


def learning_rates(entry: Any) -> tuple[float, ...]:
    """Those that an entry of `config.encoders` tries; the best on validation is kept."""
    rates = entry.train.learning_rate
    return rates if isinstance(rates, tuple) else (rates,)


def encoder_name(entry: Any) -> str:
    """`<representation>/<encoder>/<objective>`."""
    objective = objective_name(entry.objective.to_dict())
    return f"{entry.representation}/{entry.encoder.name}/{objective}"


def ensembles(config: Any) -> dict[str, list[Any]]:
    """Name → the entries of `config.encoders` whose mean embedding is taken."""
    found = {}
    for keys in config.get("ensembles", {}).values():
        entries = [config.encoders[key] for key in keys]
        found[" + ".join(map(encoder_name, entries))] = entries
    return found
