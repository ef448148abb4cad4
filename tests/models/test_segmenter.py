import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.models.segmenter import RARITY, Segmenter, tumour_probability
from btjax.nn.network import check_network


@pytest.mark.parametrize(
    "model",
    [
        Segmenter(width=2, halvings=3, convolutions=2, dropout=0.5),
        Segmenter(width=2, halvings=2, convolutions=1, dtype="bfloat16"),
        Segmenter(width=2, halvings=1),
    ],
    ids=["three halvings", "bfloat16", "one halving"],
)
def test_a_segmenter_keeps_the_protocol(model):
    check_network(model, 16, 1)


@pytest.mark.parametrize("classes", [1, 3])
def test_logits_are_of_background_and_classes_at_half_size(classes):
    model = Segmenter(width=2, halvings=3, classes=classes)
    inputs = jnp.zeros((2, 32, 32, 3))
    logits, variables = model.init_with_output(jax.random.key(0), inputs)
    assert logits.shape == (2, 16, 16, 1 + classes) and logits.dtype == jnp.float32
    assert variables["params"]["encode_4"]["conv_1"]["kernel"].shape[-1] == 2 * 2**3
    # On nothing a fresh network says what its biases say.
    np.testing.assert_allclose(tumour_probability(logits), RARITY, rtol=1e-5)


def test_a_far_pixel_is_seen_by_way_of_the_small_maps_and_a_near_one_in_place():
    model = Segmenter(width=2, halvings=3)
    inputs = jax.random.uniform(jax.random.key(1), (1, 32, 32, 1))
    variables = model.init(jax.random.key(0), inputs)
    seen = jax.grad(lambda inputs: model.apply(variables, inputs)[0, 4, 4, 0])(inputs)[0, :, :, 0]
    assert np.abs(seen[24:, 24:]).max() > 0
    assert np.abs(seen[7:11, 7:11]).max() > np.abs(seen[24:, 24:]).max()


def test_a_size_that_cannot_be_halved_so_often_is_one_line():
    with pytest.raises(InputError, match="--image_size=100: --halvings=4 expects a multiple of 16"):
        Segmenter(halvings=4).check(100)
