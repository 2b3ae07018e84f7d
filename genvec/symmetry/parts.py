"""Parts of architectures under names that other architectures share."""

from collections.abc import Mapping
from typing import NamedTuple

import jax

from genvec.trees import flatten_names
from genvec.types import Params, Spec


class Part(NamedTuple):
    """Some layers of an architecture, under names that other architectures share."""

    spec: Spec  # of the part alone
    names: Mapping[str, str]  # parameter of the part → the same in the member

    def take(self, params: Params) -> dict[str, jax.Array]:
        """The part's parameters, from those of one member or of a stack of members."""
        flat = flatten_names(params)
        return {name: flat[original] for name, original in self.names.items()}


def generator_part(spec: Spec) -> Part:
    """What stands between the latent variables, or other inputs, and the output.

    The output is the group "y", or the last one where there is none. Groups are named by their
    place: hidden groups "h1", "h2", … by their distance from the output, latent variables "z",
    fixed groups by their own name and size, "y_64". Several of one name are "h1", "h1.1", …: an
    encoder treats them alike. Encoders, discriminators and what else a member has is left out.
    """
    output = "y" if "y" in spec.groups else list(spec.groups)[-1]
    edges = [
        tuple(group for group in groups if group is not None)
        for groups in spec.axes.values()
        if sum(group is not None for group in groups) == 2
    ]
    places, frontier, inputs = {output: _sized(output, spec)}, [output], set()
    for distance in range(1, len(spec.groups)):
        nearer = [s for s, t in edges if t in frontier and s not in places]
        frontier = []
        for group in dict.fromkeys(nearer):
            latent = group.startswith("z")
            place = (
                "z" if latent else _sized(group, spec) if group in spec.fixed else f"h{distance}"
            )
            number = sum(p.partition(".")[0] == place for p in places.values())
            places[group] = f"{place}.{number}" if number else place
            if latent or all(target != group for _, target in edges):
                inputs.add(group)
            else:
                frontier.append(group)
    names, axes = {}, {}
    for original, groups in spec.axes.items():
        inside = [group for group in groups if group is not None]
        # what ends in an input, such as the bias of a code, is of the encoder before it
        if not inside or not set(inside) <= set(places) or inside[-1] in inputs:
            continue
        name = f"{'>'.join(places[g] for g in inside)} {original.rpartition('/')[2]}"
        name += f" {sum(n.startswith(name) for n in names)}"
        names[name] = original
        axes[name] = tuple(None if g is None else places[g] for g in groups)
    back = {original: name for name, original in names.items()}
    ordered = [group for group in spec.groups if group in places]
    part = Spec(
        groups={places[g]: spec.groups[g] for g in ordered},
        fixed=tuple(places[g] for g in ordered if g in spec.fixed),
        axes=axes,
        scaled=tuple(places[g] for g in ordered if g in spec.scaled),
        mirrored={
            places[g]: tuple(back[name] for name in signs if name in back)
            for g, signs in spec.mirrored.items()
            if g in places
        },
    )
    return Part(part, names)


def _sized(group: str, spec: Spec) -> str:
    return f"{group}_{spec.groups[group]}"
