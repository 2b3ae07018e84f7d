"""The settings that the scripts read: which there are, of which type, and what they are else.

A section is named by a dotted path, in which `*` stands for any name. What a config must have is in
`REQUIRED`; what it may have besides is in `optional_settings`, with its default.
"""

from collections.abc import Callable, Mapping
from typing import Any

from experiments.values import Either, Several
from genvec.arguments import options_of
from genvec.classes import CLASSIFIERS, train_classifier
from genvec.collections import OBJECT_NETWORKS, train_objects
from genvec.encoders import MODULES
from genvec.families import FAMILIES
from genvec.matching import PairEncoder
from genvec.objectives import GROUP_OBJECTIVES, OBJECTIVES
from genvec.train import train_encoder

# section → setting → a value of the type that it has
REQUIRED: dict[str, dict[str, Any]] = {
    "": {"name": "", "seed": 0, "quick_compile": False},
    "data": {"name": "", "data_dir": ""},
    "classes": {"choose": "", "num": 1},
    "classifiers": {},
    "classifiers.*": {"network": "", "args": {}, "train": {}},
    "classifiers.*.train": {"num_steps": 1},
    "mixtures": {
        "num": 1,
        "alpha": 1.0,
        "val_fraction": 1.0,
        "test_fraction": 1.0,
        "num_triplets": 1,
    },
    "mixtures.unseen": {"classes": ("",), "num": 1},
    "zoo": {
        "family": {},
        "init": "",
        "hparams": {},
        "steps": 1,
        "batch_size": 1,
        "plan": "",
        "width": 1,
        "precision": "",
        "segment_size": 1,
        "members": 1,
        "cells": {},
    },
    "zoo.family": {"name": "", "args": {}},
    "zoo.cells.*.family": {"name": "", "args": {}},
    "encoders": {},
    "encoders.*": {
        "representation": "",
        "encoder": {},
        "objective": {},
        "augment": 1.0,
        "seeds": (1,),
        "train": {},
    },
    "encoders.*.encoder": {"name": "", "args": {}},
    "encoders.*.train": {"steps": 1, "learning_rate": Several()},
    "controls": {
        "features": ("",),
        "num_samples": (1,),
        "num_calibration": 1,
        "untrained_readout": 1,
    },
    "report": {"num_samples": 1},
    "quality": {"num_members": 1, "num_samples": 1},
    "reads": {"default": ("",)},
    "leave_out": {"never": ("",), "objective": {}, "augment": 1.0, "train": {}},
    "leave_out.train": {"steps": 1},
    "hypernetwork": {"steps": 1, "num_members": 1},
    "gallery": {
        "num_samples": 1,
        "steps": 1,
        "batch_size": 1,
        "modes": ("",),
        "num_members": 1,
        "segments": 1,
        "num_classified": 1,
    },
    "matching": {
        "dimension": 1,
        "reads": ("",),
        "temperature": 1.0,
        "augment": 1.0,
        "seeds": (1,),
        "images_a_class": 1,
        "set_size": 1,
        "images_a_set": 1,
        "num_queries": 1,
        "pairs": 1,
        "train": {},
    },
    "matching.train": {"steps": 1},
    "network": {"name": "", "args": {}},
    "objectives": {},
    "objectives.*": {"objective": "", "options": {}, "train": {}},
    "objectives.*.train": {"steps": 1, "groups": 1, "objects": 1},
    "evaluate": {
        "aggregations": ("",),
        "controls": ("",),
        "ways": 1,
        "num_pairs": 1,
        "pooling_steps": 1,
        "shown": "",
    },
}
# what a config of collections, known by its objectives, must have besides
OF_COLLECTIONS: dict[str, dict[str, Any]] = {
    "": {"dimension": 1, "seeds": (1,)},
    "data": {"size": 1, "turned": False, "validation": 1},
}
# sections that are given to a function as they are: any other name in them is a mistake
CLOSED = (
    "classifiers.*.args",
    "classifiers.*.train",
    "zoo.family.args",
    "zoo.hparams",
    "zoo.cells.*",
    "zoo.cells.*.family.args",
    "zoo.cells.*.hparams",
    "encoders.*.encoder.args",
    "encoders.*.train",
    "encoders.*.objective",
    "encoders.*.objective.*",
    "leave_out.train",
    "leave_out.objective",
    "leave_out.objective.*",
    "matching.model",
    "matching.train",
    "network.args",
    "objectives.*.options",
    "objectives.*.train",
)


def matches(section: str, pattern: str) -> bool:
    """Whether a dotted path is of a pattern's sections."""
    names, parts = section.split("."), pattern.split(".")
    both = zip(names, parts, strict=False)
    return len(names) == len(parts) and all(part in ("*", name) for name, part in both)


def required_settings(config: Any, section: str) -> dict[str, Any]:
    """Setting → a value of its type, for all that a section must hold."""
    own = {n: v for p, part in REQUIRED.items() if matches(section, p) for n, v in part.items()}
    return own | OF_COLLECTIONS.get(section, {}) if "objectives" in config else own


def optional_settings(config: Any, section: str) -> dict[str, Any]:
    """Setting → default, for all that a section may hold besides."""
    for pattern, options in OPTIONAL.items():
        if matches(section, pattern):
            return {**options(config, section)}
    return {}


def known_settings(config: Any, section: str) -> dict[str, Any]:
    """Setting → a value of its type."""
    return {**optional_settings(config, section), **required_settings(config, section)}


def section_of(config: Any, section: str) -> Any:
    """The part of the config with this path; empty where it has none."""
    for name in filter(None, section.split(".")):
        config = config.get(name, {})
    return config


def _plain(make: Callable[..., Any], *without: str) -> dict[str, Any]:
    """Options of `make` that a config can hold."""
    options = options_of(make)
    plain = (bool, int, float, str, tuple)
    return {k: v for k, v in options.items() if isinstance(v, plain) and k not in without}


def _named(table: Mapping[str, Any], name: Any, *without: str) -> dict[str, Any]:
    return _plain(table[name], *without) if isinstance(name, str) and name in table else {}


def _top(config: Any, section: str) -> dict[str, Any]:
    return {"cell": "", "ensembles": {}} if "encoders" in config else {}


def _data(config: Any, section: str) -> dict[str, Any]:
    return {"size": 0}


def _classifier(config: Any, section: str) -> dict[str, Any]:
    return _named(CLASSIFIERS, _above(config, section).get("network"))


def _family(config: Any, section: str) -> dict[str, Any]:
    return _named(FAMILIES, _above(config, section).get("name"))


def _hparams(config: Any, section: str) -> dict[str, Any]:
    above = _above(config, section)
    family = above.get("family", config.zoo.family)
    try:  # of any images: the names are the same
        made = FAMILIES[family["name"]]((32, 32, 3), **family.get("args", {}))
    except (KeyError, TypeError, ValueError):  # told where the family is made
        return {}
    return {name: Several(value) for name, value in made.hparams.items()}


def _cells(config: Any, section: str) -> dict[str, Any]:
    return {name: value for name, value in config.zoo.items() if name != "cells"}


def _encoder(config: Any, section: str) -> dict[str, Any]:
    return _named(MODULES, _above(config, section).get("name"), "joint")


def _train(*without: str) -> Callable[[Any, str], dict[str, Any]]:
    options = _plain(train_encoder, "score_name", *without)

    def of_section(config: Any, section: str) -> dict[str, Any]:
        return options

    return of_section


def _objectives(config: Any, section: str) -> dict[str, Any]:
    return {name: Either() for name in OBJECTIVES}


def _objective(config: Any, section: str) -> dict[str, Any]:
    return {"weight": 1.0, **_named(OBJECTIVES, section.rpartition(".")[2])}


def _controls(config: Any, section: str) -> dict[str, Any]:
    return {"calibration_samples": max(config.controls.num_samples, default=1)}


def _matching(config: Any, section: str) -> dict[str, Any]:
    return {"model": {}}


def _model(config: Any, section: str) -> dict[str, Any]:
    return _plain(PairEncoder, "num_outputs")


def _network(config: Any, section: str) -> dict[str, Any]:
    return _named(OBJECT_NETWORKS, _above(config, section).get("name"))


def _group_objective(config: Any, section: str) -> dict[str, Any]:
    return _named(GROUP_OBJECTIVES, _above(config, section).get("objective"))


def _readers(config: Any, section: str) -> dict[str, Any]:
    return dict.fromkeys(config.zoo.cells, config.reads["default"])


def _above(config: Any, section: str) -> Any:
    return section_of(config, section.rpartition(".")[0])


# section → (config, section) → setting → default
OPTIONAL: dict[str, Callable[[Any, str], Mapping[str, Any]]] = {
    "": _top,
    "data": _data,
    "classifiers.*.args": _classifier,
    "classifiers.*.train": lambda config, section: _plain(train_classifier),
    "zoo.family.args": _family,
    "zoo.hparams": _hparams,
    "zoo.cells.*": _cells,
    "zoo.cells.*.family.args": _family,
    "zoo.cells.*.hparams": _hparams,
    "encoders.*.encoder.args": _encoder,
    "encoders.*.train": _train("keep_last"),
    "encoders.*.objective": _objectives,
    "encoders.*.objective.*": _objective,
    "controls": _controls,
    "reads": _readers,
    "leave_out.train": _train("eval_every", "keep_last"),
    "leave_out.objective": _objectives,
    "leave_out.objective.*": _objective,
    "matching": _matching,
    "matching.model": _model,
    "matching.train": _train("keep_last"),
    "network.args": _network,
    "objectives.*.options": _group_objective,
    "objectives.*.train": lambda config, section: _plain(train_objects),
}
