"""The methods against captum's, on one network with the same weights, on images whose black half is full of ties."""

import copy
import dataclasses

import jax
import numpy as np
import pytest

from btjax.saliency import activations, gradients, perturbations, relevance

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore::UserWarning")]
KEY = jax.random.key(8)


@pytest.fixture(scope="module")
def network(torch, small_classifier):
    """`small_classifier` in PyTorch, channels first."""
    params = jax.tree.map(np.asarray, small_classifier.variables["params"])
    height = width = 4
    # The dense layer's inputs are flattened channels last there, channels first here.
    kernel = params["dense"]["kernel"]
    kernel = kernel.reshape(height, width, -1, kernel.shape[1]).transpose(2, 0, 1, 3).reshape(kernel.shape)
    weights = {"conv_1": params["conv_1"]["kernel"].transpose(3, 2, 0, 1), "dense": kernel.T}
    weights |= {"conv_2": params["conv_2"]["kernel"].transpose(3, 2, 0, 1), "logits": params["logits"]["kernel"].T}

    def load(name, layer):
        layer.weight.data = torch.tensor(weights[name].copy())
        layer.bias.data = torch.tensor(params[name]["bias"])
        return layer

    nn = torch.nn
    return nn.Sequential(
        load("conv_1", nn.Conv2d(2, 8, 3, padding=1)),
        nn.ReLU(),
        nn.MaxPool2d(2),
        load("conv_2", nn.Conv2d(8, 12, 3, padding=1)),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        load("dense", nn.Linear(192, 32)),
        nn.ReLU(),
        load("logits", nn.Linear(32, 3)),
    )


@pytest.fixture(scope="module")
def theirs(torch, small_images, small_targets):
    """Calls a captum method; channels last, float32 [B, S, S, C]."""

    def attribute(method, /, **options):
        images = torch.tensor(small_images.transpose(0, 3, 1, 2).copy())
        maps = method.attribute(images, target=torch.tensor(small_targets, dtype=torch.int64), **options)
        return maps.detach().numpy().transpose(0, 2, 3, 1)

    return attribute


@pytest.fixture
def ours(small_classifier, small_images, small_targets):
    return small_classifier, small_images, small_targets, KEY


def assert_same(found, expected):
    """Equal to 1e-4 of the largest value."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_the_gradient(captum, network, theirs, ours):
    expected = theirs(captum.attr.Saliency(network), abs=False)
    assert_same(gradients.input_gradient(*ours[:3]), expected)
    assert_same(gradients.gradient(*ours), np.linalg.norm(expected, axis=-1))
    expected = theirs(captum.attr.InputXGradient(network)).sum(-1)
    assert_same(gradients.gradient_times_input(*ours), expected)


def test_integrated_gradients(captum, network, theirs, ours):
    method = captum.attr.IntegratedGradients(network)
    expected = theirs(method, n_steps=20, method="riemann_middle", baselines=0.1)
    assert_same(gradients.integrated_gradients(*ours, steps=20, baseline=0.1), expected.sum(-1))


def test_guided_backpropagation_and_deconvolution(captum, network, theirs, ours):
    assert_same(gradients.guided_backprop(*ours), theirs(captum.attr.GuidedBackprop(network)).sum(-1))
    assert_same(gradients.deconvnet(*ours), theirs(captum.attr.Deconvolution(network)).sum(-1))


def test_grad_cam(captum, torch, network, theirs, ours):
    expected = theirs(captum.attr.LayerGradCam(network, network[4]), relu_attributions=True)
    expected = torch.nn.functional.interpolate(torch.tensor(expected[:, None, ..., 0]), size=(16, 16), mode="bilinear")
    assert_same(activations.grad_cam(*ours), expected[:, 0].numpy())


def test_occlusion(captum, network, theirs, ours):
    for window, stride in [(4, 2), (5, 3)]:
        method = captum.attr.Occlusion(network)
        expected = theirs(method, sliding_window_shapes=(2, window, window), strides=(2, stride, stride), baselines=0.2)
        found = perturbations.occlusion(*ours, window=window, stride=stride, baseline=0.2)
        assert_same(found, expected[..., 0])


def test_layer_wise_relevance_propagation(captum, torch, network, theirs, ours):
    rules = captum.attr._utils.lrp_rules

    def attribute(network, rule):
        """Captum's relevance, with the rule for the layers with weights; it forgets the rules after each call."""
        for layer in network:
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                layer.rule = rule()
        network[6].rule = rules.EpsilonRule()  # Flatten, for which captum has no rule
        return theirs(captum.attr.LRP(network)).sum(-1)

    network = copy.deepcopy(network)
    expected = attribute(network, lambda: rules.EpsilonRule(1e-6))
    assert_same(relevance.lrp_epsilon(*ours, epsilon=1e-6), expected)

    # Captum leaves negative biases in the positive sums; Bach et al. do not. Without biases there is one answer.
    for layer in network:
        if hasattr(layer, "bias"):
            torch.nn.init.zeros_(layer.bias)
    params = {name: layer | {"bias": 0 * layer["bias"]} for name, layer in ours[0].variables["params"].items()}
    unbiased = dataclasses.replace(ours[0], variables={"params": params})
    expected = attribute(network, rules.Alpha1_Beta0_Rule)
    assert_same(relevance.lrp_alpha_beta(unbiased, *ours[1:], alpha=1.0), expected)
