import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genvec.encoders import MLPEncoder
from genvec.geometry import to_sphere
from genvec.objectives import weighted_sum
from genvec.represent import fit_normaliser
from genvec.train import Examples, embed_represented, make_embed_fn, mean_angle, train_encoder
from genvec.types import NotFiniteError, Spec

SPEC = Spec({}, (), {})


def examples(num, seed, noise=0.0):
    """Features that hold the mixture in a linear code."""
    rng = np.random.default_rng(seed)
    mixtures = rng.dirichlet([0.7] * 3, num)
    code = np.random.default_rng(0).normal(size=(3, 5))
    features = (mixtures @ code + noise * rng.normal(size=(num, 5))).astype(np.float32)
    return Examples(jnp.asarray(features), jnp.asarray(to_sphere(mixtures), jnp.float32))


def train(objective, train_set=None, **args):
    encoder = MLPEncoder(SPEC, 3, hidden=(32,))
    train_set = train_set or examples(500, 1)
    settings = {"steps": 300, "eval_every": 100, "learning_rate": 1e-2, "average_decay": 0.9} | args
    return encoder, train_encoder(
        jax.random.key(0), encoder, weighted_sum(objective), train_set, examples(100, 2), **settings
    )


@pytest.mark.parametrize(
    "objective",
    [
        {"mse": 1.0},
        {"cosine": 1.0},
        {"triplet": {"weight": 1.0, "margin": 0.05}},
        {"n_pair": {"weight": 1.0, "temperature": 0.02}, "mse": 1.0},
        {"distance": 1.0, "mse": 0.1},
    ],
)
def test_every_objective_brings_embeddings_to_their_dataset_vectors(objective):
    _, result = train(objective)
    assert result.log[-1]["val_angle_deg"] < 5  # a constant is off by 33°
    assert [row["step"] for row in result.log] == [100, 200, 300]


def test_shuffled_targets_cannot_be_learned():
    honest = examples(500, 1)
    shuffled = honest._replace(targets=jnp.roll(honest.targets, 1, axis=0))
    _, result = train({"mse": 1.0}, shuffled)
    assert min(row["val_angle_deg"] for row in result.log) > 20


def test_the_last_parameters_are_kept_where_none_may_be_chosen():
    noisy, val = examples(20, 1, noise=1.0), examples(100, 2)

    def reached(**options):
        encoder, result = train({"mse": 1.0}, noisy, eval_every=10, **options)
        embeddings = make_embed_fn(encoder)(result.params, val.features)
        angles = [row["val_angle_deg"] for row in result.log]
        return float(mean_angle(embeddings, val.targets)), angles

    last, angles = reached(keep_last=True)
    assert last == pytest.approx(angles[-1], rel=1e-4) and last > min(angles) + 0.1
    best, angles = reached()
    assert best == pytest.approx(min(angles), rel=1e-4)


def test_a_score_of_ones_own_chooses_the_step():
    """The farthest from the targets instead of the nearest."""
    _, result = train(
        {"mse": 1.0},
        eval_every=50,
        score=lambda embeddings, targets: -mean_angle(embeddings, targets),
        score_name="far",
    )
    assert {"train_far", "val_far"} <= set(result.log[0])
    encoder = MLPEncoder(SPEC, 3, hidden=(32,))
    val = examples(100, 2)
    kept = mean_angle(make_embed_fn(encoder)(result.params, val.features), val.targets)
    assert -float(kept) == pytest.approx(min(row["val_far"] for row in result.log), rel=1e-4)


def test_the_parameters_kept_are_the_best_on_validation():
    encoder, result = train({"mse": 1.0}, examples(20, 1, noise=1.0), eval_every=10)
    best = min(row["val_angle_deg"] for row in result.log)
    assert best < result.log[-1]["val_angle_deg"]  # it did overfit
    val = examples(100, 2)
    embeddings = make_embed_fn(encoder)(result.params, val.features)
    cosine = jnp.clip(jnp.sum(embeddings * val.targets, axis=1), -1, 1)
    assert float(jnp.degrees(jnp.arccos(cosine)).mean()) == pytest.approx(best, abs=0.05)


def test_represented_members_are_normalised_and_embedded_in_parts():
    encoder = MLPEncoder(SPEC, 3, hidden=(8,))
    features = np.asarray(examples(2_100, 1).features)
    params = encoder.init(jax.random.key(0), features[0])
    normaliser = fit_normaliser(features, SPEC)
    embed = make_embed_fn(encoder)
    embeddings = embed_represented(embed, params, normaliser, features)
    np.testing.assert_allclose(embeddings, embed(params, normaliser(features)), rtol=1e-5)
    assert np.abs(embeddings - embed(params, features)).max() > 0.01, "control: not normalised"


def test_same_key_same_parameters():
    first, second = (train({"mse": 1.0}, steps=50)[1] for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)


def test_preparation_is_drawn_in_training_only():
    def prepare(key, x):
        return x if key is None else jnp.zeros_like(x) + jax.random.normal(key, x.shape)

    _, blind = train({"mse": 1.0}, prepare=prepare)
    assert min(row["val_angle_deg"] for row in blind.log) > 20  # it never saw the features
    _, seeing = train({"mse": 1.0}, prepare=lambda key, x: 2 * x)
    assert seeing.log[-1]["val_angle_deg"] < 5


def test_a_loss_that_is_not_finite_names_step_and_members():
    """Member 1003 overflows where it is augmented, and not before."""
    broken = examples(500, 1)
    broken = broken._replace(features=broken.features.at[3].set(1e30), member=np.arange(500) + 1000)

    def prepare(key, x):
        return jnp.minimum(x, 1) if key is None else x * x

    words = r"step \d+ with learning_rate=0.01; train members of that batch: .*\b1003\b"
    with pytest.raises(NotFiniteError, match=words):
        train({"mse": 1.0}, broken, prepare=prepare)


def test_one_compilation_serves_all_segments():
    import chex

    chex.clear_trace_counter()

    class Counted(nn.Module):
        @nn.compact
        def __call__(self, x):
            return traced(nn.softmax(nn.Dense(3)(x)))

    @chex.assert_max_traces(n=4)  # init, the training segment, its gradient, the evaluation
    def traced(x):
        return to_sphere(x)

    train_encoder(
        jax.random.key(0),
        Counted(),
        weighted_sum({"mse": 1.0}),
        examples(100, 1),
        examples(100, 2),
        steps=100,
        eval_every=10,
    )
