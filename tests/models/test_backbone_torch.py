"""The backbones in torchvision's form against torchvision's own, with every variable drawn at random."""

import jax
import numpy as np
import pytest

from btjax.models.efficientnet import EfficientNet
from btjax.models.inception import Inception
from btjax.models.resnet import ResNet
from btjax.weights.backbones import from_torch, load

pytestmark = pytest.mark.parity

PEERS = {
    "efficientnet_b0": (EfficientNet(form="torch"), 64, "features", {}),
    "resnet50": (ResNet(form="torch"), 64, "layer4", {}),
    "inception_v3": (Inception(form="torch"), 75, "Mixed_7c", {"init_weights": False, "transform_input": False}),
}


@pytest.mark.parametrize("name", PEERS)
def test_outputs_are_those_of_torchvision(name, torch, torchvision, tmp_path):
    model, size, last, options = PEERS[name]
    reference, random = getattr(torchvision.models, name)(weights=None, **options).eval(), np.random.default_rng(0)
    for key, leaf in reference.state_dict().items():
        if leaf.ndim == 1:
            positive = key.endswith("running_var") or (key.endswith("weight") and ".bias" not in key)
            values = random.uniform(0.7, 1.3, leaf.shape) if positive else 0.1 * random.standard_normal(leaf.shape)
        elif leaf.ndim == 4:
            values = np.sqrt(2 / np.prod(leaf.shape[1:])) * random.standard_normal(leaf.shape)
        else:
            continue
        leaf.copy_(torch.tensor(values.astype(np.float32)))
    torch.save(reference.state_dict(), tmp_path / "model.pth")
    weights = load(tmp_path / "model.pth", model)
    kept = {}
    reference.get_submodule(last).register_forward_hook(lambda module, inputs, output: kept.update(last=output))
    inputs = random.standard_normal((2, size, size, 3)).astype(np.float32)
    with torch.no_grad():
        outside = torch.tensor(inputs.transpose(0, 3, 1, 2).copy())
        if name == "inception_v3":  # its classifier pools adaptively, so any size goes through
            reference.aux_logits = False
        reference(outside)
    found = jax.jit(lambda x: model.apply(weights.base, x, stop=model.trunk[-1]))(inputs)
    expected = kept["last"].numpy().transpose(0, 2, 3, 1)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    state = {key: leaf.numpy() for key, leaf in reference.state_dict().items()}
    jax.tree.map(np.testing.assert_array_equal, from_torch(state, model, "state").base, weights.base)
