import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import IMAGE_SHAPE, random_params, small

from genvec import symmetry
from genvec.families import FAMILIES
from genvec.trees import flatten_names, unflatten_names


def outputs(family, params, state):
    """What a member does: the codes of five images [5, Z], and how well it gives them back [5]."""
    x = jax.random.uniform(jax.random.key(9), (5, *IMAGE_SHAPE))
    hparams = {name: jnp.asarray(value) for name, value in family.hparams.items()}
    metrics = family.evaluate(params, state, jax.random.key(0), x, hparams)
    return family.encode(params, state, x), metrics["reconstruction"]


@pytest.mark.parametrize("fault", ["missing", "unknown", "size"])
def test_a_spec_that_does_not_fit_is_refused(family, fault):
    params, _ = family.init(jax.random.key(0))
    axes, groups = dict(family.spec.axes), dict(family.spec.groups)
    if fault == "missing":
        del axes["decoder/dense_0/kernel"]
    elif fault == "unknown":
        axes["decoder/dense_7/kernel"] = ("z", "y")
    else:
        groups["z"] = 3
    with pytest.raises(ValueError, match=r"decoder/dense_\d|encoder/\w+"):
        symmetry.check_spec(family.spec._replace(axes=axes, groups=groups), params)


def test_permuting_hidden_neurons_leaves_the_function(family):
    params, state = random_params(family)
    permutations = symmetry.random_permutations(jax.random.key(1), family.spec)
    permuted = symmetry.permute(params, family.spec, permutations)
    code, reconstruction = outputs(family, params, state)
    new_code, new_reconstruction = outputs(family, permuted, state)
    np.testing.assert_allclose(new_code, code[:, permutations["z"]], rtol=1e-5)
    np.testing.assert_allclose(new_reconstruction, reconstruction, rtol=1e-5)


def test_permuting_one_axis_alone_does_not(family):
    params, state = random_params(family)
    wrong = dict(flatten_names(params))
    wrong["decoder/dense_0/kernel"] = wrong["decoder/dense_0/kernel"][:, ::-1]
    before, after = (outputs(family, p, state)[1] for p in (params, unflatten_names(wrong)))
    assert not np.allclose(before, after, rtol=1e-3)


def test_augmented_parameters_are_others_with_the_same_function(family):
    params, state = random_params(family)
    augmented = symmetry.augment(jax.random.key(2), params, family.spec, spread=0.5)
    _, reconstruction = outputs(family, params, state)
    _, same = outputs(family, augmented, state)
    np.testing.assert_allclose(same, reconstruction, rtol=1e-4)
    for name, leaf in flatten_names(params).items():
        if any(group in family.spec.scaled for group in family.spec.axes[name]):
            assert not np.allclose(leaf, flatten_names(augmented)[name]), name


def test_mirroring_flips_codes_and_rescaling_the_wrong_way_shows(family):
    params, state = random_params(family)
    mirrored = symmetry.mirror(params, family.spec, {"z": jnp.array([-1.0, 1.0])})
    code, reconstruction = outputs(family, params, state)
    new_code, same = outputs(family, mirrored, state)
    np.testing.assert_allclose(new_code, code * np.array([-1, 1]), rtol=1e-5)
    np.testing.assert_allclose(same, reconstruction, rtol=1e-5)
    # the negative control: pixels are not behind a ReLU
    factors = {"x": jnp.linspace(0.5, 2.0, family.spec.groups["x"])}
    wrong = symmetry.rescale(params, family.spec, factors)
    assert not np.allclose(outputs(family, wrong, state)[1], reconstruction, rtol=1e-3)


def test_spec_survives_json(family):
    import json

    text = json.dumps(symmetry.spec_to_json(family.spec))
    assert symmetry.spec_from_json(json.loads(text)) == family.spec


def test_the_generator_part_is_alike_in_families_that_generate_alike():
    parts = {name: symmetry.generator_part(small(name).spec) for name in ("ae", "vae", "lsgan")}
    assert parts["ae"].spec.groups == {"z": 2, "h1": 6, "y_16": 16}
    assert parts["vae"].spec == parts["lsgan"].spec
    assert parts["vae"].spec.mirrored == {"z": ("z>h1 kernel 0",)}
    assert symmetry.generator_part(small("aae").spec).spec == parts["vae"].spec
    assert parts["lsgan"].names["h1>y_16 kernel 0"] == "generator/dense_1/kernel"
    wider = FAMILIES["lsgan"](IMAGE_SHAPE, hidden=(7,), latent=2).spec
    assert symmetry.generator_part(wider).spec != parts["lsgan"].spec  # the negative control


def test_the_generator_part_of_every_family_fits_its_parameters(every_family):
    part = symmetry.generator_part(every_family.spec)
    params, _ = jax.eval_shape(every_family.init, jax.random.key(0))
    symmetry.check_spec(part.spec, part.take(params))
    assert set(part.names.values()) <= set(flatten_names(params))
    scopes = {name.split("/")[0] for name in part.names.values()}
    assert scopes <= {scope for scope in params if scope not in ("encoder", "discriminator")}


def test_several_generators_have_places_of_one_role():
    part = symmetry.generator_part(small("mad_gan").spec)
    assert set(part.spec.groups) == {"z", "z.1", "z.2", "h1", "h1.1", "h1.2", "y_16"}
    assert part.names["z.1>h1.1 kernel 0"] == "generator1/dense_0/kernel"
