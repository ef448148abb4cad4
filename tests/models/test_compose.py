import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from btjax.base.errors import InputError
from btjax.models.compose import compose_final, compose_left, compose_right, encoder_of
from btjax.models.unet import EncoderClassifier, RightModel, UNet


def variables_of(model, seed, size=32):
    """Variables that are random in every leaf, batch normalisation's too."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(random.uniform(0.1, 0.5, leaf.shape), leaf.dtype), shapes)


def leaves_of(variables):
    return traverse_util.flatten_dict(variables, sep="/")


@pytest.fixture(scope="module")
def autoencoder():
    return variables_of(UNet(width=2), 1)


@pytest.fixture(scope="module")
def classifier():
    return variables_of(EncoderClassifier(levels=5, width=2), 2)


def check_composed(composed, model, size, sources):
    """Every leaf of the model is there, is its source's bit for bit, and its origin says which that is."""
    variables, origins = composed
    found, expected = leaves_of(variables), leaves_of(variables_of(model, 0, size))
    found = {path: leaf for path, leaf in found.items() if leaf is not traverse_util.empty_node}
    assert found.keys() == expected.keys() == origins.keys()
    for path, leaf in found.items():
        part, tree, theirs = sources(path)
        assert origins[path] == part, path
        np.testing.assert_array_equal(leaf, leaves_of(tree)[theirs], err_msg=path)
        assert leaf.dtype == expected[path].dtype


@pytest.mark.parametrize("latent", ["classifier", "autoencoder"])
def test_the_final_model_is_the_classifiers_encoder_and_the_autoencoders_rest(autoencoder, classifier, latent):
    def sources(path):
        encoder = path.split("/")[1].startswith("down_") or (path.split("/")[1] == "latent" and latent == "classifier")
        if encoder:
            return "classifier", classifier, path.replace("/down_", "/class_down_")
        return "autoencoder", autoencoder, path

    check_composed(compose_final(autoencoder, classifier, latent), UNet(width=2), 32, sources)


def test_the_final_models_latent_is_the_classifiers_and_its_decoder_the_autoencoders(autoencoder, classifier):
    inputs = jnp.asarray(np.random.default_rng(0).random((2, 32, 32, 3), np.float32))
    model, chain = UNet(width=2), EncoderClassifier(levels=5, width=2)
    final, _ = compose_final(autoencoder, classifier)
    expected = jax.jit(lambda: chain.apply(classifier, inputs, stop="latent"))()
    latent = jax.jit(lambda variables: model.apply(variables, inputs, method="encode"))(final)
    np.testing.assert_allclose(latent, expected, rtol=1e-6)
    decode = jax.jit(lambda variables: model.apply(variables, latent, inputs, method="decode"))
    np.testing.assert_array_equal(decode(final), decode(autoencoder))


def test_the_left_model_has_another_location_alone(autoencoder):
    for fresh in (variables_of(UNet(width=4), 3, 64), variables_of(RightModel(), 3)):

        def sources(path, fresh=fresh):
            return ("fresh", fresh, path) if "/location/" in path else ("autoencoder", autoencoder, path)

        check_composed(compose_left(autoencoder, fresh), UNet(width=2), 32, sources)


@pytest.mark.parametrize("colorer", ["fresh", "autoencoder"])
def test_the_right_model_has_the_autoencoders_location(autoencoder, colorer):
    fresh = variables_of(RightModel(), 3)

    def sources(path):
        part = colorer if "/colorer/" in path else "autoencoder"
        return part, {"fresh": fresh, "autoencoder": autoencoder}[part], path

    composed = compose_right(autoencoder, fresh, colorer)
    check_composed(composed, RightModel(), 32, sources)
    assert jax.eval_shape(RightModel().apply, composed[0], jnp.zeros((2, 32, 32, 3))).shape == (2, 32, 32, 3)


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        (
            EncoderClassifier(levels=5, width=4),
            32,
            r"classifier: params/logits/kernel is \[32, 3\], expected \[16, 3\]",
        ),
        (EncoderClassifier(levels=6, width=2), 64, "classifier: .*/class_down_6/.* is .*, expected none"),
        (UNet(width=2), 32, "classifier: params/logits/kernel is missing"),
    ],
)
def test_a_classifier_of_another_width_size_or_kind_is_refused(autoencoder, model, size, message):
    for latent in ("classifier", "autoencoder"):
        with pytest.raises(InputError, match=message):
            compose_final(autoencoder, variables_of(model, 0, size), latent)


def test_a_classifier_of_any_number_of_classes_is_composed(autoencoder):
    classifier = variables_of(EncoderClassifier(levels=5, width=2, classes=4), 2)
    assert leaves_of(compose_final(autoencoder, classifier)[0]).keys() == leaves_of(autoencoder).keys()
    bias = traverse_util.unflatten_dict(leaves_of(classifier) | {"params/logits/bias": jnp.zeros(3)}, sep="/")
    with pytest.raises(InputError, match=r"classifier: params/logits/bias is \[3\], expected \[4\]"):
        compose_final(autoencoder, bias)


def test_the_encoders_variables_are_the_autoencoders_under_the_classifiers_names(autoencoder, classifier):
    found, theirs = leaves_of(encoder_of(autoencoder)), leaves_of(autoencoder)
    assert found.keys() == {path for path in leaves_of(classifier) if "/logits/" not in path}
    for path, leaf in found.items():
        np.testing.assert_array_equal(leaf, theirs[path.replace("/class_down_", "/down_")])
    with pytest.raises(InputError, match="params/class_down_1 is unknown"):
        encoder_of(classifier)


def test_a_classifier_with_too_few_levels_is_refused(classifier):
    with pytest.raises(
        InputError, match=r"classifier: params/class_down_6/\S+ is missing, .* autoencoder's params/down_6"
    ):
        compose_final(variables_of(UNet(width=2), 0, 64), classifier)


def test_a_leaf_of_another_shape_is_named_with_both_shapes_and_parts(autoencoder, classifier):
    wrong = leaves_of(classifier) | {"batch_stats/class_down_2/batch_norm/mean": jnp.zeros(5)}
    message = (
        r"classifier: batch_stats/class_down_2/batch_norm/mean is \[5\], expected \[4\], "
        r"the shape of the autoencoder's batch_stats/down_2/batch_norm/mean"
    )
    with pytest.raises(InputError, match=message):
        compose_final(autoencoder, traverse_util.unflatten_dict(wrong, sep="/"))
    with pytest.raises(InputError, match=r"fresh: params/colorer/kernel is \[1, 1, 4, 3\], expected \[3, 3, 4, 3\]"):
        compose_right(autoencoder, variables_of(RightModel(colorer_size=1), 0))


def test_what_is_no_unet_is_refused_by_name(autoencoder, classifier):
    with pytest.raises(InputError, match=r"autoencoder: params/class_down_1 is unknown"):
        compose_final(classifier, autoencoder)
    with pytest.raises(InputError, match=r"autoencoder: batch_stats/down_1 is missing"):
        compose_left({"params": autoencoder["params"]}, autoencoder)
    without = {name: layer for name, layer in autoencoder["params"].items() if name != "colorer"}
    with pytest.raises(InputError, match=r"autoencoder: params/colorer is missing"):
        compose_right({**autoencoder, "params": without}, autoencoder)
    with pytest.raises(InputError, match="fresh: found nothing, expected params"):
        compose_left(autoencoder, {})


def test_choices_and_seeds_that_make_no_sense_are_refused(autoencoder, classifier):
    with pytest.raises(InputError, match="latent is 'both', expected classifier or autoencoder"):
        compose_final(autoencoder, classifier, "both")
    with pytest.raises(InputError, match="colorer is 'both', expected fresh or autoencoder"):
        compose_right(autoencoder, autoencoder, "both")
    with pytest.raises(InputError, match="fresh: params/location/kernel equals the autoencoder's"):
        compose_left(autoencoder, autoencoder)
