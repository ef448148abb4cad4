"""Every saliency method by name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import jax

from btjax.base.errors import InputError
from btjax.saliency import activations, gradients, perturbations, relevance

if TYPE_CHECKING:
    from btjax.saliency.classifier import Logits

PASSES = ("one", "tens", "hundreds")
"""How many passes through the network a method takes for each image."""


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """A saliency method.

    Attributes:
      name: its name in `METHODS`.
      attribute: `attribute(logits, images, targets, key) -> maps`, see `btjax.saliency.gradients`.
      description: one line.
      reference: authors and year.
      signed: whether the maps are negative where a pixel speaks against the class.
      passes: how many passes through the network an image takes with the default options: one of `PASSES`.
      needs_classifier: whether `logits` must be a `Classifier`, not only a function.
      needs_options: options without which it does not run.
      takes_baseline: whether it compares the image with a baseline: its option `baseline`, or the `baselines` of
        `btjax.saliency.maps.attribution_maps`.
      family: a function of the same arguments whose passes give the maps of several methods by name, of which
        `attribute` gives this one's; None for none.
    """

    name: str
    attribute: Callable[..., jax.Array]
    description: str
    reference: str
    _: dataclasses.KW_ONLY
    signed: bool = False
    passes: str = "one"
    needs_classifier: bool = False
    needs_options: tuple[str, ...] = ()
    takes_baseline: bool = False
    family: Callable[..., dict[str, jax.Array]] | None = None

    def __call__(self, logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array) -> jax.Array:
        """The maps, float32 [B, S, S]."""
        return self.attribute(logits, images, targets, key)

    @functools.cached_property
    def alone(self) -> Joint:
        """The method as a `Joint`; the same one each time, so that its program is compiled once."""
        return Joint((self,))

    def bind(self, **options: Any) -> Method:
        """The method with other options; make it once, since each bound method is compiled by itself."""
        needed = tuple(name for name in self.needs_options if name not in options)
        attribute = functools.partial(self.attribute, **options)
        family = None if self.family is None else functools.partial(self.family, **options)
        return dataclasses.replace(self, attribute=attribute, needs_options=needed, family=family)


@dataclasses.dataclass(frozen=True, eq=False)
class Joint:
    """Methods whose maps the same passes give: some of one family, or a single method.

    Attributes:
      methods: with the same options, at least one.
    """

    methods: tuple[Method, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The methods' names."""
        return tuple(method.name for method in self.methods)

    @property
    def name(self) -> str:
        """The family's, or the only method's."""
        family = _family_of(self.methods[0])
        return self.methods[0].name if family is None else family[0].__name__

    @property
    def takes_baseline(self) -> bool:
        """See `Method`: what the methods of a family take is the same."""
        return self.methods[0].takes_baseline

    @functools.cached_property
    def attribute(self) -> Callable[..., dict[str, jax.Array]]:
        """A method's function that gives the maps of all, by name."""
        first, names = self.methods[0], self.names
        if len(names) == 1:
            return lambda *arguments, **options: {first.name: first.attribute(*arguments, **options)}
        family = first.family
        shared = _family_of(first)
        if family is None or shared is None or any(_family_of(method) != shared for method in self.methods):
            raise ValueError(f"{', '.join(names)}: are not of one family with the same options")

        def chosen(*arguments: Any, **options: Any) -> dict[str, jax.Array]:
            found = family(*arguments, **options)
            return {name: found[name] for name in names}

        return chosen


def jointly(methods: Iterable[Method]) -> list[Joint]:
    """Puts methods of one family with the same options together, the others alone; in the order of the first of each.

    Example:
      >>> [joint.names for joint in jointly(find_methods(["smooth_grad", "gradient", "var_grad"]))]
      [('smooth_grad', 'var_grad'), ('gradient',)]
    """
    groups: dict[Any, list[Method]] = {}
    for method in methods:
        groups.setdefault(_family_of(method) or method, []).append(method)
    return [Joint(tuple(group)) if len(group) > 1 else group[0].alone for group in groups.values()]


def _family_of(method: Method) -> tuple | None:
    """What is equal for methods of one family with the same options; None where there is no family."""
    if method.family is None:
        return None
    options, function = {}, method.family
    while isinstance(function, functools.partial):
        options, function = function.keywords | options, function.func
    given = function, tuple(sorted(options.items()))
    try:
        hash(given)
    except TypeError:  # an option that is an array: whether two are the same is not asked
        return None
    return given


_LIST = (
    Method(
        "gradient",
        gradients.gradient,
        "magnitude of the logit's gradient with respect to the pixels",
        "Simonyan et al. 2014",
    ),
    Method(
        "gradient_times_input",
        gradients.gradient_times_input,
        "gradient times pixel",
        "Shrikumar et al. 2016",
        signed=True,
    ),
    Method(
        "smooth_grad",
        gradients.smooth_grad,
        "magnitude of the mean gradient of noisy copies",
        "Smilkov et al. 2017",
        passes="tens",
        family=gradients.noisy_gradients,
    ),
    Method(
        "smooth_grad_squared",
        gradients.smooth_grad_squared,
        "mean squared gradient of noisy copies",
        "Hooker et al. 2019",
        passes="tens",
        family=gradients.noisy_gradients,
    ),
    Method(
        "var_grad",
        gradients.var_grad,
        "variance of the gradient over noisy copies",
        "Adebayo et al. 2018",
        passes="tens",
        family=gradients.noisy_gradients,
    ),
    Method(
        "integrated_gradients",
        gradients.integrated_gradients,
        "gradient averaged along the line from a baseline, times the difference",
        "Sundararajan et al. 2017",
        signed=True,
        passes="tens",
        takes_baseline=True,
    ),
    Method(
        "expected_gradients",
        gradients.expected_gradients,
        "integrated gradients averaged over baselines",
        "Erion et al. 2021",
        signed=True,
        passes="tens",
        needs_options=("baselines",),
    ),
    Method(
        "guided_backprop",
        gradients.guided_backprop,
        "gradient passed back through active units where it is positive",
        "Springenberg et al. 2015",
        signed=True,
        needs_classifier=True,
    ),
    Method(
        "deconvnet",
        gradients.deconvnet,
        "gradient passed back through every unit where it is positive",
        "Zeiler & Fergus 2014",
        signed=True,
        needs_classifier=True,
    ),
    Method(
        "grad_cam",
        activations.grad_cam,
        "channels weighted by their mean gradients",
        "Selvaraju et al. 2017",
        needs_classifier=True,
    ),
    Method(
        "grad_cam_plus_plus",
        activations.grad_cam_plus_plus,
        "channels weighted by their positive gradients, pixel by pixel",
        "Chattopadhay et al. 2018",
        needs_classifier=True,
    ),
    Method(
        "layer_cam",
        activations.layer_cam,
        "activations times their positive gradients",
        "Jiang et al. 2021",
        needs_classifier=True,
    ),
    Method(
        "hires_cam",
        activations.hires_cam,
        "activations times their gradients",
        "Draelos & Carin 2020",
        signed=True,
        needs_classifier=True,
    ),
    Method(
        "score_cam",
        activations.score_cam,
        "channels weighted by the logit of the image masked by them",
        "Wang et al. 2020",
        passes="hundreds",
        needs_classifier=True,
        takes_baseline=True,
    ),
    Method(
        "outline",
        activations.outline,
        "the network's own probability that a pixel is tumour of the class",
        "networks that outline tumours",
        needs_classifier=True,
    ),
    Method(
        "occlusion",
        perturbations.occlusion,
        "drop of the logit when a square is hidden",
        "Zeiler & Fergus 2014",
        signed=True,
        passes="hundreds",
        takes_baseline=True,
    ),
    Method(
        "rise",
        perturbations.rise,
        "random masks weighted by the probability under each",
        "Petsiuk et al. 2018",
        passes="hundreds",
        takes_baseline=True,
    ),
    Method(
        "lrp_epsilon",
        relevance.lrp_epsilon,
        "the logit distributed to the pixels by contributions, layer by layer",
        "Bach et al. 2015",
        signed=True,
        needs_classifier=True,
    ),
    Method(
        "lrp_alpha_beta",
        relevance.lrp_alpha_beta,
        "the same, twice to the positive contributions less once to the negative",
        "Bach et al. 2015",
        signed=True,
        needs_classifier=True,
    ),
    Method(
        "lrp_composite",
        relevance.lrp_composite,
        "the same, by the positive contributions alone in the convolutions",
        "Kohlbrenner et al. 2020",
        signed=True,
        needs_classifier=True,
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _LIST}
"""The methods by name, with their default options."""


def find_methods(names: Iterable[str]) -> list[Method]:
    """The methods of the given names, in their order, each once; the name "all" stands for every method.

    Args:
      names: keys of `METHODS`, or "all".

    Raises:
      InputError: a name that is no method's.

    Example:
      >>> [method.name for method in find_methods(["grad_cam", "occlusion", "grad_cam"])]
      ['grad_cam', 'occlusion']
    """
    found = {}
    for name in names:
        if name != "all" and name not in METHODS:
            raise InputError(f"saliency method {name!r}: expected all, or some of {', '.join(METHODS)}")
        found |= METHODS if name == "all" else {name: METHODS[name]}
    return list(found.values())
