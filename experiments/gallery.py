"""Pictures of all families: what they generate, how latent spaces look, how GANs train.

python -m experiments.gallery --config=configs/families.py [--workdir=DIR]
"""

from collections.abc import Iterator, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments import latents
from experiments.checks import check_fields
from experiments.classes import load_counter
from experiments.common import bar, clock, mixture_data, stream
from experiments.done import is_done
from experiments.encoders import proportions
from experiments.errors import named_section
from experiments.latents import to_bytes
from experiments.settings import check_settings
from experiments.setup import Cell, check
from experiments.start import main
from genvec import trees
from genvec.classes import Classifier
from genvec.keys import fold_in_each, fold_in_name
from genvec.mixtures import MixtureData, draw_batch
from genvec.quality import class_shares, mode_coverage
from genvec.registry import lookup
from genvec.report import write_gallery
from genvec.store import cell_paths, load_zoo, read_arrays, read_json, read_members, write_arrays
from genvec.zoo import Plan, chunk_runner, member_inputs

CORNERS = 4  # classes of which the purest member is shown


def run_stage(config, run) -> None:
    """Writes `<picture>/<array>` to `run.gallery`; `genvec.report.write_gallery` shows it."""
    if is_done(run, run.gallery, read_arrays):
        return
    setup, names = check(config), read_json(run.classes)["classes"]
    settings = config.gallery
    followed = {name: lookup(setup.cells, name, kind="cell") for name in settings.modes}
    data = mixture_data(setup.dataset, run)
    classifier = load_counter(config, run)
    keys = jax.random.split(stream(config, "gallery"), 5)
    training = {"steps": settings.steps, "batch_size": settings.batch_size}
    written = {"classes": np.array(names), **_named("curves", loss_curves(run, setup.cells))}
    total = len(setup.cells) + 3 + len(followed)
    with clock(run, "gallery"), bar(total, "gallery", "picture") as progress:

        def keep(part: str, arrays: Mapping[str, np.ndarray], num: int = 1) -> None:
            written.update(_named(part, arrays))
            progress.update(num)
            progress.set_postfix_str(part)

        def on_cell() -> None:
            progress.update()

        keep("samples", draw_samples(config, run, setup, data, keys[0], on_cell), 0)
        keep("manifold", latents.manifold(keys[1], data, **training))
        vae = latents.coded(keys[2], data, **training)
        keep("interpolation", latents.interpolation(vae))
        keep("arithmetic", latents.arithmetic(vae, classifier), 0)
        keep("field", latents.field(keys[3], steps=2 * settings.steps))
        for name, cell in followed.items():
            keep(f"modes/{name}", follow_modes(settings, cell, data, classifier, keys[4]))
    write_arrays(run.gallery, written)


def _named(part: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{part}/{name}": array for name, array in arrays.items()}


def draw_samples(config, run, setup, data: MixtureData, key, on_cell) -> dict[str, np.ndarray]:
    """Images by the same test members of every cell, and real ones of the members' mixtures."""
    num = config.gallery.num_samples
    common = min(cell.settings.members or config.mixtures.num for cell in setup.cells.values())
    test = setup.split.test[setup.split.test < common]
    first = read_members(cell_paths(run.zoo)[next(iter(setup.cells))])
    shares = proportions(first.set_index("member").loc[test], read_json(run.classes)["classes"])
    rows = spread_out(shares)
    members, shares = test[rows], shares[rows]
    # of the real images and of the latent variables: one for both would give them the same noise
    real, latent = (fold_in_each(fold_in_name(key, name), members) for name in ("real", "latent"))

    def draw(key, mixture):
        return draw_batch(key, mixture, data, num).x

    drawn = jax.jit(jax.vmap(draw))(real, jnp.asarray(shares, jnp.float32))
    images, finite = [], []
    for name, cell in setup.cells.items():
        zoo = load_zoo(run.zoo, cell=name, split="test", members=members)
        order = np.searchsorted(zoo.members["member"], members)
        params, state = trees.take((zoo.params, zoo.state), order)
        sample = jax.jit(jax.vmap(partial(_sample, cell.family, num)))
        images.append(to_bytes(sample(latent, params, state)))
        finite.append(zoo.members["finite"].to_numpy(bool)[order])
        on_cell()
    return {
        "cells": np.array(list(setup.cells)),
        "families": np.array([cell.family.name for cell in setup.cells.values()]),
        "member": members,
        "mixture": shares,
        "real": to_bytes(drawn),  # [members, S, H, W, C]
        "images": np.stack(images),  # [cells, members, S, H, W, C]
        "finite": np.stack(finite),
    }


def _sample(family, num, key, params, state):
    return family.sample(params, state, key, num)


def spread_out(mixtures: np.ndarray) -> np.ndarray:
    """Rows of mixtures [n, K] nearest to the first classes' corners, then the most balanced one.

    No row stands there twice; where there are too few rows, all of them are taken.
    """
    num_classes = mixtures.shape[1]
    corners = np.eye(num_classes)[:CORNERS]
    wanted = np.concatenate([corners, np.full((1, num_classes), 1 / num_classes)])
    distances = np.linalg.norm(wanted[:, None] - mixtures, axis=-1)
    rows: list[int] = []
    for row in distances:
        free = [i for i in np.argsort(row, kind="stable") if i not in rows]
        rows += free[:1]
    return np.array(rows)


def loss_curves(run, cells: Mapping[str, Cell]) -> dict[str, np.ndarray]:
    """Of each adversarial cell and player: the 5, 50 and 95 % quantiles [3, points]."""
    curves = {}
    for name in adversarial(cells):
        table = read_members(cell_paths(run.zoo)[name])
        table = table[table["finite"].astype(bool)]
        for player in cells[name].family.players:
            rows = np.array(table[f"{player.name}_loss_curve"].tolist())
            if len(rows):
                curves[f"{name}/{player.name}"] = np.percentile(rows, [5, 50, 95], axis=0)
    return curves


def adversarial(cells: Mapping[str, Cell]) -> Iterator[str]:
    """Names of the cells in which there is a generator."""
    for name, cell in cells.items():
        if any(player.name == "generator" for player in cell.family.players):
            yield name


def follow_modes(
    settings, cell: Cell, data: MixtureData, classifier: Classifier, key: jax.Array
) -> dict[str, np.ndarray]:
    """Members trained anew on equal shares: mode coverage, and what the first one generates."""
    num, num_classes = settings.num_members, len(data.counts)
    own = cell.settings
    plan = Plan("scan" if own.plan == "auto" else own.plan, -(-num // jax.local_device_count()))
    runner = chunk_runner(plan, cell.task, precision=own.precision)
    equal = np.full((runner.size, num_classes), 1 / num_classes)
    hparams = own.hparams.to_dict()
    inputs = member_inputs(key, equal, cell.family, init=own.init, hparams=hparams)

    @jax.jit
    @jax.vmap
    def look(key, params, state, mixture):
        x = cell.family.sample(params, state, key, settings.num_classified)
        shares = class_shares(classifier.apply(classifier.variables, x))
        return x[: settings.num_samples], mode_coverage(shares, mixture)

    # looks are closer together at the start, where modes are found
    share = np.linspace(0, 1, settings.segments + 1) ** 2
    steps = np.unique((cell.task.steps * share).round().astype(int))
    carry, images, coverage = runner.start(inputs), [], []
    for last, step in zip([0, *steps], steps, strict=False):
        carry = runner.advance(carry, int(last), int(step), inputs, data)
        x, covered = jax.device_get(look(inputs.key, carry.params, carry.state, inputs.mixture))
        images.append(to_bytes(x[0]))
        coverage.append(covered[:num])
    return {
        "steps": steps,
        "coverage": np.array(coverage),  # [looks, members]
        "images": np.array(images),  # [looks, S, H, W, C]
        "num_classified": np.array(settings.num_classified),
    }


def run_and_write(config, run) -> None:
    """The stage, and its page."""
    run_stage(config, run)
    print(write_gallery(run))


def check_gallery(config):
    """The config's setup, its section for this script checked as well."""
    check_settings(config, "gallery")
    setup, settings = check(config), config.gallery
    with named_section("config.gallery"):
        check_fields(settings, *(name for name in settings if name != "modes"))
        for name in settings.modes:
            lookup(setup.cells, name, kind="cell")
    return setup


if __name__ == "__main__":
    main(run_and_write, check_gallery)
