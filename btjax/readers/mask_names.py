"""The words by which a file or a folder is known to hold masks."""

MASK_WORDS = "masks?|labels?|segmentations?|segs?|annotations?|ground[ _-]?truths?|gt|contours?|rois?"
"""Regular expression of one word, to be matched without regard to case."""
