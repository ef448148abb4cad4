"""Where Keras publishes the weights of backbones without their top."""

from btjax.data.download import RemoteFile

_ROOT = "https://storage.googleapis.com/"
_NOTOP = "weights_tf_dim_ordering_tf_kernels_notop.h5"
_EFFICIENTNETS = {
    "b0": "50bc09e76180e00e4465e1a485ddc09d",
    "b1": "74c4e6b3e1f6a1eea24c589628592432",
    "b2": "111f8e2ac8aa800a7a99e3239f7bfb39",
    "b3": "af6d107764bb5b1abb91932881670226",
    "b4": "ebc24e6d6c33eaebbd558eafbeedf1ba",
    "b5": "38879255a25d3c92d5e44e04ae6cec6f",
    "b6": "9ecce42647a20130c1f39a5d4cb75743",
    "b7": "cbcfe4450ddf6f3ad90b1b398090fe4a",
}


def _keras(folder: str, name: str, md5: str) -> RemoteFile:
    return RemoteFile(name, f"{_ROOT}{folder}/{name}", md5=md5)


OFFICIAL = {
    f"efficientnet_{version}": _keras("keras-applications", f"efficientnet{version}_notop.h5", md5)
    for version, md5 in _EFFICIENTNETS.items()
} | {
    "resnet50": _keras(
        "tensorflow/keras-applications/resnet", f"resnet50_{_NOTOP}", "4d473c1dd8becc155b73f8504c6f6626"
    ),
    "inception": _keras(
        "tensorflow/keras-applications/inception_v3", f"inception_v3_{_NOTOP}", "bcbd6486424b2319ff4ef7d526e38f63"
    ),
}
"""Keras's files by name; their checksums are those that Keras itself compares."""
