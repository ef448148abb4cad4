"""What others published on the 3064 slices of Cheng's data set, to stand beside measured numbers.

The accuracies are as printed; none comes with an interval. What they were measured on differs: the last column says how
the slices were divided, as far as the publication tells.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Published:
    """One published accuracy.

    Attributes:
      work: authors and year.
      model: what was trained.
      division: how slices were divided.
      percent: accuracy in percent, as printed.
      keeps_patients: whether a patient's slices were kept on one side.
      masks: whether the tumour's outline is needed to classify a slice.
    """

    work: str
    model: str
    division: str
    percent: float
    keeps_patients: bool
    masks: bool = False


LITERATURE = (
    Published("Cheng et al. 2015", "rings round the tumour, bag of words", "patients, 5 folds", 91.28, True, True),
    Published("Swati et al. 2019", "VGG19, fine-tuned by blocks", "patients, 5 folds", 94.82, True),
    Published("Deepak and Ameer 2019", "GoogLeNet's features, SVM", "patients, 5 folds", 97.8, True),
    Published("Deepak and Ameer 2019", "GoogLeNet's features, nearest neighbours", "patients, 5 folds", 98.0, True),
    Published("Badza and Barjaktarovic 2020", "small CNN, 256 px", "slices, 10 folds", 96.56, False),
    Published("Badza and Barjaktarovic 2020", "small CNN, 256 px", "subjects, 10 folds", 88.0, True),
    Published("Diaz-Pernas et al. 2021", "CNN of three scales", "patients, 5 folds", 97.3, True),
    Published("Tummala et al. 2022", "four vision transformers, 384 px", "slices", 98.7, False),
)
"""In order of their year."""
