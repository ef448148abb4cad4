"""The networks, one a file.

Classifiers keep the protocol of `btjax.nn.network`; autoencoders take its `train` and `counted`.
"""
