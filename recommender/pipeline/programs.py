"""Backbones converted to LiteRT programs, kept in the user's cache folder: they run without TensorFlow and Keras."""

import contextlib
import hashlib
import importlib.util
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from builders.backbones.backbone import Backbone, BackboneFacts, OpenedBackbone
from builders.errors import BuildError, first_line
from builders.graph.cut_search import stride_of
from probes.network.features import Norm
from probes.network.readout import FloatArray, LiteRT, convert, read_with_tensorflow
from probes.user_directory import cache_directory

MOST_BYTES = 2 * 1024**3  # of all programs in the cache
_FORMAT = 2  # of the files; another number makes old ones unknown
_TOLERANCE = 1e-3  # of an output's largest value, between TensorFlow and the program
_SUFFIX = ".program"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts(BackboneFacts):
    """What is known of a converted backbone; its points and nodes are those at any input size."""

    smallest_size: int  # as of `OpenedBackbone`, as is the next
    fixed: bool
    taps: tuple[Norm, ...]  # BatchNorm layers, where drift is measured
    size: int | None  # px: the only input size of the program; None for any


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """A converted backbone."""

    facts: Facts
    content: bytes
    _runners: dict[int, LiteRT] = field(default_factory=dict, repr=False)

    def takes(self, size: int) -> bool:
        """Whether it runs at that input size in px."""
        if self.facts.size not in (None, size):
            return False
        try:
            self.runner(size).shapes()
        except (RuntimeError, ValueError):  # an input too small for the network
            return False
        return True

    def runner(self, size: int) -> LiteRT:
        """The program at an input size in px."""
        if size not in self._runners:
            self._runners[size] = LiteRT(self.content, len(self.facts.points), size, self.facts.channels)
        return self._runners[size]

    def opened(self, load: Callable[[int], Backbone]) -> OpenedBackbone:
        """The backbone from what is known of it; `load` loads the network at a size when it is first needed."""
        facts = self.facts

        def at(size: int) -> Backbone:
            if size < facts.smallest_size or not self.takes(size):
                return load(size)
            points = []
            for point, shape in zip(facts.points, self.runner(size).shapes(), strict=True):
                stride = point.stride and stride_of((size, size), shape)
                points.append(replace(point, shape=(*shape[:-1], point.shape[-1]), stride=stride))
            known = _known(facts) | {"points": tuple(points)}
            return Backbone(**known, input_size=size, load=lambda: load(size).graph)

        return OpenedBackbone(
            native_size=facts.native_size, smallest_size=facts.smallest_size, fixed=facts.fixed, at=at
        )


def has_litert() -> bool:
    """Whether LiteRT is installed."""
    return importlib.util.find_spec("ai_edge_litert") is not None


def find_program(identity: str) -> Program | None:
    """The stored program of a backbone; None if there is none, or if its file is not as it was written."""
    path = _path(identity)
    try:
        content = path.read_bytes()
    except OSError:
        return None
    with contextlib.suppress(OSError):  # a cache that is only read
        os.utime(path)  # the oldest are removed first
    digest, _, rest = content.partition(b"\n")
    facts, _, program = rest.partition(b"\n")
    if digest != _digest(rest):
        _LOG.warning("The converted network %s is damaged. It is made again.", path)
        return None
    try:
        known = msgspec.json.decode(facts, type=Facts, dec_hook=lambda _, values: np.array(values, np.float64))
        return Program(facts=known, content=program)
    except msgspec.DecodeError:  # of another state of this version
        return None


def make_program(backbone: Backbone, opened: OpenedBackbone, identity: str | None) -> Program:
    """Convert a backbone, for any input size if it can be, and store it if it has an identity.

    Raises `BuildError` if it can't be converted, or if the program gives other numbers.
    """
    from recommender.pipeline.keras_network import batch_norms, forward_of

    norms = batch_norms(backbone)
    places = norms or tuple(Norm(layer=point.layer, centre=np.zeros(1), scale=np.ones(1)) for point in backbone.points)
    forward, n_cuts, failure = forward_of(backbone, places, at_cuts=not norms), len(backbone.points), None
    pixels = np.random.default_rng(0).uniform(0, 255, (2, backbone.input_size, backbone.input_size, backbone.channels))
    expected = read_with_tensorflow(forward, n_cuts, pixels.astype(np.float32))
    for size in (None, backbone.input_size)[opened.fixed :]:
        try:
            program = Program(
                facts=_facts(backbone, opened, norms, size), content=convert(forward, n_cuts, backbone.channels, size)
            )
            if _agrees(program.runner(backbone.input_size)(pixels.astype(np.float32)), expected):
                break
            failure = "other numbers than TensorFlow's"
        except Exception as error:  # noqa: BLE001  # the converter raises many kinds of exception
            failure = first_line(error)
    else:
        raise BuildError(
            f"Expected {backbone.title} to become a LiteRT program. Received: {failure}. Leave out --engine: "
            "TensorFlow runs it."
        )
    if identity is not None:
        _store(program, _path(identity))
    return program


def _agrees(received: list[FloatArray], expected: list[FloatArray]) -> bool:
    return all(
        a.shape == b.shape and np.abs(a - b).max(initial=0.0) <= _TOLERANCE * np.abs(b).max(initial=1e-6)
        for a, b in zip(received, expected, strict=True)
    )


def _facts(backbone: Backbone, opened: OpenedBackbone, norms: tuple[Norm, ...], size: int | None) -> Facts:
    channels_only = (
        node if node.shape is None else replace(node, shape=(*(None for _ in node.shape[:-1]), *node.shape[-1:]))
        for node in backbone.nodes
    )
    known = _known(backbone) | {"native_size": opened.native_size, "nodes": tuple(channels_only)}
    return Facts(**known, smallest_size=opened.smallest_size, fixed=opened.fixed, taps=norms, size=size)


def _known(facts: BackboneFacts) -> dict[str, Any]:
    return {part.name: getattr(facts, part.name) for part in fields(BackboneFacts)}


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=32).hexdigest().encode()


def _path(identity: str) -> Path:
    """Where the program of a backbone is stored. Another converter makes another program."""
    made_by = [f"{name} {metadata.version(name)}" for name in ("netgraft", "tensorflow", "keras")]
    key = hashlib.blake2b("\n".join([str(_FORMAT), identity, *made_by]).encode(), digest_size=16)
    return cache_directory() / "programs" / f"{key.hexdigest()}{_SUFFIX}"


def _store(program: Program, path: Path) -> None:
    """Write a program if there is room for it, and remove the oldest ones beyond `MOST_BYTES`."""
    rest = msgspec.json.encode(program.facts, enc_hook=lambda array: array.tolist()) + b"\n" + program.content
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            written = Path(folder, path.name)
            written.write_bytes(_digest(rest) + b"\n" + rest)
            written.replace(path)
        stored = sorted(path.parent.glob(f"*{_SUFFIX}"), key=lambda file: file.stat().st_mtime, reverse=True)
        total = 0
        for file in stored:
            total += file.stat().st_size
            if total > MOST_BYTES and file != path:
                file.unlink(missing_ok=True)
