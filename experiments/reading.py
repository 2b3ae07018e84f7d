"""Whether encoders can read a cell's members: all is traced on shapes, nothing is computed."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from genvec.classes import CLASSIFIERS, classifier_from, features
from genvec.encoders import ENCODERS, INPUTS, kind_of
from genvec.registry import lookup
from genvec.represent import REPRESENTATIONS, Context
from genvec.types import Dataset, Family

_TRACED: dict[str, Any] = {}  # what has been traced in this process: a run checks its config often


class Reader:
    """Reads members of one family, by their shapes alone."""

    def __init__(self, config: Any, dataset: Dataset, num_classes: int, family: Family):
        self.family, self.num_classes = family, num_classes
        self._member = f"{family.name} {dict(family.architecture)}"
        self.images = jax.ShapeDtypeStruct(dataset.heldout_images.shape, jnp.float32)
        entry = config.classifiers.get("counter") or config.classifiers.chooser
        self.network = CLASSIFIERS[entry.network](num_classes, **entry.args)

    def features(self, name: str) -> Any:
        """Shapes of one member's features.

        Raises:
          KeyError: an unknown representation.
          ValueError: the family lacks what the representation needs.
        """
        represent = lookup(REPRESENTATIONS, name, kind="representation")

        def of_member(params, state, images, variables):
            family, classifier = self.family, classifier_from(self.network, variables)
            context = Context(
                family.spec,
                family.encode,
                images,
                sample=family.sample,
                describe=lambda x: features(classifier, x),
                reference=params,
                decode=family.decode,
            )
            return represent(params, state, context)

        key, one = jax.random.key(0), jnp.zeros((1, *self.images.shape[1:]))
        images = f"{self.images.shape} {self.network}"
        variables = _once(images, lambda: jax.eval_shape(self.network.init, key, one))
        members = _once(self._member, lambda: jax.eval_shape(self.family.init, key))
        return _once(
            f"{self._member} {images} {name}",
            lambda: jax.eval_shape(of_member, *members, self.images, variables),
        )

    def embeds(self, entry: Any) -> None:
        """Raises ValueError where an entry of `config.encoders` cannot read these members."""
        name = entry.encoder.name
        make = lookup(ENCODERS, name, kind="encoder")
        module = make(self.family, self.num_classes, **entry.encoder.args)
        read = self.features(entry.representation)
        if kind_of(read) != INPUTS[name]:
            fitting = [other for other, kind in INPUTS.items() if kind == kind_of(read)]
            raise ValueError(
                f"the encoder {name!r} reads {INPUTS[name]}, and the representation "
                f"{entry.representation!r} is {kind_of(read)}; fitting encoders: "
                f"{', '.join(fitting)}"
            )
        shapes = jax.tree.map(lambda x: x.shape, read)
        _once(
            f"{self._member} {name} {entry.encoder.args} {self.num_classes} {shapes}",
            lambda: jax.eval_shape(module.init, jax.random.key(0), read),
        )


def _once(what: str, trace: Callable[[], Any]) -> Any:
    if what not in _TRACED:
        _TRACED[what] = trace()
    return _TRACED[what]
