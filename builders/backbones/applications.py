"""The networks of `keras.applications`, by name. Keras-free until one is loaded."""

import contextlib
import io
import os
import sys
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from builders.backbones.kind import BackboneSpec, OpenOptions, StrPath, digest
from builders.backbones.pixel_scaling import SCALINGS
from builders.errors import BuildError


def downloads_off_stdout() -> contextlib.redirect_stdout[Any]:
    """Keras reports a download on standard output, which is reserved for the result."""
    return contextlib.redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO())


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
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"


# Width multiplier -> top-1 on ImageNet in %, from table 6 of the first paper and github.com/tensorflow/models for the
# second.
_ALPHAS = {
    "mobilenet": {0.25: 50.6, 0.5: 63.7, 0.75: 68.4, 1.0: 70.4},
    "mobilenet_v2": {0.35: 60.3, 0.5: 65.4, 0.75: 69.8, 1.0: 71.3, 1.3: 74.4, 1.4: 75.0},
}
_WIDTHS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}  # in the names of MobileNet's files


def _specs() -> Iterator[ApplicationSpec]:
    table = (resources.files(__package__ or "") / "applications.toml").read_text("utf-8")
    for family in tomllib.loads(table)["family"]:
        for variant, (size, accuracy) in family["networks"].items():
            name, title = family["name"].format(variant.lower()), family["constructor"].format(variant)
            for alpha, top1 in ((None, accuracy), *_ALPHAS.get(name, {}).items()):
                width = _WIDTHS[alpha or 1.0] if name == "mobilenet" else str(alpha or 1.0)
                yield ApplicationSpec(
                    name=name if alpha is None else f"{name}_{alpha}",
                    title=title if alpha is None else f"{title} {alpha:g}",
                    native_size=size,
                    smallest_size=family.get("smallest_size", 32),
                    scaling=SCALINGS[family["scaling"]],
                    licence="see keras.io/api/applications",
                    paper=family["paper"],
                    constructor=title,
                    family=family["module"],
                    alpha=alpha,
                    imagenet_accuracy=top1,
                    file=f"{family['file'].format(variant.lower(), alpha=width)}.h5",
                )


APPLICATIONS = tuple(_specs())
