"""The methods against captum's, on one network with the same weights: small noisy images, and real slices.

Both kinds of images have a black half or background, which is full of ties.
"""

import copy
import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from btjax.models.cnn import CNN
from btjax.saliency import activations, gradients, perturbations, relevance
from btjax.saliency.classifier import Classifier

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore::UserWarning")]
KEY = jax.random.key(8)


def real_case(folder):
    """A CNN as it starts, its biases drawn as well, and four real slices of 64 pixels in [0, 1]."""
    paths = sorted((folder / "images").iterdir())[5:3000:800]
    images = np.stack([np.asarray(Image.open(path).convert("L").resize((64, 64)), np.float32) for path in paths])
    images = images[..., None] / images.max()
    model, random = CNN(widths=(8, 12, 16), pools=3, dense=32), np.random.default_rng(3)
    variables = jax.tree.map(np.asarray, model.init(jax.random.key(2), images))
    for layer in variables["params"].values():
        layer["bias"] = (0.1 * random.standard_normal(layer["bias"].shape)).astype(np.float32)
    return Classifier(model, variables), images, np.array([0, 1, 2, 1], np.int32)


@pytest.fixture(scope="module", params=["noise", "real slices"])
def case(request):
    """Classifier, images float32 [4, S, S, C] and targets."""
    if request.param == "real slices":
        return real_case(request.getfixturevalue("real_slices_dir"))
    return tuple(request.getfixturevalue(f"small_{name}") for name in ("classifier", "images", "targets"))


@pytest.fixture(scope="module")
def network(torch, case):
    """The classifier in PyTorch, channels first."""
    from experiments.bench import forms_torch
    from experiments.bench.cases import Case

    classifier, images, _ = case
    model, size = classifier.model, images.shape[1]
    like = Case("cnn", size, images.shape[3], len(images), model.widths, model.dense)
    return forms_torch.load_cnn(
        forms_torch.make_cnn(like), classifier.variables["params"], size // 2**model.pools
    ).eval()


@pytest.fixture(scope="module")
def theirs(torch, case):
    """Calls a captum method; channels last, float32 [B, S, S, C]."""
    _, images, targets = case

    def attribute(method, /, **options):
        inputs = torch.tensor(images.transpose(0, 3, 1, 2).copy())
        maps = method.attribute(inputs, target=torch.tensor(targets, dtype=torch.int64), **options)
        return maps.detach().numpy().transpose(0, 2, 3, 1)

    return attribute


@pytest.fixture
def ours(case):
    return *case, KEY


def assert_same(found, expected, tolerance=1e-4):
    """Equal to the tolerance as a share of the largest value."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_the_gradient(captum, network, theirs, ours):
    expected = theirs(captum.attr.Saliency(network), abs=False)
    assert_same(gradients.input_gradient(*ours[:3]), expected)
    assert_same(gradients.gradient(*ours), np.linalg.norm(expected, axis=-1))
    expected = theirs(captum.attr.InputXGradient(network)).sum(-1)
    assert_same(gradients.gradient_times_input(*ours), expected)


def test_integrated_gradients(captum, network, theirs, ours):
    method = captum.attr.IntegratedGradients(network)
    expected = theirs(method, n_steps=32, method="riemann_middle", baselines=0.0)
    # At one of the 32 points a unit may lie so near its kink that the two round to different sides of it.
    assert_same(gradients.integrated_gradients(*ours, steps=32, baseline=0.0), expected.sum(-1), tolerance=1e-3)


def test_guided_backpropagation_and_deconvolution(captum, network, theirs, ours):
    assert_same(gradients.guided_backprop(*ours), theirs(captum.attr.GuidedBackprop(network)).sum(-1))
    assert_same(gradients.deconvnet(*ours), theirs(captum.attr.Deconvolution(network)).sum(-1))


def test_grad_cam(captum, torch, network, theirs, ours):
    classifier, images, *_ = ours
    layer = classifier.map_layer(images)
    method = captum.attr.LayerGradCam(network, network.get_submodule(layer.replace("conv", "relu")))
    expected = torch.tensor(theirs(method, relu_attributions=True)[:, None, ..., 0])
    expected = torch.nn.functional.interpolate(expected, size=images.shape[1:3], mode="bilinear")
    assert_same(activations.grad_cam(*ours), expected[:, 0].numpy())


def test_occlusion(captum, network, theirs, ours):
    channels = ours[1].shape[3]
    for window, stride in [(4, 2), (5, 3)]:
        method = captum.attr.Occlusion(network)
        shapes = {"sliding_window_shapes": (channels, window, window), "strides": (channels, stride, stride)}
        expected = theirs(method, **shapes, baselines=0.2)
        found = perturbations.occlusion(*ours, window=window, stride=stride, baseline=0.2)
        assert_same(found, expected[..., 0])


@pytest.fixture
def relevance_of(captum, torch, theirs):
    """Calls captum's LRP with a rule for each layer with weights; captum forgets the rules after each call."""

    def attribute(network, rules, method=None, **options):
        for name, layer in network.named_children():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                layer.rule = rules(name, layer)
        network.flatten.rule = captum.attr._utils.lrp_rules.EpsilonRule()  # for which captum has no rule of its own
        return theirs(method or captum.attr.LRP(network), **options)

    return attribute


@pytest.fixture
def relative_epsilon(captum, torch, case):
    """`rules(name, layer)`: the epsilon rule with a quarter of the mean magnitude of the layer's sums, by image."""

    def of_network(network):
        sums, inputs = {}, torch.tensor(case[1].transpose(0, 3, 1, 2).copy())
        hooks = [
            layer.register_forward_hook(lambda _, inputs, outputs, name=name: sums.update({name: outputs.detach()}))
            for name, layer in network.named_children()
        ]
        network(inputs)
        for hook in hooks:
            hook.remove()

        def rule(name, layer):
            magnitude = sums[name].abs().flatten(1).mean(1)
            epsilon = 0.25 * magnitude.reshape(-1, *[1] * (sums[name].ndim - 1))
            return captum.attr._utils.lrp_rules.EpsilonRule(epsilon)

        return rule

    return of_network


@pytest.fixture
def unbiased(torch, network, ours):
    """Both networks without biases: captum's positive rules count negative biases, those of Bach et al. do not."""
    network = copy.deepcopy(network)
    for layer in network:
        if hasattr(layer, "bias"):
            torch.nn.init.zeros_(layer.bias)
    params = {name: layer | {"bias": 0 * layer["bias"]} for name, layer in ours[0].variables["params"].items()}
    return network, (dataclasses.replace(ours[0], variables={"params": params}), *ours[1:])


def test_relevance_by_the_epsilon_rule(network, relevance_of, relative_epsilon, ours):
    network = copy.deepcopy(network)
    expected = relevance_of(network, relative_epsilon(network)).sum(-1)
    assert_same(relevance.lrp_epsilon(*ours, epsilon=0.25), expected)
    assert_same(relevance.lrp_epsilon(*ours), expected)


def test_relevance_by_the_positive_contributions(captum, unbiased, relevance_of):
    network, ours = unbiased
    expected = relevance_of(network, lambda name, layer: captum.attr._utils.lrp_rules.Alpha1_Beta0_Rule()).sum(-1)
    assert_same(relevance.lrp_alpha_beta(*ours, alpha=1.0), expected)


def test_relevance_by_the_composite(captum, torch, unbiased, relevance_of, relative_epsilon):
    network, ours = unbiased
    epsilon, first = relative_epsilon(network), next(network.children())

    def rules(name, layer):
        positive = captum.attr._utils.lrp_rules.Alpha1_Beta0_Rule()
        return positive if isinstance(layer, torch.nn.Conv2d) else epsilon(name, layer)

    # Captum has no flat rule: it stops at the first layer's outputs, whose relevance is spread over what they see.
    method = captum.attr.LayerLRP(network, first)
    outputs = torch.tensor(relevance_of(network, rules, method).transpose(0, 3, 1, 2)).sum(1, keepdim=True)
    kernel = torch.ones(1, 1, 3, 3)
    seen = torch.nn.functional.conv2d(torch.ones_like(outputs), kernel, padding=1)
    expected = torch.nn.functional.conv_transpose2d(outputs / seen, kernel, padding=1)
    assert_same(relevance.lrp_composite(*ours), expected[:, 0].numpy())
