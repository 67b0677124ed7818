"""The registry: a new probe is a function and one line."""

from dataclasses import dataclass

import numpy as np
import pytest

from probes.network.features import Features
from recommender import recommend
from recommender.pipeline import probes


@dataclass(frozen=True, slots=True, kw_only=True)
class Brightness:
    """Mean and standard deviation of the luma of the training images, 0 to 255."""

    mean: float
    deviation: float


def measure_brightness(features: Features) -> Brightness | None:
    values = np.array([facts.brightness for facts in features.facts])[~features.validation]
    return Brightness(mean=float(values.mean()), deviation=float(values.std())) if len(values) else None


def test_a_registered_probe_is_called_measured_and_reported(monkeypatch, two_classes, tiny_file, tiny_decided):
    more = {"brightness": lambda data: measure_brightness(data.features), "nothing": lambda _: None}
    monkeypatch.setattr(probes, "PROBES", {**probes.PROBES, **more})
    found = recommend(two_classes, backbone=tiny_file)
    document, without = found.to_dict(), tiny_decided.to_dict()
    assert found.measurements.extra["brightness"] == measure_brightness(found.features)
    assert document["probes"]["brightness"]["mean"] == pytest.approx(found.measurements.extra["brightness"].mean)
    assert document["probes"]["nothing"] is None
    assert {"brightness", "nothing"} <= set(document["seconds"])
    assert {name: value for name, value in document.items() if name in without} == {
        **without,
        "seconds": document["seconds"],
        "probes": document["probes"],
    }


def test_every_probe_may_be_called_again_with_the_same_answer(tiny_found):
    from recommender.pipeline.network_pass import NetworkPass

    passed = NetworkPass(
        backbone=tiny_found.backbone,
        network=tiny_found.network,
        features=tiny_found.features,
        reference=None,
    )
    data = probes.ProbeInput(
        passed=passed, rows=tiny_found.rows, class_names=("flower", "temple"), balanced=False, seed=0
    )
    assert probes.PROBES["similarity"](data) == tiny_found.measurements.similarity
    assert probes.PROBES["separability"](data) == tiny_found.measurements.separability
