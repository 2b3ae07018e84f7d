"""Keys by name and index: the draws of kept results, written down before names had numbers."""

from types import SimpleNamespace
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.classes import NETWORK_NUMBERS
from experiments.common import STREAMS, stream
from genvec.classes import CLASSIFIERS
from genvec.encoders import MLPEncoder
from genvec.families import FAMILIES
from genvec.keys import fold_in_each, fold_in_name, fold_in_step, number_of, random_cycle
from genvec.objectives import weighted_sum
from genvec.train import Examples, train_encoder
from genvec.types import Spec
from genvec.zoo import member_inputs
from genvec.zoo.inputs import SORTED

CONFIG = SimpleNamespace(seed=0)
STAGE_KEYS = {
    "classes": [1797259609, 2579123966],
    "mixtures": [928981903, 3453687069],
    "zoo": [4146024105, 2718843009],
    "encoders": [2467461003, 3840466878],
    "evaluate": [2285895361, 433833334],
    "gallery": [1524306142, 1887795613],
    "matching": [3792494674, 2909014575],
    "collections": [2716826189, 292468403],
}
NETWORK_KEYS = {"resnet": [1353695780, 2116000888], "mlp": [4165894930, 804218099]}
# members 0 and 5 of key 7, drawn from (0.5, 2): in the order of their old numbers
DRAWN = [
    (1.9991062, 0.8323138),
    (0.5609105, 0.9414208),
    (0.510154, 0.6682727),
    (0.5009151, 1.3905327),
    (1.8561413, 1.2758914),
]
STEP_KEYS = {
    0: [4278498530, 2682168217],
    1: [2303529360, 3250916741],
    199: [1660012439, 1609740203],
    200: [482571977, 1629600056],
    333: [3312724832, 670072251],
    1000: [2537338434, 1915565952],
}


def data(key):
    return jax.random.key_data(key).tolist()


def drawn(family):
    """Hyper-parameters of six members, each from (0.5, 2)."""
    ranges = {name: (0.5, 2.0) for name in family.hparams}
    mixtures = np.full((6, 3), 1 / 3)
    return member_inputs(jax.random.key(7), mixtures, family, init="independent", hparams=ranges)


def test_stages_keep_their_keys():
    assert {name: data(stream(CONFIG, name)) for name in STREAMS} == STAGE_KEYS


def test_classifiers_keep_their_keys_beside_new_ones():
    stage = stream(CONFIG, "classes")
    found = {name: data(fold_in_name(stage, name, NETWORK_NUMBERS)) for name in CLASSIFIERS}
    assert NETWORK_KEYS.items() <= found.items()
    assert number_of("cnn", NETWORK_NUMBERS) == crc32(b"cnn") == 3835995677


@pytest.mark.parametrize("name", ["ae", "vae", "wgan_gp"])
def test_members_keep_their_keys_and_hyper_parameters(name):
    family = FAMILIES[name]((4, 4, 1))
    inputs = drawn(family)
    assert data(inputs.key[5]) == [3728983260, 3940825189]
    assert data(inputs.init_key[5]) == [1260689740, 3470158378]
    for hparam, expected in zip(sorted(family.hparams), DRAWN, strict=False):
        np.testing.assert_allclose(inputs.hparams[hparam][jnp.array([0, 5])], expected, rtol=1e-6)


def test_a_new_hyper_parameter_changes_no_other():
    """`amount` comes before all others in a sorted table."""
    vae = FAMILIES["vae"]((4, 4, 1))
    before = drawn(vae).hparams
    after = drawn(vae._replace(hparams={"amount": 1.0, **vae.hparams})).hparams
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    own = drawn(vae._replace(name="novel")).hparams  # a family that the table does not know
    more = drawn(vae._replace(name="novel", hparams={"amount": 1.0, **vae.hparams})).hparams
    for name, values in own.items():
        np.testing.assert_array_equal(more[name], values)
        assert not np.array_equal(more["amount"], values)


def test_no_two_names_of_a_family_have_one_number():
    for name, hparams in SORTED.items():
        others = [number_of(other) for other in ("amount", "learning_rate", "momentum", "beta")]
        numbers = [*range(len(hparams)), *others]
        assert len(set(numbers)) == len(numbers), name


def test_the_key_of_a_step_is_the_step_s():
    key = jax.random.key(11)
    assert {step: data(fold_in_step(key, step)) for step in STEP_KEYS} == STEP_KEYS
    steps = jnp.array([*STEP_KEYS])
    together = jax.jit(jax.vmap(lambda step: fold_in_step(key, step)))(steps)
    assert data(together) == [*STEP_KEYS.values()]
    every = jax.vmap(lambda step: fold_in_step(key, step))(jnp.arange(5_000))
    assert len({tuple(row) for row in data(every)}) == 5_000


def test_members_of_a_selection_keep_their_keys():
    stage = stream(CONFIG, "evaluate")
    assert data(fold_in_each(stage, np.array([17, 0]))) == [
        [242245447, 2475703366],
        [2973421278, 2523867950],
    ]


def test_a_random_cycle():
    assert random_cycle(6, 0).tolist() == [4, 0, 3, 1, 5, 2]
    assert random_cycle(6, 3).tolist() == [3, 4, 0, 1, 5, 2]
    for seed in range(20):
        assert (random_cycle(7, seed) != np.arange(7)).all()


def seen_in_training(eval_every, steps=120):
    """What `prepare` drew for whom, in all updates, and what was trained."""
    seen = []

    def prepare(key, x):
        if key is None:
            return x
        noise = jax.random.normal(key, x.shape)
        jax.debug.callback(lambda x, n: seen.append((float(x[0]), float(n[0]))), x, noise)
        return x + noise

    members = Examples(jnp.arange(8.0)[:, None], jnp.ones((8, 2)) / 2**0.5)
    result = train_encoder(
        jax.random.key(0),
        MLPEncoder(Spec({}, (), {}), 2, hidden=(4,)),
        weighted_sum({"mse": 1.0}),
        members,
        members,
        steps=steps,
        batch_size=2,
        eval_every=eval_every,
        prepare=prepare,
        keep_last=True,
    )
    jax.effects_barrier()
    return sorted(seen), result


def test_how_often_is_evaluated_changes_no_batch():
    first, after_100 = seen_in_training(100)
    second, after_50 = seen_in_training(50)
    assert len(first) == 2 * 120 and first == second
    leaves = [jax.tree.leaves(result.params) for result in (after_100, after_50)]
    for x, y in zip(*leaves, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)
