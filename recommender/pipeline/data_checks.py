"""Facts of the images that the checks of the data read."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from probes.data.image_index import SPLITS, TEST, TRAIN, VALIDATION, ImageIndex, reading_order
from probes.data.sampling import draw_sample
from probes.images.decode import quiet_decoders
from probes.images.image_facts import Inspection, inspect, record
from probes.network.features import Features


def inspect_sample(index: ImageIndex, features: Features, *, with_test: int, seed: int) -> Inspection:
    """Facts of the sample, read while it was measured, and of `with_test` test images, which are not measured."""
    measured = zip(features.files, features.labels.tolist(), features.validation.tolist(), features.facts, strict=True)
    copies = [(item.file, item.label, item.validation, item.facts) for item in features.skipped.copies]
    failed = [(item.file, item.label, item.validation, item.error) for item in features.skipped.failures]
    seen: list[tuple[str, int, str, Any]] = [
        (name, label, VALIDATION if held_out else TRAIN, facts)
        for name, label, held_out, facts in (*measured, *copies, *failed)
    ]
    names, labels, splits, found = zip(*seen, *_test_images(index, with_test, seed), strict=True)
    return Inspection(
        names=names,
        labels=np.array(labels, np.int64),
        splits=np.array([SPLITS.index(split) for split in splits], np.int8),
        rows=np.concatenate([record(place, facts) for place, facts in enumerate(found)]),
        reasons={name: str(facts) for name, facts in zip(names, found, strict=True) if isinstance(facts, Exception)},
    )


def _test_images(index: ImageIndex, wanted: int, seed: int) -> Iterator[tuple[str, int, str, Any]]:
    if not wanted or not any(index.test):
        return
    draw = draw_sample(index.test, wanted, seed)
    chosen = [
        (name, label)
        for label, (quota, names) in enumerate(zip(draw.quota, draw.candidates, strict=True))
        for name in names[:quota]
    ]
    names = [name for name, _ in chosen]
    with quiet_decoders():
        for place, facts in inspect(index.store, names, reading_order(index.store, names)):
            yield (*chosen[place], TEST, facts)
