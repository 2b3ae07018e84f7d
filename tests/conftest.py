"""Compiled programs are kept between runs: the suite is bound by compilation."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

cache = Path(tempfile.gettempdir()) / f"genvec-test-compilation-cache-{os.getuid()}"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import numpy as np
import pytest

from genvec.families import FAMILIES
from genvec.mixtures import group_by_class
from genvec.types import Dataset

ROOT = Path(__file__).parent.parent
IMAGE_SHAPE = (4, 4, 1)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Three classes of 4×4 images, each bright in its own rows."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3, dtype=np.int32), (30, 20, 10))
    images = rng.integers(0, 60, (60, *IMAGE_SHAPE)).astype(np.uint8)
    images[np.arange(60), labels] += 150
    return Dataset("rows", ("a", "b", "c"), images, labels, images[::2], labels[::2])


@pytest.fixture(scope="session")
def data(dataset):
    return group_by_class(dataset, (0, 1, 2))


# what a family takes besides, or in place of, hidden=(6,), latent=2
ARGS = {
    "bayesian_pca": {"latent": 2},
    "cgan": {"hidden": (6,), "latent": 2, "num_classes": 3},
    "density": {"hidden": (6,)},
    "hyper_vae": {"hidden": (6,), "latent": 2, "num_classes": 3, "hyper_hidden": (5,)},
    "inr": {"hidden": (6, 6)},
    "pca": {"latent": 2},
    "ppca": {"latent": 2},
}


def small(name):
    return FAMILIES[name](IMAGE_SHAPE, **ARGS.get(name, {"hidden": (6,), "latent": 2}))


@pytest.fixture(scope="session", params=["ae", "vae"])
def family(request):
    """One with state and one without, for what every family is treated alike by."""
    return small(request.param)


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def every_family(request):
    return small(request.param)


@pytest.fixture(scope="session")
def vae():
    return FAMILIES["vae"](IMAGE_SHAPE, hidden=(6, 5), latent=2)


def random_params(family, seed=0):
    """Parameters in which no bias is zero, so that a lost bias shows."""
    params, state = family.init(jax.random.key(seed))
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    noisy = [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, noisy), state


def script(name, *arguments):
    """Runs one of the experiments in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
