"""The networks, one a file; all keep the protocol of `btjax.nn.network` or, as autoencoders, take its `train` and `counted`."""
