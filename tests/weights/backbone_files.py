"""Files of backbones in Keras's legacy layout, with random numbers in them."""

import numpy as np

from btjax.weights.backbones import expected_leaves

VARIABLES = {"scale": "gamma", "mean": "moving_mean", "var": "moving_variance"}


def keras_leaves(model, seed: int = 0) -> dict[str, np.ndarray]:
    """layer/variable -> array of an EfficientNet or ResNet, statistics as of a trained one."""
    random, leaves = np.random.default_rng(seed), {}
    for (_, stage, layer, leaf), shape in expected_leaves(model).items():
        variable = VARIABLES.get(leaf, "beta" if leaf == "bias" and layer.endswith("bn") else leaf)
        if leaf in ("scale", "var"):
            values = random.uniform(0.7, 1.3, shape)
        elif len(shape) == 4:
            shape = (*shape[:2], shape[3], 1) if layer == "dwconv" else shape
            fan = np.prod(shape[:2]) if layer == "dwconv" else np.prod(shape[:3])
            values = np.sqrt(2 / fan) * random.standard_normal(shape)
        else:
            values = 0.1 * random.standard_normal(shape)
        leaves[f"{stage}_{layer}/{variable}"] = values.astype(np.float32)
    return leaves
