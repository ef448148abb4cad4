"""What Cheng et al. print of their two systems on these slices, to stand beside ours.

[1] Enhanced Performance of Brain Tumor Classification via Tumor Region Augmentation and Partition, PLOS ONE 2015, doi
10.1371/journal.pone.0140381. [2] Retrieval of Brain Tumors by Adaptive Spatial Pooling and Fisher Vector
Representation, PLOS ONE 2016, doi 10.1371/journal.pone.0157112. Means of the authors' five folds, with the true outline
of every slice; none comes with an interval.
"""

RADII = {
    0: {"histogram": 71.39, "glcm": 78.18, "bow": 83.54},
    8: {"histogram": 82.31, "glcm": 84.75, "bow": 88.19},
    16: {"histogram": 80.39, "glcm": 82.79, "bow": 86.86},
    24: {"histogram": 79.67, "glcm": 82.60, "bow": 87.58},
    32: {"histogram": 78.68, "glcm": 82.41, "bow": 87.26},
}
"""[1]: accuracy in percent by the radius of the dilation; ten grey levels, pairs at a distance of 1, no rings."""

RINGS = {
    (0, False): {"histogram": 82.49, "glcm": 86.28, "bow": 87.79},
    (1, False): {"histogram": 86.28, "glcm": 88.53, "bow": 91.28},
    (1, True): {"histogram": 86.90, "glcm": 88.33, "bow": 91.14},
    (2, False): {"histogram": 87.14, "glcm": 88.83, "bow": 90.81},
    (2, True): {"histogram": 87.06, "glcm": 89.23, "bow": 91.13},
    (3, False): {"histogram": 87.50, "glcm": 89.64, "bow": 90.86},
    (3, True): {"histogram": 87.54, "glcm": 89.72, "bow": 91.02},
}
"""[1]: accuracy in percent by (level of the rings, whether the levels below are there too); 20 levels, distance 4."""

OTHER_CLASSIFIERS = {
    ("src", 0): 86.55,
    ("knn", 1): 80.01,
    ("knn", 3): 81.69,
    ("knn", 7): 83.14,
    ("knn", 15): 83.37,
    ("knn", 45): 83.09,
}
"""[1]: accuracy in percent of other classifiers on the best histograms, by name and number of neighbours."""

BEST_CONFUSION = ((609, 23, 76), (27, 1374, 25), (80, 38, 812))
"""[1]: slices of the best cell (words, level 1), rows true, columns predicted: meningioma, glioma, pituitary."""

MEAN_AVERAGE_PRECISION = 94.68
"""[2]: in percent, over the full ranking, of Fisher vectors with adaptive pooling and a learned metric."""
