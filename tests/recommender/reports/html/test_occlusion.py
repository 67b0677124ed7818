"""Where the network looks: covered cells against a model whose answer is known, and why there is no map."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from keras import layers, models, ops

from probes.images.decode import UnreadableImage
from recommender.fit.result import Predictions
from recommender.reports.html.occlusion import CELLS, MOST, evidence, occlusion_maps

SIZE = 28  # px: 4 for each cell


def reads(rows, columns):
    """A model whose log odds of class 1 against class 0 are the mean brightness, up to 1, of a part of the picture."""
    pictures = layers.Input((SIZE, SIZE, 3))
    mean = layers.Lambda(lambda x: ops.mean(x[:, rows, columns], axis=(1, 2, 3), keepdims=False)[:, None] / 255)(
        pictures
    )
    logits = layers.Concatenate()([ops.zeros_like(mean), mean, ops.zeros_like(mean)])
    return models.Model(pictures, layers.Softmax()(logits))


@pytest.fixture
def bright():
    """A black picture that is white in the third cell of the second row."""
    pixels = np.zeros((SIZE, SIZE, 3), np.float32)
    pixels[4:8, 8:12] = 255
    return pixels


def test_the_cell_that_the_model_reads_has_all_of_the_evidence(bright):
    found = evidence(reads(slice(4, 8), slice(8, 12)), bright, wrong=1, right=0)
    expected = np.zeros((CELLS, CELLS))
    expected[1, 2] = 1 - 1 / CELLS**2  # white becomes the mean colour
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_evidence_against_a_class_is_negative(bright):
    model = reads(slice(4, 8), slice(8, 12))
    np.testing.assert_allclose(
        evidence(model, bright, wrong=0, right=1), -evidence(model, bright, wrong=1, right=0), atol=1e-6
    )


@pytest.fixture
def mistaken(tiny_found, bright):
    """A recommendation and a training of six images, all of which are wrong."""
    names = tuple(f"{number}.jpg" for number in range(6))

    def open_(name):
        if name == "0.jpg":
            raise UnreadableImage("gone", "missing")
        return bright.astype(np.uint8)

    index = replace(tiny_found.index, store=SimpleNamespace(open=open_))
    strategy = replace(tiny_found.strategy, input_size=SIZE)
    found = replace(tiny_found, index=index, plan=replace(tiny_found.plan, strategy=strategy))
    said = Predictions.of(names, np.zeros(6, np.int64), np.tile([0.2, 0.7, 0.1], (6, 1)))
    return found, SimpleNamespace(model=reads(slice(4, 8), slice(8, 12)), predictions=said)


def test_the_first_mistakes_that_can_be_read_have_a_map(mistaken):
    found, fit = mistaken
    maps, why = occlusion_maps(found, fit, [0, 3, 1, 2, 4], thumbnails=True)
    assert [each.row for each in maps] == [3, 1, 2]
    assert len(maps) < MOST
    assert why == ""
    assert maps[0].cells[1][2] == 1.0
    assert maps[0].odds == pytest.approx(np.exp(1 - 1 / CELLS**2), rel=1e-3)
    assert maps[0].picture.startswith("data:image/jpeg")


def test_a_change_too_small_to_matter_is_shown_as_none(mistaken):
    found, fit = mistaken
    fit.model = reads(slice(0, SIZE), slice(0, SIZE))
    (only,), _ = occlusion_maps(found, fit, [1], thumbnails=True)
    assert only.odds == 1.0
    assert not np.any(only.cells)


@pytest.mark.parametrize(
    ("change", "thumbnails", "expected"),
    [
        ({"predictions": None}, True, "after training"),
        ({}, False, "left out, as the images are"),
        ({"model": None}, True, "left out"),
    ],
)
def test_a_map_that_is_not_made_has_its_reason(mistaken, change, thumbnails, expected):
    found, fit = mistaken
    vars(fit).update(change)
    maps, why = occlusion_maps(found, fit, [1], thumbnails=thumbnails)
    assert maps == []
    assert expected in why


def test_images_that_have_vanished_have_none(mistaken):
    maps, why = occlusion_maps(*mistaken, [0], thumbnails=True)
    assert maps == []
    assert "can't be read now" in why


def test_a_slow_network_is_not_asked_again(mistaken, monkeypatch):
    monkeypatch.setattr("recommender.reports.html.occlusion._SECONDS", -1.0)
    maps, why = occlusion_maps(*mistaken, [1, 2], thumbnails=True)
    assert [each.row for each in maps] == [1]
    assert "no time" in why
