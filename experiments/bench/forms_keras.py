"""The same models in Keras 3, on the backend that $KERAS_BACKEND names when this is imported (`jax` or `torch`).

Keras and PyTorch are the extra `bench`: their imports are ignored by pyright because it also runs without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras  # pyright: ignore[reportMissingImports]
from keras import layers  # pyright: ignore[reportMissingImports]

from btjax.models.unet import down_widths, halvings, up_widths
from experiments.bench.cases import Case, batches, dtype_of, random_inputs, random_slices

if TYPE_CHECKING:
    from collections.abc import Callable


def make_model(case: Case) -> keras.Model:
    """The model of a case: VGG16 takes scaled inputs, the others uint8 slices [B, S, S, 1], which they scale."""
    if case.kind == "vgg16":
        return make_vgg16(case)
    slices = keras.Input((case.image_size, case.image_size, 1), dtype="uint8")
    grey = layers.Rescaling(1 / 255)(slices)
    inputs = layers.Concatenate()([grey] * case.channels) if case.channels > 1 else grey
    outputs = unet(case, inputs) if case.kind == "unet" else cnn(case, inputs)
    return keras.Model(slices, outputs)


def cnn(case: Case, hidden: keras.KerasTensor) -> keras.KerasTensor:
    """The logits of the CNN with btjax's defaults, with the L2 term of the dense layer."""
    for index, width in enumerate(case.widths, 1):
        hidden = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv_{index}")(hidden)
        hidden = layers.MaxPooling2D(2)(hidden)
    penalty = keras.regularizers.L2(0.001)
    hidden = layers.Dense(case.dense, "relu", kernel_regularizer=penalty, name="dense")(layers.Flatten()(hidden))
    return layers.Dense(3, name="logits")(layers.Dropout(0.1)(hidden))


def make_vgg16(case: Case) -> keras.Model:
    """Keras's own VGG16 with random weights, and the paper's head."""
    base = keras.applications.VGG16(
        weights=None,  # pyright: ignore[reportArgumentType]  Keras does not annotate it, and its default is a string
        include_top=False,
        input_shape=(case.image_size, case.image_size, case.channels),
    )
    hidden = layers.Dense(case.dense, "relu")(layers.Flatten()(base.output))
    return keras.Model(base.input, layers.Dense(3)(hidden))


def unet(case: Case, inputs: keras.KerasTensor) -> keras.KerasTensor:
    """`btjax.models.unet.UNet`, layer by layer."""

    def block(hidden, convolution, dropout, activation):
        hidden = layers.BatchNormalization()(convolution(hidden))  # momentum and epsilon are Keras's defaults
        hidden = layers.Dropout(dropout)(hidden) if dropout else hidden
        return layers.ReLU()(hidden) if activation == "relu" else layers.LeakyReLU(negative_slope=0.3)(hidden)

    settings = {"strides": 2, "padding": "same"}
    hidden, levels, (width,) = inputs, halvings(case.image_size), case.widths
    for features in down_widths(width, levels):
        hidden = block(hidden, layers.Conv2D(features, 3, use_bias=False, **settings), 0.0, "leaky_relu")
    hidden = block(hidden, layers.Conv2D(hidden.shape[-1], 1, use_bias=False, name="latent"), 0.0, "leaky_relu")
    for index, features in enumerate(up_widths(width, levels), 1):
        convolution = layers.Conv2DTranspose(features, 3, use_bias=False, **settings)
        hidden = block(hidden, convolution, 0.5 if index <= 3 else 0.0, "relu")
    last = layers.Conv2DTranspose(3, 3, name="last", **settings)(hidden)
    location = layers.Conv2D(1, 1, use_bias=False, trainable=False, name="location")(inputs)
    return layers.Conv2D(3, 3, padding="same", name="colorer")(layers.Concatenate()([last, location]))


def prepare(case: Case, form: str) -> Callable[[int], None]:
    """A function `run(steps)` that waits for the results."""
    if keras.backend.backend() == "torch":
        import torch  # pyright: ignore[reportMissingImports]

        torch.set_float32_matmul_precision("high")  # as in forms_torch
    keras.config.set_dtype_policy("mixed_bfloat16" if dtype_of(case, form) == "bfloat16" else "float32")
    return (_forward if case.kind == "vgg16" else _training)(case, make_model(case))


def absolute_error(slices, outputs):
    """Mean absolute error of outputs [B, S, S, 3] against their slices [B, S, S, 1] in 0 to 255."""
    return keras.ops.mean(keras.ops.abs(keras.ops.cast(outputs, "float32") - slices / 255.0), axis=(1, 2, 3))


def _training(case: Case, model: keras.Model) -> Callable[[int], None]:
    loss = absolute_error if case.kind == "unet" else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(0.001, epsilon=1e-7), loss=loss)
    images, labels = random_slices(case)

    def run(steps):
        for rows in batches(case, steps):
            slices = images[rows][..., None]
            model.train_on_batch(slices, slices if case.kind == "unet" else labels[rows])  # returns the loss's value

    return run


def _forward(case: Case, model: keras.Model) -> Callable[[int], None]:
    inputs = keras.ops.convert_to_tensor(random_inputs(case))
    if keras.backend.backend() == "torch":
        import torch  # pyright: ignore[reportMissingImports]

        def run(steps):
            outputs = None
            with torch.inference_mode():
                for _ in range(steps):
                    outputs = model(inputs, training=False)
            keras.ops.convert_to_numpy(outputs)

        return run

    import jax

    @jax.jit
    def apply(trained, others, inputs):
        return model.stateless_call(trained, others, inputs, training=False)[0]

    trained, others = (
        [variable.value for variable in side] for side in (model.trainable_variables, model.non_trainable_variables)
    )

    def run(steps):
        outputs = None
        for _ in range(steps):
            outputs = apply(trained, others, inputs)
        jax.block_until_ready(outputs)

    return run
