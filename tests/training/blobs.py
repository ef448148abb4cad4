"""A tiny data set that a tiny network learns: bright blobs whose place gives the class."""

import numpy as np

from btjax.data.augment import Augmentation
from btjax.data.preprocess import Preprocessing
from btjax.data.splits import Split, make_split
from btjax.models.cnn import CNN
from btjax.readers.slices import Slices
from btjax.training.tasks import Classification


def make_blobs(count: int = 90, size: int = 16, seed: int = 0) -> Slices:
    """`count` slices of three classes, three slices per patient."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(count // 3) % 3, 3).astype(np.int32)
    images = random.integers(0, 120, (len(labels), size, size)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        row = 2 + label * (size // 3)
        image[row : row + 3, 4:10] = random.integers(160, 255)
    ids = np.arange(len(labels)).astype(str)
    patients = np.array([f"P{row // 3}" for row in range(len(labels))])
    return Slices(images, labels, ids, np.full((len(labels), 2), size, np.int32), patients)


def blob_split(slices: Slices, seed: int = 0) -> Split:
    """The paper's protocol on blobs."""
    return make_split(slices, "slice", seed=seed)


def tiny_task(dropout: float = 0.2, **augmentation) -> Classification:
    """A CNN of two convolutions on grey input."""
    model = CNN(widths=(4, 8), pools=2, dense=16, dropout=dropout)
    return Classification(model, Preprocessing("grey"), Augmentation(**augmentation))
