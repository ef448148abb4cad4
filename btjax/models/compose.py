"""Models composed of the parameters of trained ones (Figures 4, 5 and 6); nothing is trained here.

Each function takes variables, {"params": ..., "batch_stats": ...}, and returns new variables and their origins: the
path of every leaf, such as "params/down_1/conv/kernel", mapped to the part that it was taken from. Leaves are copied
bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from flax import traverse_util

from btjax.base.errors import InputError

if TYPE_CHECKING:
    import jax

Leaves = dict[str, Any]
Composed = tuple[dict[str, Any], dict[str, str]]

AUTOENCODER = "autoencoder"
CLASSIFIER = "classifier"
FRESH = "fresh"


def compose_final(autoencoder: dict[str, Any], classifier: dict[str, Any], latent: str = CLASSIFIER) -> Composed:
    """The final U-Net (Figure 4): the classifier's encoder, the autoencoder's decoder, location and colorer.

    Args:
      autoencoder: variables of a `UNet`.
      classifier: variables of an `EncoderClassifier` of the same size and width. Its logits are left out.
      latent: whose `latent` layer is used, "classifier" or "autoencoder"; the paper has it in both and does not say.

    Returns:
      (variables, origins) of a `UNet`: `class_down_1` has become `down_1`, and so on.

    Raises:
      InputError: a leaf that is missing, too many, or of another shape than its counterpart.
    """
    if latent not in (CLASSIFIER, AUTOENCODER):
        raise InputError(f"latent is {latent!r}, expected {CLASSIFIER} or {AUTOENCODER}")
    unet = _unet_leaves(autoencoder)
    encoder = _leaves(CLASSIFIER, classifier)
    _check_logits(encoder, unet)

    chosen, origins, met = {}, {}, set()
    for path, leaf in unet.items():
        layer = _layer(path)
        chosen[path], origins[path] = leaf, AUTOENCODER
        if layer.startswith("down_") or layer == "latent":
            counterpart = path.replace("/down_", "/class_down_")
            found = _take(CLASSIFIER, encoder, counterpart, unet, path)
            met.add(counterpart)
            if layer != "latent" or latent == CLASSIFIER:
                chosen[path], origins[path] = found, CLASSIFIER
    for path in sorted(encoder.keys() - met):
        if _layer(path) != "logits":
            raise InputError(
                f"{CLASSIFIER}: {path} is {_shape(encoder[path])}, expected none: the {AUTOENCODER} has none"
            )
    return _variables(chosen), origins


def encoder_of(autoencoder: dict[str, Any]) -> dict[str, Any]:
    """The encoder's variables of a `UNet`, under the names that an `EncoderClassifier` has for them.

    Args:
      autoencoder: variables of a `UNet`.

    Returns:
      {"params", "batch_stats"} of `class_down_1` to `class_down_n` and `latent`.

    Raises:
      InputError: variables that are no U-Net's.
    """
    _unet_leaves(autoencoder)
    names = {name: f"class_{name}" for name in autoencoder["params"] if name.startswith("down_")} | {"latent": "latent"}
    return {
        collection: {named: autoencoder[collection][name] for name, named in names.items()}
        for collection in ("params", "batch_stats")
    }


def compose_left(autoencoder: dict[str, Any], fresh: dict[str, Any]) -> Composed:
    """The left model (Figure 5): the autoencoder with another random `location`, which the paper calls `rand`.

    Args:
      autoencoder: variables of a `UNet`.
      fresh: variables of a `UNet` or `RightModel` just initialised with another seed; only its `location` is used.

    Returns:
      (variables, origins) of a `UNet`; `rand` stands under the name `location`.

    Raises:
      InputError: a leaf that is missing or of another shape, or a `location` that is the autoencoder's own.
    """
    unet, other = _unet_leaves(autoencoder), _leaves(FRESH, fresh)
    chosen, origins = dict(unet), dict.fromkeys(unet, AUTOENCODER)
    for path, leaf in unet.items():
        if _layer(path) == "location":
            chosen[path], origins[path] = _take(FRESH, other, path, unet, path), FRESH
            if np.array_equal(chosen[path], leaf):
                raise InputError(f"{FRESH}: {path} equals the {AUTOENCODER}'s, expected one made with another seed")
    return _variables(chosen), origins


def compose_right(autoencoder: dict[str, Any], fresh: dict[str, Any], colorer: str = FRESH) -> Composed:
    """The right model (Figure 6): the autoencoder's location, with another random colorer.

    The paper says that all weights but location's are new. Yet the panels of its Figure 9 share one hue, which grows
    with the epochs: what a trained colorer gives, and what Keras gives when it loads weights by layer name.

    Args:
      autoencoder: variables of a `UNet`.
      fresh: variables of a `RightModel` just initialised.
      colorer: whose `colorer` is used, "fresh" as in the paper's text or "autoencoder" as its Figure 9 looks.

    Returns:
      (variables, origins) of a `RightModel`.

    Raises:
      InputError: a leaf that is missing or of another shape.
    """
    if colorer not in (FRESH, AUTOENCODER):
        raise InputError(f"colorer is {colorer!r}, expected {FRESH} or {AUTOENCODER}")
    unet, other = _unet_leaves(autoencoder), _leaves(FRESH, fresh)
    sources = {"location": AUTOENCODER, "colorer": colorer}
    chosen, origins = {}, {}
    for path, leaf in unet.items():
        if _layer(path) in sources:
            found = _take(FRESH, other, path, unet, path)
            origins[path] = sources[_layer(path)]
            chosen[path] = found if origins[path] == FRESH else leaf
    return _variables(chosen), origins


def _leaves(part: str, variables: dict[str, Any]) -> Leaves:
    """The leaves of params and batch_stats by path."""
    if "params" not in variables:
        raise InputError(f"{part}: found {', '.join(sorted(variables)) or 'nothing'}, expected params and batch_stats")
    collections = {name: variables.get(name, {}) for name in ("params", "batch_stats")}
    return dict(traverse_util.flatten_dict(collections, sep="/"))


def _unet_leaves(autoencoder: dict[str, Any]) -> Leaves:
    """The leaves of a U-Net's variables, checked to have all of its layers and no other."""
    leaves = _leaves(AUTOENCODER, autoencoder)
    found = set(autoencoder["params"])
    levels = sum(name.startswith("down_") for name in found)
    expected = {f"down_{index}" for index in range(1, levels + 1)} | {f"up_{index}" for index in range(1, levels)}
    expected |= {"latent", "last", "location", "colorer"}
    if found != expected:
        raise InputError(
            f"{AUTOENCODER}: params/{min(found ^ expected)} is "
            f"{'missing' if min(found ^ expected) in expected else 'unknown'}, expected the layers of a U-Net"
        )
    normalised = {name for name in expected if name.startswith(("down_", "up_")) or name == "latent"}
    missing = normalised - autoencoder.get("batch_stats", {}).keys()
    if missing:
        raise InputError(f"{AUTOENCODER}: batch_stats/{min(missing)} is missing, expected the layers of a U-Net")
    return leaves


def _check_logits(encoder: Leaves, unet: Leaves) -> None:
    """Checks that the logits take the autoencoder's latent, and that their kernel and bias have as many classes."""
    features = np.shape(unet["params/latent/batch_norm/scale"])[0]
    kernel, bias = (_shape(encoder.get(f"params/logits/{leaf}")) for leaf in ("kernel", "bias"))
    classes = kernel[1] if isinstance(kernel, list) and len(kernel) == 2 else "classes"
    if kernel != [features, classes]:
        raise InputError(
            f"{CLASSIFIER}: params/logits/kernel is {kernel}, expected [{features}, {classes}]: the {AUTOENCODER}'s "
            f"latent has {features} features"
        )
    if bias != [classes]:
        raise InputError(f"{CLASSIFIER}: params/logits/bias is {bias}, expected [{classes}], as the kernel's classes")


def _take(part: str, leaves: Leaves, path: str, unet: Leaves, unet_path: str) -> jax.Array:
    """The leaf at `path` of a part, checked to have the shape of the autoencoder's leaf at `unet_path`."""
    found, expected = _shape(leaves.get(path)), _shape(unet[unet_path])
    if found != expected:
        whose = f"the shape of the {AUTOENCODER}'s {unet_path}"
        raise InputError(f"{part}: {path} is {found}, expected {expected}, {whose}")
    return leaves[path]


def _shape(leaf: jax.Array | None) -> list[int] | str:
    return "missing" if leaf is None else list(np.shape(leaf))


def _layer(path: str) -> str:
    return path.split("/")[1]


def _variables(leaves: Leaves) -> dict[str, Any]:
    return {"params": {}, "batch_stats": {}} | traverse_util.unflatten_dict(leaves, sep="/")
