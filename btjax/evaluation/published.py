"""The paper's own numbers, to compare ours with.

The curves are read off Figure 15, to about 0.01 in accuracy and 0.02 in loss. The matrices are those of Figures 16 and
17. The percentages are those of Tables 1 and 2 as printed, rounded to whole percent.
"""

from __future__ import annotations

import dataclasses

import numpy as np

CLASSES = ("glioma", "meningioma", "pituitary")
"""The classes in the paper's order, which every matrix and table here follows."""

TRAIN_ACCURACY = (
    0.43, 0.66, 0.76, 0.79, 0.82, 0.85, 0.88, 0.90, 0.92, 0.94,
    0.95, 0.965, 0.97, 0.97, 0.96, 0.98, 0.985, 0.98, 0.98, 0.985,
)  # fmt: skip
"""Figure 15, by epoch 1 to 20."""

VALIDATION_ACCURACY = (
    0.54, 0.80, 0.82, 0.85, 0.80, 0.86, 0.85, 0.91, 0.90, 0.94,
    0.92, 0.93, 0.92, 0.93, 0.93, 0.92, 0.93, 0.87, 0.96, 0.93,
)  # fmt: skip
"""Figure 15, by epoch 1 to 20."""

TRAIN_LOSS = (
    np.nan, 1.78, 1.51, 1.36, 1.24, 1.12, 1.04, 0.95, 0.87, 0.79,
    0.74, 0.66, 0.63, 0.60, 0.62, 0.56, 0.52, 0.52, 0.51, 0.47,
)  # fmt: skip
"""Figure 15, with the L2 term, by epoch 1 to 20. The first epoch lies above the figure (2.0), unreadable: NaN."""

VALIDATION_LOSS = (
    np.nan, 1.51, 1.35, 1.23, 1.23, 1.05, 1.04, 0.88, 0.89, 0.80,
    0.79, 0.76, 0.75, 0.70, 0.69, 0.76, 0.70, 1.05, 0.60, 0.67,
)  # fmt: skip
"""Figure 15, with the L2 term, by epoch 1 to 20. The first epoch lies above the figure (2.0), unreadable: NaN."""


@dataclasses.dataclass(frozen=True)
class PublishedResult:
    """One classifier's result as the paper gives it.

    Attributes:
      table: the paper's table with the percentages.
      figure: the paper's figure with the matrix.
      matrix: counts of test slices, rows true, columns predicted, in the order of `CLASSES`.
      percents: class -> precision, recall, F1 in whole percent, as printed; 'average' is the last row of the table.
      remark: how the paper's text disagrees with its figure.
    """

    table: str
    figure: str
    matrix: tuple[tuple[int, ...], ...]
    percents: dict[str, tuple[int, int, int]]
    remark: str

    @property
    def slices(self) -> int:
        """The number of test slices."""
        return sum(map(sum, self.matrix))

    @property
    def accuracy(self) -> float:
        """The share of test slices on the matrix's diagonal."""
        return float(np.trace(self.matrix) / self.slices)

    @property
    def macro_f1(self) -> float:
        """The mean over classes of 2 TP / (2 TP + FP + FN)."""
        matrix = np.array(self.matrix)
        return float(np.mean(2 * np.diagonal(matrix) / (matrix.sum(axis=0) + matrix.sum(axis=1))))

    @property
    def accuracy_ci95(self) -> tuple[float, float]:
        """Clopper and Pearson's exact binomial interval, by slice: the paper does not say which patients it tested."""
        from scipy.stats import binomtest

        interval = binomtest(int(np.trace(self.matrix)), self.slices).proportion_ci(0.95, method="exact")
        return float(interval.low), float(interval.high)


RESULTS = {
    "cnn": PublishedResult(
        table="Table 1",
        figure="Figure 16",
        matrix=((13, 1, 0), (1, 6, 0), (0, 0, 11)),
        percents={
            "glioma": (93, 93, 93),
            "meningioma": (86, 86, 86),
            "pituitary": (100, 100, 100),
            "average": (93, 93, 93),
        },
        remark="The paper's text says 92%; its Table 1 follows from Figure 16, one batch of 32 slices.",
    ),
    "vgg16": PublishedResult(
        table="Table 2",
        figure="Figure 17",
        matrix=((84, 7, 1), (4, 32, 2), (0, 2, 60)),
        percents={
            "glioma": (95, 91, 93),
            "meningioma": (78, 84, 81),
            "pituitary": (95, 97, 96),
            "average": (90, 91, 90),
        },
        remark="The paper's text says 93.23%; its Table 2 follows from Figure 17, 192 slices.",
    ),
}
"""The results of the paper's classifiers, by the name of the system that reproduces them."""
