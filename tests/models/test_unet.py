import contextlib
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.models.unet import Down, EncoderClassifier, RightModel, UNet, Up, leaky_relu

PAPER = {
    **{f"down_{index}": shape for index, shape in enumerate(((256, 64), (128, 128), (64, 256), (32, 512)), 1)},
    **{f"down_{index}": (2 ** (9 - index), 512) for index in range(5, 10)},
    "latent": (1, 512),
    **{f"up_{index}": (2**index, 512) for index in range(1, 5)},
    **{f"up_{index}": shape for index, shape in enumerate(((32, 256), (64, 128), (128, 64), (256, 32)), 5)},
    "last": (512, 3),
    "location": (512, 1),
    "concat": (512, 4),
    "colorer": (512, 3),
}


def images_of(batch, size):
    return jnp.asarray(np.random.default_rng(1).random((batch, size, size, 3), np.float32))


def variables_of(model, size):
    """Variables under which signals keep their size and batch normalisation is at work: no mistake is hidden."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
    random = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key in ("scale", "var"):
            return jnp.asarray(random.uniform(0.5, 1.5, leaf.shape), leaf.dtype)
        spread = 1 / np.sqrt(np.prod(leaf.shape[:-1])) if path[-1].key == "kernel" else 0.1
        return jnp.asarray(random.normal(0, spread, leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


@partial(jax.jit, static_argnums=0, static_argnames=("method", "train"))
def apply(model, variables, *inputs, **arguments):
    return model.apply(variables, *inputs, **arguments)


@partial(jax.jit, static_argnums=0)
def layer_by_layer(model, variables, inputs):
    """Outputs of a chain's layers, each made from the one before."""
    outputs, start = {}, None
    for name in model.layers:
        inputs = outputs[name] = model.apply(variables, inputs, start=start, stop=name)
        start = name
    return outputs


@partial(jax.jit, static_argnums=0, static_argnames=("method", "train"))
def captured(model, variables, *inputs, **arguments):
    """Output of every layer, by name; nested for the layers of a block."""
    mutable = ["intermediates", "batch_stats"]
    _, found = model.apply(variables, *inputs, capture_intermediates=True, mutable=mutable, **arguments)
    return {name: layer for name, layer in found["intermediates"].items() if name != "__call__"}


def layer_shapes(model, size):
    inputs = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), inputs)
    layers = jax.eval_shape(lambda variables, inputs: captured(model, variables, inputs), variables, inputs)
    return {name: layer["__call__"][0] for name, layer in layers.items()}, variables


def test_every_layer_has_the_papers_name_and_shape():
    layers, variables = layer_shapes(UNet(), 512)
    assert layers.keys() == PAPER.keys()
    for name, (side, channels) in PAPER.items():
        chex.assert_shape(layers[name], (2, side, side, channels), custom_message=name)
    assert variables["params"].keys() == PAPER.keys() - {"concat"}
    assert set(UNet.frozen) < variables["params"].keys()


def test_a_smaller_image_drops_the_deepest_levels():
    layers, _ = layer_shapes(UNet(width=8), 32)
    names = [f"down_{index}" for index in range(1, 6)] + [f"up_{index}" for index in range(1, 5)]
    assert layers.keys() == {*names, "latent", "last", "location", "concat", "colorer"}
    shapes = [layers[name].shape[1:] for name in [*names, "latent", "last"]]
    assert shapes == [
        *((16, 16, 8), (8, 8, 16), (4, 4, 32), (2, 2, 64), (1, 1, 64)),
        *((2, 2, 32), (4, 4, 16), (8, 8, 8), (16, 16, 4)),
        *((1, 1, 64), (32, 32, 3)),
    ]


def test_the_right_models_layers_are_the_papers():
    layers, _ = layer_shapes(RightModel(), 512)
    sides = {name: layer.shape for name, layer in layers.items()}
    assert sides == {name: (2, 512, 512, PAPER[name][1]) for name in ("location", "concat", "colorer")}


def test_the_classifiers_chain_has_the_papers_layers():
    model = EncoderClassifier()
    inputs = jax.ShapeDtypeStruct((2, 512, 512, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), inputs)
    expected = {f"class_down_{index}": PAPER[f"down_{index}"] for index in range(1, 10)} | {"latent": (1, 512)}
    expected = {name: (2, side, side, channels) for name, (side, channels) in expected.items()}
    expected |= {"flatten": (2, 512), "logits": (2, 3)}
    assert model.layers == tuple(expected)
    for name, shape in expected.items():
        found = jax.eval_shape(lambda v, x, name=name: model.apply(v, x, stop=name), variables, inputs)
        chex.assert_shape(found, shape, custom_message=name)


def test_the_classifier_goes_on_from_any_layer():
    model = EncoderClassifier(levels=5, width=4)
    variables, inputs = variables_of(model, 32), images_of(3, 32)
    logits = layer_by_layer(model, variables, inputs)["logits"]
    np.testing.assert_allclose(logits, apply(model, variables, inputs), atol=1e-6)
    assert float(logits.std(axis=0).min()) > 1e-3


def test_the_classifiers_activation_can_be_swapped():
    model = EncoderClassifier(levels=5, width=4)
    variables, inputs = variables_of(model, 32), images_of(3, 32)
    for name, leaky in layer_by_layer(model, variables, inputs).items():
        if name.startswith(("class_down", "latent")):
            assert jnp.min(leaky) < 0, name
    for name, swapped in layer_by_layer(model.clone(activation=nn.relu), variables, inputs).items():
        if name.startswith(("class_down", "latent")):
            assert jnp.min(swapped) == 0, name


def test_the_network_is_its_encoder_and_decoder_and_its_output_follows_latent_and_location():
    model = UNet(width=4)
    variables, inputs = variables_of(model, 32), images_of(3, 32)
    latent = apply(model, variables, inputs, method="encode")
    chex.assert_shape(latent, (3, 1, 1, 32))
    outputs = apply(model, variables, inputs)
    chex.assert_shape(outputs, (3, 32, 32, 3))
    np.testing.assert_allclose(apply(model, variables, latent, inputs, method="decode"), outputs, atol=1e-6)
    latent = jnp.asarray(np.random.default_rng(2).normal(0, 10, latent.shape), jnp.float32)
    outputs = apply(model, variables, latent, inputs, method="decode")
    for other_latent, other_inputs in ((jnp.zeros_like(latent), inputs), (latent[::-1], inputs), (latent, 1 - inputs)):
        other = apply(model, variables, other_latent, other_inputs, method="decode")
        assert jnp.abs(other - outputs)[0].max() > 1e-4


def test_dropout_and_skip_dropout_act_in_training_alone():
    model = UNet(width=4, skip_dropout=0.5)
    variables, inputs = variables_of(model, 32), images_of(16, 32)
    latent = jnp.asarray(np.random.default_rng(2).normal(size=(16, 1, 1, 32)), jnp.float32)
    for train in (True, False):
        rngs = {"dropout": jax.random.key(0)}
        layers = captured(model, variables, latent, inputs, method="decode", train=train, rngs=rngs)
        for index in range(1, 5):
            before, after = (layers[f"up_{index}"][name]["__call__"][0] for name in ("batch_norm", "Dropout_0"))
            if train and index <= 3:
                np.testing.assert_array_equal(after, np.where(after == 0, 0, 2 * before))
                assert 0.4 < np.mean(after == 0) < 0.6
            else:
                np.testing.assert_array_equal(after, before)
        location, joined = (np.asarray(layers[name]["__call__"][0]) for name in ("location", "concat"))
        blank = np.all(joined[..., 3] == 0, axis=(1, 2))
        assert 3 < blank.sum() < 13 if train else not np.any(blank)
        # What is kept is not scaled up, so that training and inference see the same channel.
        np.testing.assert_array_equal(joined[~blank][..., 3:], location[~blank])


@pytest.mark.parametrize("kind", [UNet, partial(EncoderClassifier, levels=5)])
def test_bfloat16_is_the_type_of_the_arithmetic_alone(kind):
    model, narrow = kind(width=4), kind(width=4, dtype="bfloat16")
    variables, inputs = variables_of(model, 32), images_of(3, 32)
    chex.assert_trees_all_equal_shapes_and_dtypes(variables_of(narrow, 32), variables)
    rngs = {"dropout": jax.random.key(0)}
    results = jax.eval_shape(lambda: narrow.apply(variables, inputs, train=True, mutable=["batch_stats"], rngs=rngs))
    assert {leaf.dtype for leaf in jax.tree.leaves(results)} == {jnp.dtype("float32")}
    layers = jax.eval_shape(lambda: captured(narrow, variables, inputs))
    blocks = [name for name in layers if name not in ("logits", "Dropout_0")]
    assert {layers[name]["__call__"][0].dtype for name in blocks} == {jnp.dtype("bfloat16")}
    expected, found = apply(model, variables, inputs), apply(narrow, variables, inputs)
    assert 0 < jnp.abs(found - expected).max() < 0.05 * jnp.abs(expected).max()


def test_kernels_start_as_documented():
    for block in (Down(64, nn.relu, "float32"), Up(64, 0.5, "float32")):
        init = jax.jit(block.init, static_argnums=2)
        params = init(jax.random.key(0), jnp.zeros((1, 2, 2, 32)), False)["params"]
        assert params["conv"].keys() == {"kernel"}
        assert float(params["conv"]["kernel"].std()) == pytest.approx(0.02, rel=0.03)
    params = jax.jit(RightModel().init)(jax.random.key(0), jnp.zeros((1, 2, 2, 3)))["params"]
    assert params["location"].keys() == {"kernel"}
    for name, fans in (("location", 3 + 1), ("colorer", 9 * 4 + 9 * 3)):
        largest, limit = float(jnp.abs(params[name]["kernel"]).max()), np.sqrt(6 / fans)
        assert limit / 4 < largest <= limit


def test_leaky_relus_slope_is_kerass():
    np.testing.assert_allclose(leaky_relu(jnp.array([-2.0, 0.0, 3.0])), [-0.6, 0, 3], rtol=1e-6)


@pytest.mark.parametrize("size", [16, 48, 500])
def test_a_size_that_cannot_be_halved_to_one_pixel_is_refused(size):
    expected = rf"--image_size={size}: .* power of two, at least 32"
    with pytest.raises(InputError, match=expected):
        UNet().check(size)
    with pytest.raises(InputError, match=expected):
        jax.eval_shape(UNet().init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    with pytest.raises(InputError, match=expected):
        EncoderClassifier().check(size)


def test_the_classifier_names_the_levels_that_the_images_need():
    EncoderClassifier(levels=7).check(128)
    with pytest.raises(InputError, match="--levels=9: --image_size=128 expects --levels=7"):
        EncoderClassifier().check(128)
    with pytest.raises(InputError, match="--levels=5"):
        EncoderClassifier(levels=5).init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))


# Keras: the same networks, built from its own layers.


@contextlib.contextmanager
def keras_promotion():
    """Keras mixes types and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def keras_block(keras, layer, features, name, relu, kernel_size=3, strides=2):
    settings = {"padding": "same", "use_bias": False, "kernel_initializer": "zeros"}
    layer = layer(features, kernel_size, strides=strides, **settings)
    relu = keras.layers.ReLU() if relu else keras.layers.LeakyReLU(negative_slope=0.3)
    return keras.Sequential([layer, keras.layers.BatchNormalization(), relu], name=name)


def keras_unet(keras, size, down_widths, up_widths):
    layers = keras.layers
    images = hidden = keras.Input((size, size, 3))
    for index, width in enumerate(down_widths, 1):
        hidden = keras_block(keras, layers.Conv2D, width, f"down_{index}", False)(hidden)
    hidden = keras_block(keras, layers.Conv2D, down_widths[-1], "latent", False, 1, 1)(hidden)
    for index, width in enumerate(up_widths, 1):
        hidden = keras_block(keras, layers.Conv2DTranspose, width, f"up_{index}", True)(hidden)
    hidden = layers.Conv2DTranspose(3, 3, strides=2, padding="same", name="last")(hidden)
    location = layers.Conv2D(1, 1, use_bias=False, trainable=False, name="location")(images)
    joined = layers.Concatenate(name="concat")([hidden, location])
    return keras.Model(images, layers.Conv2D(3, 3, padding="same", name="colorer")(joined))


def keras_weights(name, params, statistics):
    """A layer's weights in Keras's order; it keeps transposed kernels mirrored, with the channels swapped."""
    conv = params.get("conv", params)
    kernel = np.asarray(conv["kernel"])
    if name.startswith(("up_", "last")):
        kernel = kernel[::-1, ::-1].swapaxes(2, 3)
    weights = [kernel, *([conv["bias"]] if "bias" in conv else [])]
    if "batch_norm" in params:
        weights += [params["batch_norm"][leaf] for leaf in ("scale", "bias")]
        weights += [statistics["batch_norm"][leaf] for leaf in ("mean", "var")]
    return [np.asarray(weight) for weight in weights]


def layer_weights(variables):
    statistics = variables["batch_stats"]
    return {name: keras_weights(name, leaf, statistics.get(name)) for name, leaf in variables["params"].items()}


@pytest.mark.parity
def test_the_parameters_are_as_many_as_kerass(keras):
    sizes = [[2 ** min(index, 3) * 64 for index in range(9)], [512] * 4 + [256, 128, 64, 32]]
    with keras_promotion():
        theirs = keras_unet(keras, 512, *sizes)
    variables = jax.eval_shape(UNet().init, jax.random.key(0), jax.ShapeDtypeStruct((1, 512, 512, 3), jnp.float32))
    assert theirs.count_params() == sum(leaf.size for leaf in jax.tree.leaves(variables))
    trainable = {name: leaf for name, leaf in variables["params"].items() if name not in UNet.frozen}
    expected = sum(leaf.size for leaf in jax.tree.leaves(trainable))
    assert sum(int(np.prod(weight.shape)) for weight in theirs.trainable_weights) == expected == 24_626_642


@pytest.mark.parity
def test_outputs_and_running_statistics_equal_kerass(keras):
    model = UNet(width=4, dropout=0.0)
    variables, inputs = variables_of(model, 64), images_of(8, 64)
    with keras_promotion():
        theirs = keras_unet(keras, 64, [4, 8, 16, 32, 32, 32], [32, 16, 8, 4, 2])
        for name, weights in layer_weights(variables).items():
            theirs.get_layer(name).set_weights(weights)
        values = [
            [weight.value for weight in group] for group in (theirs.trainable_variables, theirs.non_trainable_variables)
        ]
        run = jax.jit(theirs.stateless_call, static_argnames="training")
        inference, _ = run(*values, inputs, training=False)
        training, statistics = run(*values, inputs, training=True)
        for variable, value in zip(theirs.non_trainable_variables, statistics, strict=True):
            variable.assign(value)
    np.testing.assert_allclose(apply(model, variables, inputs), inference, atol=1e-5)
    train = jax.jit(lambda variables, inputs: model.apply(variables, inputs, train=True, mutable=["batch_stats"]))
    outputs, updated = train(variables, inputs)
    np.testing.assert_allclose(outputs, training, atol=1e-5)
    assert np.abs(training - inference).max() > 1e-2
    for name, weights in layer_weights({"params": variables["params"], **updated}).items():
        for ours, weight in zip(weights, theirs.get_layer(name).weights, strict=True):
            np.testing.assert_allclose(ours, weight.value, atol=1e-5, err_msg=name)
    moved = jax.tree.map(lambda new, old: jnp.abs(new - old).max(), updated["batch_stats"], variables["batch_stats"])
    assert min(jax.tree.leaves(moved)) > 3e-5  # so that statistics left as they were would fail above
