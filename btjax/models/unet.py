"""The paper's autoencoder with one skip, and the classifier made of its encoder (section 4.1.1; Figures 2 to 6).

Layers have the paper's names. What its diagrams leave open follows the TensorFlow pix2pix tutorial, whose blocks
are the `Sequential` layers of the diagrams: no bias before batch normalisation, kernels drawn from N(0, 0.02),
LeakyReLU 0.3 on the way down, ReLU on the way up, dropout 0.5 in the first three `up` layers.

Three things are inferred:
- `latent` (1x1x512 to 1x1x512, a `Sequential` too) is a block like `down` with stride 1. Its kernel is 1x1: of a 3x3
  kernel only the middle tap would ever meet a pixel, so both are the same function.
- `location` and `colorer` are plain `Conv2D` layers and start as Keras starts those: Glorot uniform. Figure 10, where a
  fresh `location` shifts the background by up to 0.2, rules out N(0, 0.02) for it. It has no bias, which would stay
  zero, since `location` is frozen.
- `colorer` is linear: Figure 9 shows values clipped at 0.

Reference: Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.nn.chain import run_chain
from btjax.nn.convolution import conv_general_dilated
from btjax.nn.transposed import ConvTranspose

MOMENTUM = 0.99
"""How much of its old value a running statistic keeps at each step: Keras's default."""

EPSILON = 1e-3
"""What batch normalisation adds to the variance: Keras's default."""

SMALLEST = 32
"""The smallest image side, in pixels."""

_DROPOUT_LAYERS = 3
_NORMAL = nn.initializers.normal(0.02)
_GLOROT = nn.initializers.glorot_uniform()


def leaky_relu(values: jax.Array) -> jax.Array:
    """LeakyReLU with Keras's slope of 0.3 below zero."""
    return nn.leaky_relu(values, 0.3)


def down_widths(width: int, levels: int) -> list[int]:
    """Filters of down_1 to down_`levels`: doubled at each, up to eight times `width`."""
    return [min(width * 2**index, 8 * width) for index in range(levels)]


def up_widths(width: int, levels: int) -> list[int]:
    """Filters of up_1 to up_`levels - 1`: half of `width` in the last, doubled towards the latent, up to 8 `width`."""
    return [min(width * 2**index // 2, 8 * width) for index in reversed(range(levels - 1))]


def halvings(image_size: int) -> int:
    """How often an image can be halved until one pixel is left: the number of `down` layers.

    Raises:
      InputError: `image_size` is no power of two, or smaller than `SMALLEST`.
    """
    if image_size < SMALLEST or image_size & (image_size - 1):
        raise InputError(f"--image_size={image_size}: the U-Net expects a power of two, at least {SMALLEST}")
    return image_size.bit_length() - 1


class Down(nn.Module):
    """Convolution without bias, batch normalisation, activation.

    Attributes:
      features: filters.
      activation: the function at the end.
      dtype: type of the arithmetic.
      kernel_size: side of the kernel, in pixels.
      stride: how much smaller the output is.
    """

    features: int
    activation: Callable[[jax.Array], jax.Array]
    dtype: str
    kernel_size: int = 3
    stride: int = 2

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool, counted: jax.Array | None = None) -> jax.Array:
        """`dtype` [B, S / stride, S / stride, features] of inputs [B, S, S, channels]; `counted` as in `UNet`."""
        hidden = nn.Conv(
            self.features,
            (self.kernel_size, self.kernel_size),
            (self.stride, self.stride),
            name="conv",
            use_bias=False,
            dtype=self.dtype,
            kernel_init=_NORMAL,
            conv_general_dilated=conv_general_dilated,
        )(inputs)
        return self.activation(_batch_norm(hidden, train, counted))


class Up(nn.Module):
    """Transposed 3x3 convolution with stride 2, without bias; batch normalisation, dropout, ReLU.

    Attributes:
      features: filters.
      dropout: share of the values dropped in training.
      dtype: type of the arithmetic.
    """

    features: int
    dropout: float
    dtype: str

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool, counted: jax.Array | None = None) -> jax.Array:
        """`dtype` [B, 2 S, 2 S, features] of inputs [B, S, S, channels]; `counted` as in `UNet`."""
        layer = ConvTranspose(
            self.features, (3, 3), (2, 2), name="conv", use_bias=False, dtype=self.dtype, kernel_init=_NORMAL
        )
        hidden = _batch_norm(layer(inputs), train, counted)
        return nn.relu(nn.Dropout(self.dropout, deterministic=not train)(hidden))


class Concat(nn.Module):
    """Joins images by their channels; a module, so that its output can be captured by name."""

    def __call__(self, *images: jax.Array) -> jax.Array:
        """[B, S, S, all channels] of images [B, S, S, channels]."""
        return jnp.concatenate(images, axis=-1)


class UNet(nn.Module):
    """An autoencoder, and beside it one frozen random channel of the image: `location`.

    The encoder (`down_1` to `down_n`, `latent`) halves an image until one pixel is left, the decoder (`up_1` to
    `up_{n-1}`, `last`) doubles it until it has its size again. There are no skips from level to level; `colorer` mixes
    the result with `location`. `n` is the logarithm of the images' side to base 2, nine for 512. Random streams:
    "dropout", in training.
    """

    width: int = option(64, "filters of down_1; deeper layers have up to eight times as many", minimum=2)
    dropout: float = option(0.5, "share dropped in training in the first three up layers", minimum=0, maximum=0.99)
    skip_dropout: float = option(
        0.0, "share of the training images whose location channel is blanked before concat", minimum=0, maximum=1
    )
    colorer_size: int = option(3, "side of the colorer's kernel, in pixels", minimum=1)
    dtype: str = option("float32", "type of the arithmetic; parameters stay float32", choices=("float32", "bfloat16"))

    frozen = ("location",)
    """Names of the sub-trees of `params` that training must not move."""

    def __call__(self, inputs: jax.Array, *, train: bool = False, counted: jax.Array | None = None) -> jax.Array:
        """The reconstructed images.

        Args:
          inputs: float32 [B, S, S, channels], S a power of two.
          train: whether dropout is live and batch normalisation uses the batch's own statistics (and updates the
            running ones: make "batch_stats" mutable).
          counted: bool [B], False for rows that are padding, which the batch's own statistics leave out; None for none.

        Returns:
          float32 [B, S, S, 3], not confined to [0, 1].

        Raises:
          InputError: an S that is no power of two or too small.
        """
        latent = self.encode(inputs, train=train, counted=counted)
        return self.decode(latent, inputs, train=train, counted=counted)

    def encode(self, inputs: jax.Array, *, train: bool = False, counted: jax.Array | None = None) -> jax.Array:
        """The latent, float32 [B, 1, 1, 8 * width], of inputs as in `__call__`."""
        return self._run(inputs, None, train, counted)

    def decode(
        self, latent: jax.Array, inputs: jax.Array, *, train: bool = False, counted: jax.Array | None = None
    ) -> jax.Array:
        """The images decoded from a latent, [B, S, S, 3], with the `location` of `inputs`; both as in `encode`."""
        return self._run(inputs, latent, train, counted)

    @nn.compact
    def _run(self, inputs: jax.Array, latent: jax.Array | None, train: bool, counted: jax.Array | None) -> jax.Array:
        """Encodes without a latent, decodes with one: Flax allows one compact method in a module."""
        self.check(inputs.shape[1])
        levels = halvings(inputs.shape[1])
        if latent is None:
            hidden = inputs.astype(self.dtype)
            for index, features in enumerate(down_widths(self.width, levels), 1):
                hidden = Down(features, leaky_relu, self.dtype, name=f"down_{index}")(hidden, train, counted)
            return _latent(hidden.shape[-1], leaky_relu, self.dtype)(hidden, train, counted).astype(jnp.float32)

        hidden = latent.astype(self.dtype)
        for index, features in enumerate(up_widths(self.width, levels), 1):
            dropout = self.dropout if index <= _DROPOUT_LAYERS else 0.0
            hidden = Up(features, dropout, self.dtype, name=f"up_{index}")(hidden, train, counted)
        last = ConvTranspose(3, (3, 3), (2, 2), name="last", dtype=self.dtype, kernel_init=_NORMAL)(hidden)
        location = _location(inputs, self.dtype)
        if train and self.skip_dropout:
            # Unlike dropout, what is kept is not scaled up: the channel then has the same values as in inference.
            kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.skip_dropout, (len(inputs), 1, 1, 1))
            location = jnp.where(kept, location, jnp.zeros_like(location))
        return _colorer(Concat(name="concat")(last, location), self.colorer_size, self.dtype)

    def check(self, image_size: int) -> None:
        """Raises InputError where slices of `image_size` pixels cannot be halved to one pixel, or are too small."""
        halvings(image_size)


class RightModel(nn.Module):
    """The output that `location` alone gives (Figure 6): the input images and `location`, mixed by `colorer`.

    Its parameters have the names and shapes of the `UNet`'s; `btjax.models.compose.compose_right` joins them.
    """

    colorer_size: int = option(3, "side of the colorer's kernel, in pixels", minimum=1)
    dtype: str = option("float32", "type of the arithmetic; parameters stay float32", choices=("float32", "bfloat16"))

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """float32 [B, S, S, 3], not confined to [0, 1], of inputs float32 [B, S, S, 3]."""
        inputs = inputs.astype(self.dtype)
        images = Concat(name="concat")(inputs, _location(inputs, self.dtype))
        return _colorer(images, self.colorer_size, self.dtype)


class EncoderClassifier(nn.Module):
    """The U-Net's encoder with Flatten and Dense on top (Figure 3), a chain of named layers.

    Random streams: "dropout", in training, if `dropout` is not 0.
    """

    levels: int = option(9, "number of down layers; slices must have 2**levels pixels a side", minimum=5)
    width: int = option(64, "filters of class_down_1; deeper layers have up to eight times as many", minimum=1)
    dropout: float = option(0.0, "share of the latent dropped in training before the logits", minimum=0, maximum=0.99)
    dtype: str = option("float32", "type of the arithmetic; parameters stay float32", choices=("float32", "bfloat16"))
    classes: int = 3
    activation: Callable[[jax.Array], jax.Array] = leaky_relu

    composite = ()
    """Names of the layers that are more than one affine layer and the activation."""

    frozen = ()
    """Names of the sub-trees of `params` that training must not move."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the chain's layers, in order; a convolution's output is taken after its activation."""
        return (*(f"class_down_{index}" for index in range(1, self.levels + 1)), "latent", "flatten", "logits")

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array,
        *,
        train: bool = False,
        counted: jax.Array | None = None,
        start: str | None = None,
        stop: str | None = None,
    ) -> jax.Array:
        """The class logits.

        Args:
          inputs: float32 [B, S, S, channels], S = 2**levels; with `start`, that layer's output.
          train: whether dropout is live and batch normalisation uses the batch's own statistics (and updates the
            running ones: make "batch_stats" mutable).
          counted: bool [B], False for rows that are padding, which the batch's own statistics leave out; None for none.
          start: the layer, of `layers`, after which to begin.
          stop: the layer whose output to return instead of the logits.

        Returns:
          float32 [B, classes]; with `stop`, that layer's output.

        Raises:
          InputError: images of another size than `levels` says.
        """
        if start is None:
            self.check(inputs.shape[1])

        def down(name, features):
            return lambda hidden: Down(features, self.activation, self.dtype, name=name)(hidden, train, counted)

        def logits(hidden):
            hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
            hidden = nn.Dense(self.classes, name="logits", dtype=self.dtype, kernel_init=_GLOROT)(hidden)
            return hidden.astype(jnp.float32)

        widths = down_widths(self.width, self.levels)
        chain = [(name, down(name, features)) for name, features in zip(self.layers, widths, strict=False)]
        chain.append(
            ("latent", lambda hidden: _latent(hidden.shape[-1], self.activation, self.dtype)(hidden, train, counted))
        )
        chain += [("flatten", lambda hidden: hidden.reshape(hidden.shape[0], -1)), ("logits", logits)]
        return run_chain(chain, inputs.astype(self.dtype), start, stop)

    def check(self, image_size: int) -> None:
        """Raises InputError where slices of `image_size` pixels do not become one pixel in `levels` halvings."""
        if halvings(image_size) != self.levels:
            raise InputError(
                f"--levels={self.levels}: --image_size={image_size} expects --levels={halvings(image_size)}, "
                "so that one pixel is left"
            )

    def penalty(self, params: dict) -> jax.Array:
        """The model's own term of the loss: none, float32 scalar 0."""
        del params
        return jnp.float32(0)


def _batch_norm(hidden: jax.Array, train: bool, counted: jax.Array | None) -> jax.Array:
    """Batch normalisation as in Keras 3, in float32; the caller's layer gets a child `batch_norm`.

    The rows of a batch that are padding are left out of its statistics, so that they change nothing.

    The running variance takes the batch's biased variance, as Flax and Keras 3 do; TensorFlow's fused kernel, which
    Keras 2 used for images, took the unbiased one. The variance is computed in two passes: from the mean of squares
    it would lose digits where the mean is large, and batches at the deepest levels are few numbers.
    """
    layer = nn.BatchNorm(
        use_running_average=not train,
        momentum=MOMENTUM,
        epsilon=EPSILON,
        name="batch_norm",
        dtype=jnp.float32,
        use_fast_variance=False,
    )
    mask = None if counted is None else counted[:, None, None, None]
    return layer(hidden.astype(jnp.float32), mask=mask).astype(hidden.dtype)


def _latent(features: int, activation: Callable[[jax.Array], jax.Array], dtype: str) -> Down:
    return Down(features, activation, dtype, kernel_size=1, stride=1, name="latent")


def _location(inputs: jax.Array, dtype: str) -> jax.Array:
    return nn.Conv(
        1,
        (1, 1),
        name="location",
        use_bias=False,
        dtype=dtype,
        kernel_init=_GLOROT,
        conv_general_dilated=conv_general_dilated,
    )(inputs)


def _colorer(images: jax.Array, size: int, dtype: str) -> jax.Array:
    layer = nn.Conv(
        3,
        (size, size),
        name="colorer",
        dtype=dtype,
        kernel_init=_GLOROT,
        conv_general_dilated=conv_general_dilated,
    )
    return layer(images).astype(jnp.float32)
