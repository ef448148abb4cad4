"""Convolution with lowerings of its own on a CPU, pooling, and the protocol that every network keeps."""
