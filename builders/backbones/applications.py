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

    availability = "fetched by Keras, or --weights FILE"

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
            home = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models" / address.rpartition("/")[2]
            raise BuildError(
                f"Expected the ImageNet weights of {self.name}. Received: no file, and no connection to fetch it. "
                f"Fetch {address} and put it at {home}, or name a file with --weights."
            ) from error

    def _network(self, size: int, weights: str | None) -> Any:
        """The network without its head."""
        import keras

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


class _Family(NamedTuple):
    """Networks with the same pixel scaling; `{}` in the names stands for the variant."""

    module: str
    scaling: str
    paper: str
    name: str
    constructor: str
    sizes: dict[Any, int]  # variant -> native size in px
    smallest_size: int = 32


_FAMILIES = (
    _Family(
        *("convnext", "0..255", "arXiv:2201.03545", "convnext_{}", "ConvNeXt{}"),
        dict.fromkeys(("Tiny", "Small", "Base", "Large", "XLarge"), 224),
    ),
    _Family("densenet", "torch", "arXiv:1608.06993", "densenet{}", "DenseNet{}", dict.fromkeys((121, 169, 201), 224)),
    _Family(
        *("efficientnet", "0..255", "arXiv:1905.11946", "efficientnet_b{}", "EfficientNetB{}"),
        dict(enumerate((224, 240, 260, 300, 380, 456, 528, 600))),
    ),
    _Family(
        *("efficientnet_v2", "0..255", "arXiv:2104.00298", "efficientnet_v2_{}", "EfficientNetV2{}"),
        {"B0": 224, "B1": 240, "B2": 260, "B3": 300, "S": 384, "M": 480, "L": 480},
    ),
    _Family(
        *("inception_resnet_v2", "-1..1", "arXiv:1602.07261", "inception_resnet_v2", "InceptionResNetV2"), {"": 299}, 75
    ),
    _Family("inception_v3", "-1..1", "arXiv:1512.00567", "inception_v3", "InceptionV3", {"": 299}, 75),
    _Family("mobilenet", "-1..1", "arXiv:1704.04861", "mobilenet", "MobileNet", {"": 224}),
    _Family("mobilenet_v2", "-1..1", "arXiv:1801.04381", "mobilenet_v2", "MobileNetV2", {"": 224}),
    _Family(
        *("mobilenet_v3", "0..255", "arXiv:1905.02244", "mobilenet_v3_{}", "MobileNetV3{}"),
        {"Small": 224, "Large": 224},
    ),
    _Family("nasnet", "-1..1", "arXiv:1707.07012", "nasnet_{}", "NASNet{}", {"Mobile": 224, "Large": 331}),
    _Family("resnet", "caffe", "arXiv:1512.03385", "resnet{}", "ResNet{}", dict.fromkeys((50, 101, 152), 224)),
    _Family("resnet_v2", "-1..1", "arXiv:1603.05027", "resnet{}_v2", "ResNet{}V2", dict.fromkeys((50, 101, 152), 224)),
    _Family("vgg16", "caffe", "arXiv:1409.1556", "vgg16", "VGG16", {"": 224}),
    _Family("vgg19", "caffe", "arXiv:1409.1556", "vgg19", "VGG19", {"": 224}),
    _Family("xception", "-1..1", "arXiv:1610.02357", "xception", "Xception", {"": 299}, 71),
)
_ALPHAS = {"mobilenet": (0.25, 0.5, 0.75, 1.0), "mobilenet_v2": (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)}


def _specs() -> Iterator[ApplicationSpec]:
    for family in _FAMILIES:
        for variant, size in family.sizes.items():
            name, title = family.name.format(str(variant).lower()), family.constructor.format(variant)
            for alpha in (None, *_ALPHAS.get(name, ())):
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
                )


APPLICATIONS = tuple(_specs())
