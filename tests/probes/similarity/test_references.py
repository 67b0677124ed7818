"""References of one's own: made once from pictures of the source, found again by the weights."""

import keras
import numpy as np
import pytest
from pictures import write_images

from builders.backbones.load import load_backbone
from probes.errors import ProbeError
from probes.similarity.reference import find_reference, own_directory
from recommender import make_reference, recommend

L = keras.layers


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """The user's data directory, in a place with a blank."""
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path / "my data"))
    return tmp_path / "my data"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("source"), {"temples": 30, "flowers": 30})


def plain_network(seed=0):
    """A network without BatchNorm."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((48, 48, 3))
    x = L.Rescaling(1 / 127.5, offset=-1)(x)
    for width in (8, 8, 16, 16, 24):
        x = L.ReLU()(L.Conv2D(width, 3, strides=1 if width % 16 else 2, padding="same")(x))
    return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x)), name="plain")


def test_a_reference_is_found_by_the_weights(data, photographs):
    path = make_reference(photographs, backbone=plain_network(), source="postcards")
    assert path.parent == data / "references" == own_directory()
    found = find_reference(path.stem)
    assert (found.source, len(found.layers)) == ("postcards", 5)
    assert find_reference("0" * 64) is None


def test_with_it_a_network_without_batch_norm_tells_photographs_from_strokes(photographs, tmp_path, two_classes):
    make_reference(photographs, backbone=plain_network(), source="postcards")
    strokes = write_images(tmp_path / "strokes", {"-": 0, "--": 0, "some": 8, "more": 0, "none": 0, "others": 8})
    familiar = recommend(two_classes, backbone=plain_network()).measurements.similarity
    foreign = recommend(strokes, backbone=plain_network()).measurements.similarity
    assert (familiar.source, familiar.basis) == ("postcards", "reference")
    assert familiar.score > 0.8
    assert foreign.score < 0.5


def test_other_weights_have_another_reference(photographs, two_classes):
    make_reference(photographs, backbone=plain_network())
    assert recommend(two_classes, backbone=plain_network(seed=1)).measurements.similarity is None


def test_a_reference_of_ones_own_goes_before_the_shipped_one(photographs, two_classes):
    shipped = recommend(two_classes, input_size=96).measurements.similarity
    path = make_reference(photographs, input_size=96, source="postcards")
    assert path.stem == load_backbone("efficientnet_lite0", 96).fingerprint
    own = recommend(two_classes, input_size=96).measurements.similarity
    assert (shipped.source, own.source) == ("ImageNet", "postcards")
    assert own.excess < shipped.excess


def test_too_few_pictures_are_refused(two_classes):
    with pytest.raises(ProbeError, match=r"at least 50 readable pictures of the source. Received: 16"):
        make_reference(two_classes, backbone=plain_network())


def test_no_pictures_are_refused(tmp_path):
    with pytest.raises(ProbeError, match="which holds none"):
        make_reference(tmp_path, backbone=plain_network())
    with pytest.raises(ProbeError, match="no such file or directory"):
        make_reference(tmp_path / "nowhere", backbone=plain_network())


def test_a_broken_reference_is_told(photographs, two_classes):
    path = make_reference(photographs, backbone=plain_network())
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ProbeError, match=r"to be a reference. Received: .*make it anew"):
        recommend(two_classes, backbone=plain_network())


def test_a_place_that_can_not_be_written_is_told(photographs, data):
    data.write_text("a file in the way")
    with pytest.raises(ProbeError, match="NETGRAFT_DATA"):
        make_reference(photographs, backbone=plain_network())


def test_drift_of_the_source_itself_is_its_floor(photographs):
    path = make_reference(photographs, backbone=plain_network())
    found = find_reference(path.stem)
    assert np.abs(found.floor(48)).max() < 0.2
    norms = found.norms(48)
    assert [norm.layer for norm in norms] == list(found.layers)
    assert all((norm.scale >= 0).all() for norm in norms)


def test_the_command_makes_one_in_silence(photographs, data, run_cli):
    done = run_cli("reference", photographs, "--input-size", "96", "--max-images", "60")
    assert (done.returncode, done.stderr) == (0, "")
    (file,) = (data / "references").iterdir()
    assert done.stdout == f"Wrote {file}\n"
