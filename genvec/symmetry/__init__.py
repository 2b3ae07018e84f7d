"""Which changes of its parameters leave an architecture's function as it is: the spec at work."""

from genvec.symmetry.actions import augment, mirror, permute, random_permutations, rescale
from genvec.symmetry.alignment import Alignment, align, balance, match_weights
from genvec.symmetry.parts import Part, generator_part
from genvec.symmetry.spec import (
    check_spec,
    edge_name,
    neuron_rows,
    spec_from_json,
    spec_to_json,
    touching,
)

__all__ = [
    "Alignment",
    "Part",
    "align",
    "augment",
    "balance",
    "check_spec",
    "edge_name",
    "generator_part",
    "match_weights",
    "mirror",
    "neuron_rows",
    "permute",
    "random_permutations",
    "rescale",
    "spec_from_json",
    "spec_to_json",
    "touching",
]
