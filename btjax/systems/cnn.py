"""The paper's CNN."""

from btjax.evaluation.published import RESULTS
from btjax.models.cnn import CNN
from btjax.systems.system import RAFIQ_DATA, Paper, System

SYSTEM = System(
    name="cnn",
    title="Custom CNN",
    reference="Rafiq, Patwary and Weiss, Brain Tumor Classification using Deep Learning, section 4.2, Figures 15, 16",
    model=CNN,
    published=RESULTS["cnn"],
    claims="30 of 32 test slices (Figure 16), slices divided at random",
    curves=True,
    paper=Paper(
        preset="cnn_paper",
        stated=(
            *("data.image_size", "preprocessing.colour", "model.dropout", "model.l2"),
            *("training.optimizer", "training.epochs"),
        ),
        inferred=("data.protocol", "model.widths", "model.pools", "model.dense"),
        data=RAFIQ_DATA,
        rows="2452 / 420 / 192, the matrix of 32",
    ),
)
