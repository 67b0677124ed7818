"""The networks of `keras.applications`, by name. Keras-free until one is loaded."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from builders.backbones.kind import BackboneSpec, OpenOptions, StrPath, digest
from builders.backbones.pixel_scaling import SCALINGS
from builders.errors import BuildError


@contextlib.contextmanager
def downloads_off_stdout() -> Iterator[None]:
    """Keras reports a download on standard output, which is reserved for the result."""
    with contextlib.redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationSpec(BackboneSpec):
    """A network of `keras.applications`."""

    constructor: str  # its name there
    family: str  # the module there with its `preprocess_input`
    alpha: float | None = None  # width multiplier, if it has one
    file: str  # in Keras's cache, with the ImageNet weights

    @property
    def availability(self) -> str:
        return f"{'in the cache of' if self.local_weights else 'fetched by'} Keras, or --weights FILE"

    @property
    def local_weights(self) -> Path | None:
        path = _keras_cache() / self.file
        return path if path.is_file() else None

    def identity(self, given: Any, options: OpenOptions) -> str | None:
        del given
        if options.weights is None:  # Keras checks the digest of the file that it fetched
            return f"{self.name} keras {metadata.version('keras')}"
        content = digest(options.weights)
        return content and f"{self.name} {content}"

    def untrained(self, size: int) -> Any:
        return self._network(size, None)

    def pretrained(self, size: int, weights: StrPath | None) -> Any:
        if weights is not None:
            return self._restored(size, weights)
        try:
            with downloads_off_stdout(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
                return self._network(size, "imagenet")
        except Exception as error:  # Keras raises a bare Exception if it can't fetch a file
            if "URL fetch failure" not in str(error):
                raise
            address = str(error).partition("failure on ")[2].partition(": ")[0]
            home = _keras_cache() / address.rpartition("/")[2]
            raise BuildError(
                f"Expected the ImageNet weights of {self.name}. Received: no file, and no connection to fetch it. "
                f"Fetch {address} and put it at {home}, or name a file with --weights."
            ) from error

    def _network(self, size: int, weights: str | None) -> Any:
        """The network without its head."""
        import keras

        if weights and self.family in _ALPHAS and size != self.native_size:
            # Keras has other files for other sizes. One network has the same weights at every size.
            network = self._network(size, None)
            network.set_weights(self._network(self.native_size, weights).get_weights())
            return network
        arguments: dict[str, Any] = {"include_top": False, "input_shape": (size, size, 3), "weights": weights}
        if self.alpha is not None:
            arguments["alpha"] = self.alpha
        return getattr(keras.applications, self.constructor)(**arguments)

    def _restored(self, size: int, weights: StrPath) -> Any:
        from builders.checkpoints.warm_start import plan_warm_start

        network = self._network(size, None)
        planned = plan_warm_start(network, weights)
        report = planned.report
        lacking = [*report.missing, *(mismatch.name for mismatch in report.other_shape)]
        if lacking:
            raise BuildError(
                f"Expected {os.fspath(weights)!r} to hold all weights of {self.name}. Received: "
                f"{len(report.restored)} of {len(report.restored) + len(lacking)}; {lacking[0]!r} is missing or has "
                "another shape. Check that the file belongs to this network and width."
            )
        planned.apply()
        return network


def _keras_cache() -> Path:
    """The folder where Keras keeps weights that it has fetched; Keras is not imported."""
    home = os.environ.get("KERAS_HOME") or "~/.keras"
    return Path(home).expanduser() / "models"


_KERNELS = "_weights_tf_dim_ordering_tf_kernels"  # in the names of many files


class _Family(NamedTuple):
    """Networks with the same pixel scaling; `{}` in the names stands for the variant."""

    module: str
    scaling: str
    paper: str
    name: str
    constructor: str
    file: str  # stem of the file of weights; {} is the variant in lower case, {alpha} the width multiplier
    sizes: dict[Any, int]  # variant -> native size in px
    accuracies: tuple[float, ...]  # top-1 on ImageNet in %, of each variant: keras.io/api/applications
    smallest_size: int = 32


_FAMILIES = (
    _Family(
        *("convnext", "0..255", "arXiv:2201.03545", "convnext_{}", "ConvNeXt{}", "convnext_{}_notop"),
        dict.fromkeys(("Tiny", "Small", "Base", "Large", "XLarge"), 224),
        (81.3, 82.3, 85.3, 86.3, 86.7),
    ),
    _Family(
        *("densenet", "torch", "arXiv:1608.06993", "densenet{}", "DenseNet{}", f"densenet{{}}{_KERNELS}_notop"),
        dict.fromkeys((121, 169, 201), 224),
        (75.0, 76.2, 77.3),
    ),
    _Family(
        *("efficientnet", "0..255", "arXiv:1905.11946", "efficientnet_b{}", "EfficientNetB{}"),
        "efficientnetb{}_notop",
        dict(enumerate((224, 240, 260, 300, 380, 456, 528, 600))),
        (77.1, 79.1, 80.1, 81.6, 82.9, 83.6, 84.0, 84.3),
    ),
    _Family(
        *("efficientnet_v2", "0..255", "arXiv:2104.00298", "efficientnet_v2_{}", "EfficientNetV2{}"),
        "efficientnetv2-{}_notop",
        {"B0": 224, "B1": 240, "B2": 260, "B3": 300, "S": 384, "M": 480, "L": 480},
        (78.7, 79.8, 80.5, 82.0, 83.9, 85.3, 85.7),
    ),
    _Family(
        *("inception_resnet_v2", "-1..1", "arXiv:1602.07261", "inception_resnet_v2", "InceptionResNetV2"),
        *(f"inception_resnet_v2{_KERNELS}_notop", {"": 299}, (80.3,), 75),
    ),
    _Family(
        *("inception_v3", "-1..1", "arXiv:1512.00567", "inception_v3", "InceptionV3"),
        *(f"inception_v3{_KERNELS}_notop", {"": 299}, (77.9,), 75),
    ),
    _Family(
        *("mobilenet", "-1..1", "arXiv:1704.04861", "mobilenet", "MobileNet"),
        *("mobilenet_{alpha}_224_tf_no_top", {"": 224}, (70.4,)),
    ),
    _Family(
        *("mobilenet_v2", "-1..1", "arXiv:1801.04381", "mobilenet_v2", "MobileNetV2"),
        *(f"mobilenet_v2{_KERNELS}_{{alpha}}_224_no_top", {"": 224}, (71.3,)),
    ),
    _Family(
        *("mobilenet_v3", "0..255", "arXiv:1905.02244", "mobilenet_v3_{}", "MobileNetV3{}"),
        *("weights_mobilenet_v3_{}_224_1.0_float_no_top_v2", {"Small": 224, "Large": 224}, (68.1, 75.6)),
    ),
    _Family(
        *("nasnet", "-1..1", "arXiv:1707.07012", "nasnet_{}", "NASNet{}", "nasnet_{}_no_top"),
        *({"Mobile": 224, "Large": 331}, (74.4, 82.5)),
    ),
    _Family(
        *("resnet", "caffe", "arXiv:1512.03385", "resnet{}", "ResNet{}", f"resnet{{}}{_KERNELS}_notop"),
        *(dict.fromkeys((50, 101, 152), 224), (74.9, 76.4, 76.6)),
    ),
    _Family(
        *("resnet_v2", "-1..1", "arXiv:1603.05027", "resnet{}_v2", "ResNet{}V2", f"resnet{{}}v2{_KERNELS}_notop"),
        *(dict.fromkeys((50, 101, 152), 224), (76.0, 77.2, 78.0)),
    ),
    _Family(
        *("vgg16", "caffe", "arXiv:1409.1556", "vgg16", "VGG16", f"vgg16{_KERNELS}_notop", {"": 224}, (71.3,)),
    ),
    _Family(
        *("vgg19", "caffe", "arXiv:1409.1556", "vgg19", "VGG19", f"vgg19{_KERNELS}_notop", {"": 224}, (71.3,)),
    ),
    _Family(
        *("xception", "-1..1", "arXiv:1610.02357", "xception", "Xception", f"xception{_KERNELS}_notop"),
        *({"": 299}, (79.0,), 71),
    ),
)
# Width multiplier -> top-1 on ImageNet in %, from table 6 of the first paper and github.com/tensorflow/models for the
# second.
_ALPHAS = {
    "mobilenet": {0.25: 50.6, 0.5: 63.7, 0.75: 68.4, 1.0: 70.4},
    "mobilenet_v2": {0.35: 60.3, 0.5: 65.4, 0.75: 69.8, 1.0: 71.3, 1.3: 74.4, 1.4: 75.0},
}
_WIDTHS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}  # in the names of MobileNet's files


def _specs() -> Iterator[ApplicationSpec]:
    for family in _FAMILIES:
        for (variant, size), accuracy in zip(family.sizes.items(), family.accuracies, strict=True):
            name, title = family.name.format(str(variant).lower()), family.constructor.format(variant)
            for alpha, top1 in ((None, accuracy), *_ALPHAS.get(name, {}).items()):
                width = _WIDTHS[alpha or 1.0] if name == "mobilenet" else str(alpha or 1.0)
                yield ApplicationSpec(
                    name=name if alpha is None else f"{name}_{alpha}",
                    title=title if alpha is None else f"{title} {alpha:g}",
                    native_size=size,
                    smallest_size=family.smallest_size,
                    scaling=SCALINGS[family.scaling],
                    licence="see keras.io/api/applications",
                    paper=family.paper,
                    constructor=title,
                    family=family.module,
                    alpha=alpha,
                    imagenet_accuracy=top1,
                    file=f"{family.file.format(str(variant).lower(), alpha=width)}.h5",
                )


APPLICATIONS = tuple(_specs())
