"""References of the user's own networks: made once from images of the source, found again by the weights."""

import shutil

import keras
import numpy as np
import pytest
from pictures import write_images
from tiny import tiny_network

from probes.errors import ProbeError
from probes.similarity.reference import find_reference, load_reference, own_directory, save_reference
from recommender import make_reference, recommend

L = keras.layers


def plain_network(seed=0):
    """A network without BatchNorm."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((48, 48, 3))
    x = L.Rescaling(1 / 127.5, offset=-1)(x)
    for width in (8, 8, 16, 16, 24):
        x = L.ReLU()(L.Conv2D(width, 3, strides=1 if width % 16 else 2, padding="same")(x))
    return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x)), name="plain")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("source"), {"temples": 30, "flowers": 30})


@pytest.fixture(scope="module")
def made(photographs, tmp_path_factory):
    """The reference of the network without BatchNorm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETGRAFT_DATA", str(tmp_path_factory.mktemp("made")))
        return make_reference(photographs, backbone=plain_network(), source="postcards")


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """The user's data directory, in a place with a blank."""
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path / "my data"))
    return tmp_path / "my data"


@pytest.fixture
def installed(made, data):
    """The reference in the user's data directory."""
    (data / "references").mkdir(parents=True)
    return shutil.copy(made, data / "references" / made.name)


def test_a_reference_is_found_by_the_weights(data, installed):
    assert own_directory() == installed.parent == data / "references"
    found = find_reference(installed.stem)
    assert (found.source, found.shipped, len(found.layers)) == ("postcards", False, 5)
    assert find_reference("0" * 64) is None


def test_the_shipped_reference_is_found_where_there_is_no_own_one():
    shipped = load_reference("efficientnet_lite1")
    assert find_reference(shipped.fingerprint) is shipped


def test_drift_of_the_source_itself_is_its_floor(installed):
    found = find_reference(installed.stem)
    assert np.abs(found.floor(48)).max() < 0.2
    norms = found.norms(48)
    assert [norm.layer for norm in norms] == list(found.layers)
    assert all((norm.scale >= 0).all() for norm in norms)


def test_a_reference_that_is_saved_again_is_the_same(installed):
    found = find_reference(installed.stem)
    again = find_reference(save_reference(found).stem)
    assert [path.name for path in installed.parent.iterdir()] == [installed.name]
    for name in ("layers", "labels", "source", "fingerprint"):
        assert getattr(again, name) == getattr(found, name)
    assert again.drift == pytest.approx(found.drift)
    assert again.embeddings == pytest.approx(found.embeddings, rel=1e-3)
    for one, other in zip(again.norms(48), found.norms(48), strict=True):
        assert one.centre == pytest.approx(other.centre)


def test_a_reference_fits_only_where_it_was_made():
    with_norms = load_reference("efficientnet_lite0")
    assert with_norms.fits(("any",), len(with_norms.layers))
    assert not with_norms.fits(("any",), 3)


@pytest.mark.usefixtures("installed")
def test_with_it_a_network_without_batch_norm_separates_photographs_from_strokes(tmp_path, two_classes):
    strokes = write_images(tmp_path / "strokes", {"-": 0, "--": 0, "some": 8, "more": 0, "none": 0, "others": 8})
    similar = recommend(two_classes, backbone=plain_network()).measurements.similarity
    dissimilar = recommend(strokes, backbone=plain_network()).measurements.similarity
    assert (similar.source, similar.basis) == ("postcards", "reference")
    assert similar.score > 0.8
    assert dissimilar.score < 0.5


@pytest.mark.usefixtures("installed")
def test_other_weights_do_not_use_it(two_classes):
    assert recommend(two_classes, backbone=plain_network(seed=1)).measurements.similarity is None


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("few", r"at least 50 readable pictures of the source. Received: 16"),
        ("empty", "which holds none"),
        ("nowhere", "no such file or directory"),
    ],
)
def test_a_folder_without_enough_images_is_refused(tmp_path, two_classes, folder, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ProbeError, match=message):
        make_reference(two_classes if folder == "few" else tmp_path / folder, backbone=plain_network())


def test_a_seed_out_of_range_is_refused(photographs):
    with pytest.raises(ProbeError, match="`seed` to be from 0 to"):
        make_reference(photographs, seed=-1)


def test_a_damaged_reference_is_reported(installed, two_classes):
    installed.write_bytes(installed.read_bytes()[:500])
    with pytest.raises(ProbeError, match=r"to be a reference. Received: .*make it again"):
        recommend(two_classes, backbone=plain_network())


def test_a_place_that_can_not_be_written_is_reported(data):
    data.write_text("a file in the way")
    with pytest.raises(ProbeError, match="NETGRAFT_DATA"):
        save_reference(load_reference("efficientnet_lite0"))


def test_the_command_makes_a_reference_of_a_network_with_batch_norm(photographs, data, tiny_file, invoke, two_classes):
    done = invoke("reference", photographs, "--backbone", tiny_file, "--max-images", "60")
    (file,) = (data / "references").iterdir()
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"Wrote {file}\n")
    found = recommend(two_classes, backbone=tiny_network()).measurements.similarity
    assert found.basis == "reference"
    assert found.score > 0.8


@pytest.mark.slow
def test_a_reference_of_ones_own_takes_precedence_over_the_shipped_one(photographs, two_classes):
    from builders.backbones.load import load_backbone

    shipped = recommend(two_classes, input_size=96).measurements.similarity
    path = make_reference(photographs, input_size=96, source="postcards")
    assert path.stem == load_backbone("efficientnet_lite0", 96).fingerprint
    own = recommend(two_classes, input_size=96).measurements.similarity
    assert (shipped.source, own.source) == ("ImageNet", "postcards")
    assert own.excess < shipped.excess
