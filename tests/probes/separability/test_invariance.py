"""Augmentations that fit the data: a mirrored photograph is a photograph, a mirrored digit is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import photograph
from sklearn.datasets import load_digits
from tiny import SIZE, tiny_network

from builders.backbones.load import open_backbone
from probes.data.splits import Rows
from probes.images.decode import resize
from probes.images.prepare import Prepared
from probes.network.features import run_over
from probes.separability.invariance import (
    CLOSE,
    LEAST_IMAGES,
    MOST_RECOGNISED,
    SYMMETRIES,
    augmented_blocks,
    keeps_label,
    measure_invariance,
)
from probes.separability.linear_probe import judge
from recommender.pipeline.probed_network import probed_network

SEEDS = st.integers(0, 2**32 - 1)


def noise(n=6, size=20, channels=3, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (n, size, size, channels)).astype(np.float32)


def augment(pixels, name, rng):
    return np.stack([SYMMETRIES[name](picture, rng) for picture in pixels])


@pytest.mark.parametrize("name", SYMMETRIES)
class TestEverySymmetry:
    """What each of them holds to."""

    @settings(deadline=None, max_examples=20)
    @given(channels=st.sampled_from([1, 3, 4]), seed=SEEDS)
    def test_it_returns_another_image_of_the_same_shape_type_and_range(self, name, channels, seed):
        pixels = noise(channels=channels, seed=seed)
        before = pixels.copy()
        changed = augment(pixels, name, np.random.default_rng(seed))
        assert (changed.shape, changed.dtype) == (pixels.shape, np.float32)
        assert 0 <= changed.min() <= changed.max() <= 255
        assert (changed != pixels).any(axis=(1, 2, 3)).all()
        assert (pixels == before).all()

    def test_it_depends_on_the_seed_alone(self, name):
        first, second, other = (augment(noise(), name, np.random.default_rng(seed)) for seed in (3, 3, 4))
        assert (first == second).all()
        assert (first != other).any() == (name not in ("mirror", "flip"))

    def test_copies_equal_to_their_originals_keep_their_label(self, name):
        features, labels = cloud()
        found = measure(features, labels, features, name)
        assert found.keeps
        assert found.accuracy_plain > 0.9
        assert found.n == 200
        assert (found.difference, found.recognised) == (0, 0.5)

    def test_copies_of_the_other_class_do_not(self, name):
        features, labels = cloud()
        copies = features * np.where(np.arange(10) == 0, -1, 1)
        found = measure(features, labels, copies, name)
        assert found.difference == pytest.approx(found.accuracy_augmented - found.accuracy_plain)
        assert found.difference < -0.2
        assert not found.keeps

    def test_no_image_is_judged_by_a_classifier_that_was_fitted_on_its_group(self, name):
        rng = np.random.default_rng(0)
        features, labels = np.repeat(rng.normal(size=(60, 200)), 2, 0), np.repeat(rng.integers(0, 2, 60), 2)
        rows = Rows.of(labels, np.repeat(np.arange(60), 2))
        (found,) = measure_invariance([features], {name: [features]}, rows, np.arange(120), seed=0)
        assert found.accuracy_plain < 0.75  # nothing can be learned; a classifier that saw the twin would be right
        assert found.accuracy_augmented < 0.75


def test_symmetries_move_pixels_as_their_names_say():
    pixels = noise(n=40)
    turned = augment(pixels, "quarter_turn", np.random.default_rng(0))
    ways = {
        k for before, after in zip(pixels, turned, strict=True) for k in (1, 3) if (np.rot90(before, k) == after).all()
    }
    assert ways == {1, 3}
    assert (augment(pixels, "mirror", np.random.default_rng(0)) == pixels[:, :, ::-1]).all()
    assert (augment(pixels, "flip", np.random.default_rng(0)) == pixels[:, ::-1]).all()


def cloud(n=200, seed=0, direction=0.0, apart=4.0):
    """Two classes `apart` along the first feature; the second has the mean `direction`; eight more say nothing."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    features = rng.normal(size=(n, 10))
    features[:, 0] += apart * (labels - 0.5)
    features[:, 1] += direction
    return features, labels


def measure(features, labels, copies, name="mirror", **options):
    chosen = np.arange(len(labels))
    (found,) = measure_invariance([features], {name: [copies]}, Rows.of(labels), chosen, seed=0, **options)
    return found


def test_a_label_that_is_surely_kept_is_kept_although_the_copy_is_recognised():
    features, labels = cloud(n=400, direction=3.0, apart=12.0)
    copies = features * np.where(np.arange(10) == 1, -1, 1)
    found = measure(features, labels, copies)
    assert found.recognised > 0.95
    assert found.keeps


@pytest.mark.parametrize(("direction", "keeps"), [(0.0, True), (3.0, False)])
def test_if_accuracy_leaves_it_open_the_share_of_recognised_copies_decides(direction, keeps):
    features, labels = cloud(direction=direction, apart=2.0)
    noisy = np.random.default_rng(1).normal(scale=0.3, size=features.shape) * (np.arange(10) == 0)
    copies = features * np.where(np.arange(10) == 1, -1, 1) + noisy
    found = measure(features, labels, copies)
    assert found.interval[0] < -0.02 < found.interval[1]
    assert (found.recognised > 0.9) == (not keeps)
    assert found.keeps == keeps


def test_validation_images_take_no_part():
    features, labels = cloud(n=240)
    validation = np.arange(240) >= 200
    copies = features[:, ::-1]

    def answer(values, rows):
        copied = copies[: len(values)]
        return measure_invariance([values], {"mirror": [copied]}, rows, np.arange(len(values)), seed=0)

    spoilt = np.where(validation[:, None], 99.0, features)
    rows = Rows.of(labels, validation=validation)
    assert answer(features, rows) == answer(spoilt, rows) == answer(features[:200], Rows.of(labels[:200]))


def test_only_images_that_were_augmented_are_judged_whatever_their_order():
    features, labels = cloud()
    chosen = np.random.default_rng(5).permutation(200)[:90]
    copies = features[chosen][:, ::-1]
    found, turned = (
        measure_invariance([features], {"flip": [copies[order]]}, Rows.of(labels), chosen[order], seed=0)[0]
        for order in (np.arange(90), np.arange(90)[::-1])
    )
    assert found.n == 90
    assert found.accuracy_augmented == turned.accuracy_augmented
    assert found.difference == turned.difference


def test_with_equal_class_weights_accuracy_is_the_mean_over_classes():
    features, labels = cloud(n=300, apart=1.5)
    kept = (labels == 0) | (np.arange(300) % 10 == 1)  # five times as many of class 0
    features, labels = features[kept], labels[kept]
    balanced, plain = (measure(features, labels, features, balanced=each) for each in (True, False))
    judged = judge([features], Rows.of(labels), seed=0, balanced=True)
    assert balanced.accuracy_plain == pytest.approx(judged.balanced_accuracy)
    assert plain.accuracy_plain > balanced.accuracy_plain


def test_too_few_images_leave_pictures_as_they_are():
    features, labels = cloud(n=LEAST_IMAGES - 2, apart=12.0)
    assert not measure(features, labels, features).keeps
    features, labels = cloud(n=LEAST_IMAGES + 40, apart=12.0)
    assert measure(features, labels, features).keeps
    assert measure_invariance([features[:2]], {"flip": [features[:2]]}, Rows.of([0, 1]), [0, 1], seed=0) == ()


def test_copies_of_a_single_group_say_nothing():
    features, labels = cloud(apart=2.0)
    groups = np.where(np.arange(200) < 80, 0, np.arange(200))
    copies = features[:80] * np.where(np.arange(10) == 0, 0.5, 1)
    (found,) = measure_invariance([features], {"mirror": [copies]}, Rows.of(labels, groups), np.arange(80), seed=0)
    assert found.recognised_interval == (0, 1)
    assert not found.keeps


INTERVALS = st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(sorted).map(tuple)
SHARES = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).map(tuple)


@given(st.integers(0, 300), INTERVALS, SHARES)
def test_the_rule_is_its_table(n, interval, recognised):
    low, high = interval
    keeps = keeps_label(n, interval, recognised)
    if n < LEAST_IMAGES:
        assert not keeps
    elif low >= -CLOSE:  # surely no more is lost
        assert keeps
    elif high < -CLOSE:  # surely more is lost
        assert not keeps
    else:
        assert keeps == (recognised[1] <= MOST_RECOGNISED)


def prepared(pixels, label, name, size):
    resized = resize(pixels, size)
    return Prepared(pixels=resized, label=label, file=name, size=pixels.shape[1::-1], grey=False)


@pytest.fixture(scope="module")
def tiny():
    return probed_network(open_backbone(tiny_network()).at(SIZE))


@pytest.fixture(scope="module")
def some_photographs():
    rng = np.random.default_rng(0)
    return [prepared(np.asarray(photograph(rng)), 0, str(number), SIZE) for number in range(19)]


def test_augmented_features_are_those_of_the_augmented_images_in_the_order_of_the_stream(tiny, some_photographs):
    network = tiny
    found = augmented_blocks(network, iter(some_photographs), ("flip", "mirror"), seed=0)
    flipped = [
        Prepared(pixels=each.pixels[::-1], label=0, file="", size=(1, 1), grey=False) for each in some_photographs
    ]
    expected = run_over(network, flipped)
    assert list(found) == ["flip", "mirror"]
    assert tuple(found["flip"]) == network.cuts
    for cut in network.cuts:
        assert found["flip"][cut] == pytest.approx(expected.pooled[cut], abs=1e-4)


def test_random_changes_depend_on_the_seed_and_not_on_the_other_augmentations(tiny, some_photographs):
    network = tiny
    alone, with_another, other = (
        augmented_blocks(network, some_photographs[:3], names, seed=seed)["quarter_turn"][network.cuts[-1]]
        for names, seed in ((("quarter_turn",), 0), (("mirror", "quarter_turn"), 0), (("quarter_turn",), 2))
    )
    assert (alone == with_another).all()
    assert not np.allclose(alone, other)


@pytest.fixture(scope="module")
def lite():
    from builders.backbones.load import load_backbone

    return probed_network(load_backbone("efficientnet_lite0", 96))


def answers(lite, pictures, names):
    network = lite
    levels = ("block4c_add", "top_activation")
    plain = run_over(network, pictures)
    augmented = augmented_blocks(network, pictures, names, seed=0)
    found = measure_invariance(
        [plain.pooled[level] for level in levels],
        {name: [blocks[level] for level in levels] for name, blocks in augmented.items()},
        Rows.of(plain.labels),
        np.arange(len(pictures)),
        seed=0,
    )
    return {each.name: each for each in found}


@pytest.mark.slow
def test_mirrored_digits_are_refused(lite):
    data = load_digits()
    pictures = [
        prepared(np.repeat((pixels * 15.9)[..., None], 3, -1), int(label), str(number), 96)
        for number, (pixels, label) in enumerate(zip(data.images[:200], data.target, strict=False))
    ]
    found = answers(lite, pictures, ("mirror",))["mirror"]
    assert not found.keeps
    assert found.recognised > 0.7


@pytest.mark.slow
def test_mirrored_photographs_are_kept(lite):
    rng = np.random.default_rng(0)
    pictures = [
        prepared(np.asarray(photograph(rng, source=number % 2)), number % 2, str(number), 96) for number in range(160)
    ]
    found = answers(lite, pictures, ("mirror",))["mirror"]
    assert found.keeps
    assert found.accuracy_plain > 0.9
