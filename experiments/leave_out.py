"""One encoder over all cells: trained on all but one, tested on the members of the one left out.

It reads what a member generates with, from the latent variables to the pixels, which is what the
families have in common (`generator_part`), and shares its parameters among them. There is a fold
for each cell that may be left out; all folds are trained at once, by a vmap over them.
"""

import json
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.checks import check_training
from experiments.common import bar, clock, needs_splits, stream
from experiments.done import is_done
from experiments.encoders import mixtures
from experiments.errors import named_section
from experiments.settings import check_settings
from experiments.setup import check
from experiments.start import main
from genvec import trees
from genvec.arguments import check_number
from genvec.encoders import GraphEncoder, JointEncoder
from genvec.geometry import angle_deg, to_sphere
from genvec.keys import fold_in_name
from genvec.networks import initialise
from genvec.objectives import weighted_sum
from genvec.registry import lookup
from genvec.represent import Context, Normaliser, fit_normaliser, graph, represent
from genvec.store import load_cells, write_json
from genvec.symmetry import Part, augment, generator_part, spec_to_json
from genvec.train import Examples, make_embed_fn, train_encoder

EVAL_EVERY = 20  # updates between two signs of life


class Generators(NamedTuple):
    """The generating part of the members of one cell."""

    part: Part
    params: Any  # leading n
    normaliser: Normaliser  # fitted on train members, whose mixtures it does not ask for
    targets: np.ndarray  # [n, K] dataset vectors
    member: np.ndarray  # [n]
    split: np.ndarray  # [n]

    def graphs(self, rows: np.ndarray) -> Any:
        """Normalised graphs of some members."""
        params = trees.take(self.params, rows)
        return self.normaliser(represent("graph", params, {}, _context(self.part.spec)))


class Folds(NamedTuple):
    """A `JointEncoder` for each fold, as one: parameters with a leading axis F."""

    joint: JointEncoder
    num: int

    def init(self, key, graphs) -> Any:
        first = self.joint.init(key, graphs)
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (self.num, *x.shape)), first)

    def apply(self, params, graphs) -> jax.Array:
        """Embeddings [F, C, D]."""
        return jax.vmap(self.joint.apply, (0, None))(params, graphs)


def run_stage(config, run) -> None:
    """Writes cell → its angle left out, and seen: the mean over the folds that it is taught in."""
    if is_done(run, run.leave_out):
        return
    with clock(run, "leave_out"):
        cells = _read(check(config), run)
        taught = [name for name in cells if name not in config.leave_out.never]
        folds, kinds = _encoders(cells, taught)
        params = _train(config, cells, folds, kinds)
        names = [name for kind in kinds.values() for name in kind]
        written = {}
        for name, cell in cells.items():
            angles = _angles(params, cell)
            own = names.index(name) if name in names else None
            seen = [angle for fold, angle in enumerate(angles) if fold != own]
            left_out = angles if own is None else angles[own]
            written[name] = {
                "leave_out_angle_deg_mean": float(np.mean(left_out)),
                "joint_angle_deg_mean": None if own is None else float(np.mean(seen)),
            }
    write_json(run.leave_out, written)


def _read(setup, run) -> dict[str, Generators]:
    cells = {}
    for name, zoo in load_cells(run.zoo, ("train", "val", "test"), finite_only=True).items():
        needs_splits(zoo, "train", "val", "test")
        part = generator_part(setup.cells[name].family.spec)
        params, members = part.take(zoo.params), zoo.members
        graphs = represent("graph", params, {}, _context(part.spec))
        split = members["split"].to_numpy()
        normaliser = fit_normaliser(trees.take(graphs, split == "train"), part.spec)
        targets = to_sphere(mixtures(zoo))
        member = members["member"].to_numpy()
        cells[name] = Generators(part, params, normaliser, targets, member, split)
    return cells


def _encoders(
    cells: dict[str, Generators], taught: list[str]
) -> tuple[Folds, dict[str, list[str]]]:
    """The folds, and topology → cells whose parts have it, so that they can be stacked."""
    alike: dict[str, list[str]] = {}
    for name in taught:
        shapes = {leaf: value.shape[1:] for leaf, value in cells[name].params.items()}
        key = json.dumps([spec_to_json(cells[name].part.spec), shapes])  # windows are in no spec
        alike.setdefault(key, []).append(name)
    kinds = {"+".join(names): names for names in alike.values()}
    encoders = {kind: _encoder(cells[names[0]]) for kind, names in kinds.items()}
    return Folds(JointEncoder(encoders), len(taught)), kinds


def _encoder(cell: Generators) -> GraphEncoder:
    return GraphEncoder(cell.part.spec, cell.targets.shape[1], joint=True)


def _train(config, cells: dict[str, Generators], folds: Folds, kinds: dict[str, list[str]]) -> Any:
    """Parameters of all folds; an example is the members of one mixture, of all taught cells."""
    names = [name for kind in kinds.values() for name in kind]
    common = set.intersection(*(set(cells[name].member) for name in names))
    objective = weighted_sum(config.leave_out.objective.to_dict())
    others = np.array([[c for c in range(folds.num) if c != fold] for fold in range(folds.num)])

    def stack(values, axis=0) -> Any:
        return jax.tree.map(lambda *leaves: np.stack(leaves, axis=axis), *values)

    def examples(split: str) -> Examples:
        rows = {
            name: np.flatnonzero(
                np.isin(cells[name].member, [*common]) & (cells[name].split == split)
            )
            for name in names
        }
        stacked = {
            kind: stack([trees.take(cells[n].params, rows[n]) for n in group], axis=1)
            for kind, group in kinds.items()
        }
        first, own = cells[names[0]], rows[names[0]]
        targets = jnp.asarray(first.targets[own])[:, None, None]  # [n, 1, 1, K]
        return Examples(stacked, targets, first.member[own])

    def prepare(key, example):
        graphs = {}
        for kind, group in kinds.items():
            spec, params = cells[group[0]].part.spec, example[kind]
            if key is not None:
                keys = jnp.stack([fold_in_name(key, name) for name in group])
                change = partial(augment, spec=spec, spread=config.leave_out.augment)
                params = jax.vmap(change)(keys, params)
            normalisers = stack([cells[name].normaliser for name in group])
            context = _context(spec)
            graphs[kind] = jax.vmap(lambda p, n, c=context: n(graph(p, {}, c)))(params, normalisers)
        return graphs

    def loss(embeddings, targets):  # [B, F, C, D], [B, 1, 1, D]
        def of_fold(x, others):
            x, d = x[:, others], jnp.broadcast_to(targets[:, 0], (len(x), len(others), x.shape[-1]))
            return objective(x.reshape(-1, x.shape[-1]), d.reshape(-1, x.shape[-1]))

        return jnp.sum(jax.vmap(of_fold, (1, 0))(embeddings, others))

    args = config.leave_out.train
    with bar(args.steps, f"one encoder for all, {folds.num} folds", "step") as progress:

        def on_eval(row) -> None:
            progress.update(row["step"] - progress.n)

        # to choose a step by validation members would look at the left out
        trained = train_encoder(
            stream(config, "encoders"),
            folds,  # type: ignore[arg-type]  it has a module's init and apply
            loss,
            examples("train"),
            examples("val"),
            prepare=prepare,
            on_eval=on_eval,
            eval_every=EVAL_EVERY,
            keep_last=True,
            **args,
        )
    return trained.params


def _angles(params, cell: Generators) -> list[float]:
    """Mean angle on the test members, fold by fold; what no cell has taught is as it began."""
    rows = np.flatnonzero(cell.split == "test")
    graphs, encoder = cell.graphs(rows), _encoder(cell)
    first = trees.flatten_names(initialise(encoder, jax.random.key(0), trees.take(graphs, 0)))
    embed, known, angles = make_embed_fn(encoder), trees.flatten_names(params), []
    for fold in range(len(next(iter(known.values())))):
        own = {name: known[name][fold] if name in known else x for name, x in first.items()}
        embeddings = np.asarray(embed(trees.unflatten_names(own), graphs))
        angles.append(float(angle_deg(embeddings, cell.targets[rows]).mean()))
    return angles


def _context(spec) -> Context:
    """Of a part: its graph asks for no more than the spec."""
    return Context(spec, lambda params, state, x: x, jnp.empty(0))


def check_leave_out(config):
    """The config's setup, its section for this script checked as well."""
    check_settings(config, "leave_out")
    setup, settings = check(config), config.leave_out
    with named_section("config.leave_out"):
        for name in settings.never:
            lookup(setup.cells, name, kind="cell")
        if len(set(setup.cells) - set(settings.never)) < 2:
            raise ValueError(
                f"never is {settings.never}; two cells or more must be left to learn from"
            )
        check_training(settings.train)
        check_number(augment=settings.augment, least=0)
        weighted_sum(settings.objective.to_dict())
    return setup


if __name__ == "__main__":
    main(run_stage, check_leave_out)
