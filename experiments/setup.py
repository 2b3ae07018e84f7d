"""A config, checked before any compute is spent, and what its names stand for."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.checks import check_fields, check_once, check_seed, check_seeds, check_training
from experiments.common import DecodingBar
from experiments.divided import chosen_classes, splits, unseen_classes
from experiments.errors import ConfigError, named_section
from experiments.reading import Reader
from experiments.settings import check_settings
from genvec.arguments import check_number, check_options, check_whole
from genvec.classes import CLASSIFIERS, OPTIMISERS
from genvec.controls import FITTED_CONTROLS
from genvec.data import load_dataset
from genvec.encoders import ENCODERS, MODULES
from genvec.families import FAMILIES
from genvec.images import shrink_images
from genvec.objectives import objective_name, weighted_sum
from genvec.registry import lookup
from genvec.represent import REPRESENTATIONS
from genvec.types import Dataset, Family, Split
from genvec.validity import check_classes
from genvec.zoo import PLANS, PRECISIONS, Task, check_hparams

SECTIONS = (
    "data",
    "classes",
    "classifiers",
    "mixtures",
    "zoo",
    "cell",
    "encoders",
    "controls",
    "report",
)


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


def check(config: Any) -> Setup:
    """Builds all that costs nothing, so that a bad config fails before any compute is spent.

    Encoders and representations are traced on the shapes of the cell that they read.

    Raises:
      ConfigError: a section or setting that is missing, unknown or impossible; the message names
        it.
      DatasetNotPrepared: the data set is not in its folder.
    """
    check_settings(config, *SECTIONS)
    with named_section("config"):
        check_seed(seed=config.seed)
    with named_section("config.data"):
        dataset = _dataset(config)
    with named_section("config.classes"):
        num_classes = _check_classes(config, dataset)
    with named_section("config.mixtures"):
        split = splits(config)
    cells = cells_of(config, dataset.images.shape[1:])
    for name, cell in cells.items():
        with named_section(f"config.zoo.cells.{name}" if config.zoo.cells else "config.zoo"):
            _check_cell(cell, num_classes, split)
    with named_section("config.cell"):
        chosen = config.cell or (next(iter(cells)) if len(cells) == 1 else "")
        cell = lookup(cells, chosen, kind="cell") if chosen else None
    reader = Reader(config, dataset, num_classes, cell.family) if cell else None
    num_train = len(_members(split.train, cell)) if cell else config.mixtures.num
    for name, encoder in config.encoders.items():
        with named_section(f"config.encoders.{name}"):
            _check_encoder(encoder, num_classes, num_train, reader)
    with named_section("config.encoders"):
        check_once(config.encoders.values(), encoder_name, "an encoder")
    with named_section("config.ensembles"):
        _check_ensembles(config)
    with named_section("config.controls"):
        _check_controls(config.controls, reader)
    with named_section("config.report"):
        check_fields(config.report, "num_samples")
    return Setup(dataset, cells, chosen, split)


def _dataset(config: Any) -> Dataset:
    dataset = load_dataset(
        config.data.name,
        data_dir=config.data.data_dir or None,
        progress=DecodingBar(config.data.name),
    )
    size = config.data.get("size", 0)
    check_whole(size=size, least=0)
    if not size:
        return dataset
    smaller = partial(shrink_images, size=size)
    images, heldout = smaller(dataset.images), smaller(dataset.heldout_images)
    return dataset._replace(images=images, heldout_images=heldout)


def _check_classes(config: Any, dataset: Dataset) -> int:
    """How many classes the mixtures are of."""
    chosen = chosen_classes(config, dataset)
    # without a choice by name, any of them may be chosen
    check_classes(dataset, chosen or range(len(dataset.class_names)))
    num_classes = config.classes.num if chosen is None else len(chosen)
    if not 2 <= num_classes <= len(dataset.class_names):
        raise ValueError(
            f"{num_classes} classes of {dataset.name}; allowed: 2..{len(dataset.class_names)}"
        )
    unseen = unseen_classes(config)
    if unseen and "counter" not in config.classifiers:
        raise ValueError("classes never seen need a classifiers.counter that has not seen them")
    if "chooser" not in config.classifiers and (
        chosen is None or "counter" not in config.classifiers
    ):
        raise ValueError("classifiers.chooser is missing; it chooses, and counts without a counter")
    for role, entry in config.classifiers.items():
        with named_section(f"classifiers.{role}"):
            lookup(CLASSIFIERS, entry.network, kind="classifier")(num_classes, **entry.args)
            check_training(entry.train)
            lookup(OPTIMISERS, entry.train.get("optimiser", "adamw"), kind="optimiser")
    return num_classes


def _check_cell(cell: Cell, num_classes: int, split: Split) -> None:
    """Whether the cell's members suffice for the stages that follow, and know the classes."""
    told = cell.family.architecture.get("num_classes", 0)
    if told not in (0, num_classes):
        raise ValueError(f"num_classes is {told}; allowed: {num_classes}, the classes of the data")
    counts = [len(_members(part, cell)) for part in (split.train, split.val, split.test)]
    if counts[0] < 1 or counts[1] < 1 or counts[2] < 2:
        raise ValueError(
            f"members is {cell.settings.members}, of which {'/'.join(map(str, counts))} are "
            "train/val/test members; train and val need one, test needs two"
        )


def _members(part: np.ndarray, cell: Cell) -> np.ndarray:
    """Those of a part of the split that the cell has."""
    return part[part < (cell.settings.members or np.inf)]


def _check_encoder(encoder: Any, num_classes: int, num_train: int, reader: Reader | None) -> None:
    lookup(REPRESENTATIONS, encoder.representation, kind="representation")
    check_options(
        lookup(MODULES, encoder.encoder.name, kind="encoder"), encoder.encoder.args, kind="encoder"
    )
    check_training(encoder.train)
    check_number(augment=encoder.augment, least=0)
    check_seeds(seeds=encoder.seeds)
    objective = weighted_sum(encoder.objective.to_dict())
    batch = jax.ShapeDtypeStruct(
        (min(encoder.train.get("batch_size", 64), num_train), num_classes), np.float32
    )
    jax.eval_shape(objective, batch, batch)
    if reader:
        reader.embeds(encoder)


def _check_ensembles(config: Any) -> None:
    for name, keys in config.get("ensembles", {}).items():
        parts = [lookup(config.encoders, key, kind="encoder") for key in keys]
        if len(parts) < 2 or not set.intersection(*(set(part.seeds) for part in parts)):
            raise ValueError(
                f"{name} is {tuple(keys)}; it needs two encoders or more, with a common seed"
            )


def _check_controls(controls: Any, reader: Reader | None) -> None:
    check_fields(controls, "num_calibration", "untrained_readout")
    if "calibration_samples" in controls:
        check_fields(controls, "calibration_samples")
    for name in controls.features:
        lookup(FITTED_CONTROLS, name, kind="representation for a control")
        if reader:
            reader.features(name)
    for num_samples in controls.num_samples:
        check_whole(num_samples=num_samples)
    check_once(controls.features, str, "a representation")
    check_once(controls.num_samples, str, "a number of samples")


def cells_of(config: Any, image_shape) -> dict[str, Cell]:
    """The cells of the zoo: `config.zoo` itself, or one for each entry of `config.zoo.cells`.

    What an entry holds takes the place of what `config.zoo` says.
    """
    base = config.zoo.to_dict()
    entries = base.pop("cells") or {base["family"]["name"]: {}}
    cells = {}
    for name, own in entries.items():
        with named_section(f"config.zoo.cells.{name}" if config.zoo.cells else "config.zoo"):
            if not name.isidentifier():
                raise ValueError(f"{name!r} cannot name a folder; use letters, digits and _")
            settings: Any = ConfigDict({**base, **own})
            make = lookup(FAMILIES, settings.family.name, kind="family")
            check_options(make, settings.family.args, kind=f"family {settings.family.name}")
            family = make(tuple(image_shape), **settings.family.args)
            check_hparams(family, init=settings.init, hparams=settings.hparams.to_dict())
            check_fields(settings, "steps", "batch_size", "width", "segment_size")
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
