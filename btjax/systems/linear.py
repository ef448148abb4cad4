"""A linear classifier, the floor that every network has to beat."""

from btjax.models.linear import Linear
from btjax.systems.system import System

SYSTEM = System(
    name="linear",
    title="Linear model",
    reference="multinomial logistic regression on the pixels of a small copy of the slice; no publication",
    model=Linear,
)
