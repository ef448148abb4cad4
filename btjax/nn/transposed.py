"""A Flax layer for `btjax.nn.convolution.conv_transpose`, because `nn.ConvTranspose` cannot be given a convolution."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from btjax.nn.convolution import conv_transpose


class ConvTranspose(nn.Module):
    """`flax.linen.ConvTranspose` for images and "SAME" padding, through `btjax.nn.convolution.conv_transpose`.

    Parameters, initialisers and outputs are Flax's: `kernel` float32 [h, w, C, features] and `bias` float32
    [features]. Keras stores the same kernel flipped along height and width, with its channel axes swapped.

    Attributes:
      features: channels of the output.
      kernel_size: the kernel's height and width.
      strides: how many times larger the output is, by axis.
      use_bias: whether a bias is added.
      dtype: of the computation; None for the promoted dtype of inputs and parameters.
      kernel_init: the kernel's initialiser.
      bias_init: the bias's initialiser.

    Example:
      >>> ConvTranspose(8, (3, 3), (2, 2)).init_with_output(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))[0].shape
      (1, 8, 8, 8)
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    use_bias: bool = True
    dtype: DTypeLike | None = None
    kernel_init: Callable[..., jax.Array] = nn.initializers.lecun_normal()
    bias_init: Callable[..., jax.Array] = nn.initializers.zeros

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """The transposed convolution.

        Args:
          inputs: float [N, H, W, C].

        Returns:
          `dtype` [N, H * strides[0], W * strides[1], features].
        """
        shape = (*self.kernel_size, inputs.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        outputs = conv_transpose(inputs, kernel, self.strides, "SAME")
        return outputs if bias is None else outputs + bias.reshape(1, 1, 1, -1)
