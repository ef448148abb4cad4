"""Two classifiers, one after the other: whether there is a tumour, then which.

The form of HDL2BT (Khan et al., "Intelligent model for brain tumor identification using deep learning", Applied
Computational Intelligence and Soft Computing, 2022): a first CNN tells slices with a tumour from those without, a
second one tells the tumours apart. The probability of a tumour's class is the product of both answers, so the
cross-entropy of the product is the sum of theirs: of the first over all slices, of the second over those with a
tumour. Trained together they learn what each would learn alone, since they share no parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.base.options import option, options
from btjax.models.cnn import CNN
from btjax.nn.chain import run_chain


class Hierarchy(nn.Module):
    """Two `CNN`s of one form as a chain of stages: `detect`, `tell` and `logits`.

    The last class is the one without a tumour, as `no_tumor` is in every data set that has it.
    """

    widths: tuple[int, ...] = option((16, 32, 64, 128, 256, 256), "filters of both networks' convolutions", minimum=1)
    kernel_size: int = option(3, "side of the convolutions' kernels, in pixels", minimum=1, maximum=63)
    pools: int = option(6, "how many of the convolutions, from the first on, a 2x2 max pool follows", minimum=0)
    dense: int = option(256, "units of the first dense layer of both", minimum=1)
    dropout: float = option(0.3, "share of the dense layers' outputs dropped in training", minimum=0, maximum=0.99)
    l2: float = option(0.001, "weight of the squared first dense kernels in the loss", minimum=0)
    dtype: str = option("float32", "type of the arithmetic; parameters stay float32", choices=("float32", "bfloat16"))
    classes: int = 4
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    layers = ("detect", "tell", "logits")
    composite = ("detect", "tell", "logits")
    frozen = ()

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
        """The logarithms of the classes' probabilities.

        Args:
          inputs: float32 [B, S, S, channels]; with `start`, that stage's output.
          train: whether dropout is live; it then needs the random stream "dropout".
          counted: without effect, since no layer looks across the batch.
          start: the stage, of `layers`, after which to begin.
          stop: the stage whose output to return instead of the logits.

        Returns:
          float32 [B, classes]; with `stop`, that stage's output: of `detect` the logits float32 [B, 2] of a tumour and
          of none, and the slices; of `tell` both networks' logits.
        """

        def detect(images):
            return network(self, 2, "detect")(images, train=train, counted=counted), images

        def tell(hidden):
            found, images = hidden
            return network(self, self.classes - 1, "tell")(images, train=train, counted=counted), found

        def logits(hidden):
            classes, found = hidden
            tumour, none = jnp.split(jax.nn.log_softmax(found), 2, axis=-1)
            return jnp.concatenate([tumour + jax.nn.log_softmax(classes), none], axis=-1)

        chain: list[Any] = [("detect", detect), ("tell", tell), ("logits", logits)]
        return run_chain(chain, inputs, start, stop)

    def check(self, image_size: int) -> None:
        """Raises InputError where slices of `image_size` pixels do not last through the layers."""
        if self.classes < 3:
            raise InputError(
                f"found {self.classes} classes, expected two tumours and a last class without one, or more"
            )
        network(self, 2).check(image_size)

    def penalty(self, params: dict) -> jax.Array:
        """Both networks' L2 terms of the loss, float32 scalar."""
        one = network(self, 2)
        return one.penalty(params["detect"]) + one.penalty(params["tell"])


def network(whole: Hierarchy, classes: int, name: str | None = None) -> CNN:
    """One of the two networks of a hierarchy, with as many logits as `classes`."""
    shared = {key: getattr(whole, key) for key in options(CNN) if key in options(Hierarchy)}
    # Made inside a method of the whole, a module is part of it unless told otherwise.
    place: dict[str, Any] = {"parent": None} if name is None else {"name": name}
    return CNN(**shared, **place, classes=classes, activation=whole.activation)
