"""The protocol of a network, on every classifier of btjax and on two that are no plain chains."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.models.cnn import CNN
from btjax.models.unet import EncoderClassifier
from btjax.models.vgg16 import VGG16
from btjax.nn.network import check_network
from tests.nn.networks import Inception, Residual

NETWORKS = {
    "cnn": (CNN(widths=(2, 4), pools=1, dense=8), 8, 1),
    "cnn, valid, bfloat16": (
        CNN(widths=(2, 4), pools=2, dense=8, padding="valid", dropout=0.5, dtype="bfloat16"),
        12,
        3,
    ),
    "vgg16": (VGG16(dense=8, dropout=0.5), 32, 3),
    "encoder classifier": (EncoderClassifier(levels=5, width=2, dropout=0.5), 32, 3),
    "residual": (Residual(), 8, 1),
    "inception": (Inception(), 8, 3),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_keeps_the_protocol(name):
    check_network(*NETWORKS[name])


def broken(**members):
    """A residual network with other members."""
    return type("Broken", (Residual,), members | {"__annotations__": {}})()


class Renamed(Residual):
    def chain(self, train, counted):
        *first, _ = super().chain(train, counted)
        return [*first, ("logits", lambda hidden: nn.Dense(3, name="answer")(hidden.mean((1, 2))))]


class Shortcut(Residual):
    """Its last stage also reads the network's input."""

    @nn.compact
    def __call__(self, inputs, *, train=False, counted=None, start=None, stop=None):
        outputs = super().__call__(inputs, train=train, counted=counted, start=start, stop=stop)
        return outputs if start or stop else outputs + jnp.mean(inputs)


class Uncounted(Residual):
    def chain(self, train, counted):
        return super().chain(train, None)


class Disordered(Residual):
    """Its first stage uses parameters of its last."""

    def chain(self, train, counted):
        (name, stem), *rest = super().chain(train, counted)
        scale = self.param("logits", nn.initializers.ones, ())
        return [(name, lambda hidden: scale * stem(hidden)), *rest[:-1], ("logits", lambda hidden: hidden.mean((1, 2)))]


class Recalling(Residual):
    """A later stage uses parameters of an earlier one."""

    def chain(self, train, counted):
        *first, (name, logits) = super().chain(train, counted)
        return [
            *first,
            (name, lambda hidden: logits(hidden) + self.variables["params"]["stem"]["conv"]["kernel"].sum()),
        ]


class TwoOutputs(Residual):
    def chain(self, train, counted):
        return [*super().chain(train, counted)[:-1], ("logits", lambda hidden: (hidden.mean((1, 2)), hidden))]


class Deaf(Residual):
    """It has a rectifier and uses another."""

    @property
    def rectifier(self):
        return nn.relu


def refuse(self, image_size):
    raise InputError("too small")


BROKEN = {
    "layers: params/answer is no stage's": Renamed,
    "layers: found": lambda: broken(layers=("stem", "stem", "block", "logits")),
    "stages: the last gives a tuple, expected one array": TwoOutputs,
    "stages: start='stem' differs from the whole": Shortcut,
    "stages: start=None, stop='stem': ScopeParamNotFoundError": Disordered,
    "stages: start='stem', stop=None: KeyError: 'stem'": Recalling,
    "counted: rows that do not count": Uncounted,
    "activation: another one gives the same": Deaf,
    "composite: 'blok' is no stage": lambda: broken(composite=("blok", "block")),
    "composite: the stage 'block' has 2 kernels": lambda: broken(composite=()),
    "frozen: params have no 'stem/dense'": lambda: broken(frozen=("stem/dense", "block")),
    "penalty: ": lambda: broken(penalty=lambda self, params: jnp.zeros(2)),
    "penalty: TypeError": lambda: broken(penalty=lambda self: jnp.zeros(())),
    "check: InputError: too small": lambda: broken(check=refuse),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_promise_is_reported_by_name(message):
    with pytest.raises(ValueError, match="does not keep the protocol") as reported:
        check_network(BROKEN[message](), 8, 1)
    assert f"\n  {message}" in str(reported.value)


def test_every_member_that_is_missing_is_reported():
    with pytest.raises(ValueError, match="Dense does not") as reported:
        check_network(nn.Dense(3), 8, 1)
    lines = str(reported.value).splitlines()[1:]
    assert lines == [
        f"  {name}: missing" for name in ("layers", "activation", "composite", "frozen", "penalty", "check")
    ]


def test_a_frozen_sub_tree_may_lie_within_a_stage():
    check_network(broken(frozen=("stem/conv", "block")), 8, 1)


def test_padding_that_does_not_count_leaves_a_residual_networks_statistics_alone():
    model, inputs = Residual(), jax.random.normal(jax.random.key(1), (6, 8, 8, 1))
    variables = model.init(jax.random.key(0), inputs)
    _, real = model.apply(variables, inputs[:4], train=True, mutable=["batch_stats"])
    _, padded = model.apply(variables, inputs, train=True, counted=jnp.arange(6) < 4, mutable=["batch_stats"])
    jax.tree.map(lambda a, b: jnp.allclose(a, b, atol=1e-6) or pytest.fail("differ"), real, padded)
