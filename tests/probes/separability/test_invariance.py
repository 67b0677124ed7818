"""Augmentations that fit the data: a mirrored photograph is a photograph, a mirrored digit is none."""

import numpy as np
import pytest
from pictures import photograph
from sklearn.datasets import load_digits

from probes.data.splits import Rows
from probes.images.decode import resize
from probes.images.prepare import Prepared
from probes.network.features import run_over, tapped
from probes.separability.augmentations import (
    BRIGHTNESS,
    CANDIDATES,
    SMALLEST_AREA,
    SYMMETRIES,
    augment,
    augmented_blocks,
)
from probes.separability.invariance import LEAST_IMAGES, keeps_label, measure_invariance, paired_difference
from probes.separability.linear_probe import judge

SIZE = 96
LEVELS = ("block4c_add", "top_activation")


def noise(n=6, size=20, channels=3, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (n, size, size, channels)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", CANDIDATES)
def test_an_augmented_picture_is_another_one_of_the_same_kind(name, channels):
    pixels = noise(channels=channels)
    before = pixels.copy()
    changed = augment(pixels, name, np.random.default_rng(1))
    assert (changed.shape, changed.dtype) == (pixels.shape, np.float32)
    assert 0 <= changed.min() <= changed.max() <= 255
    assert (changed != pixels).any(axis=(1, 2, 3)).all()
    assert (pixels == before).all()


@pytest.mark.parametrize("name", CANDIDATES)
def test_the_same_seed_gives_the_same_pictures(name):
    first, second, other = (augment(noise(), name, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (first == second).all()
    assert (first != other).any() == (name not in ("mirror", "flip"))


def test_symmetries_move_pixels_as_their_names_say():
    pixels = noise(n=40)
    turned = augment(pixels, "quarter_turn", np.random.default_rng(0))
    ways = {
        k for before, after in zip(pixels, turned, strict=True) for k in (1, 3) if (np.rot90(before, k) == after).all()
    }
    assert ways == {1, 3}
    assert (augment(pixels, "mirror", np.random.default_rng(0)) == pixels[:, :, ::-1]).all()
    assert (augment(pixels, "flip", np.random.default_rng(0)) == pixels[:, ::-1]).all()


def test_a_crop_enlarges_a_square_part_of_the_promised_area():
    size = 50
    ramp = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).astype(np.float32)  # x and y as colours
    cropped = augment(np.repeat(ramp[None], 50, 0), "crop", np.random.default_rng(0))
    inner = slice(5, -5)  # at the border, pixels are repeated
    slopes_x = np.diff(cropped[:, inner, inner, 0], axis=2)
    slopes_y = np.diff(cropped[:, inner, inner, 1], axis=1)
    areas = slopes_x.mean((1, 2)) * slopes_y.mean((1, 2))
    assert np.allclose(slopes_x, slopes_x.mean((1, 2), keepdims=True), atol=1e-4)
    assert np.allclose(slopes_x.mean((1, 2)), slopes_y.mean((1, 2)), atol=1e-4)
    assert SMALLEST_AREA - 1e-4 <= areas.min() <= areas.max() <= 1 + 1e-4
    assert np.ptp(areas) > 0.8 * (1 - SMALLEST_AREA)


def test_brightness_multiplies_colours_by_one_factor_and_leaves_alpha():
    pixels = noise(n=50, channels=4) / 2
    changed = augment(pixels, "brightness", np.random.default_rng(0))
    factors = changed[..., :3].sum((1, 2, 3)) / pixels[..., :3].sum((1, 2, 3))
    assert np.allclose(changed[..., :3], pixels[..., :3] * factors[:, None, None, None], rtol=1e-4)
    assert (changed[..., 3] == pixels[..., 3]).all()
    assert 1 - BRIGHTNESS - 1e-4 <= factors.min() <= factors.max() <= 1 + BRIGHTNESS + 1e-4


def test_the_interval_of_a_difference_is_that_of_bonett_and_price():
    before = np.array([True] * 6 + [False] * 4)
    after = np.array([True] * 3 + [False] * 3 + [True] * 1 + [False] * 3)  # 3 lost, 1 won of 10
    difference, (low, high) = paired_difference(before, after, np.ones(10))
    won, lost = 2 / 12, 4 / 12
    half = 1.96 * np.sqrt((won + lost - (won - lost) ** 2) / 12)
    assert difference == pytest.approx(-0.2)
    assert (low, high) == pytest.approx((won - lost - half, won - lost + half))


def test_where_nothing_changes_the_interval_shrinks_with_the_number_of_images():
    ends = [paired_difference(*np.ones((2, n), bool), np.ones(n))[1][1] for n in (10, 100, 1000)]
    assert ends[0] > 8 * ends[1] > 64 * ends[2] > 0


def cloud(n=200, seed=0, direction=0.0, apart=4.0):
    """Two classes `apart` along the first feature; the second has the mean `direction`; eight more say nothing."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    features = rng.normal(size=(n, 10))
    features[:, 0] += apart * (labels - 0.5)
    features[:, 1] += direction
    return features, labels


def ask(features, labels, copies, name="mirror", **options):
    chosen = np.arange(len(labels))
    (found,) = measure_invariance([features], {name: [copies]}, Rows.of(labels), chosen, seed=0, **options)
    return found


@pytest.mark.parametrize("name", CANDIDATES)
def test_copies_like_their_originals_keep_their_label(name):
    features, labels = cloud()
    found = ask(features, labels, features, name)
    assert found.keeps
    assert found.accuracy_plain > 0.9
    assert found.n == 200
    if name in SYMMETRIES:
        assert found.difference == 0
        assert found.told == 0.5
    else:
        assert abs(found.difference) < 0.03
        assert found.told is None


def test_copies_of_the_other_class_do_not():
    features, labels = cloud()
    copies = features * np.where(np.arange(10) == 0, -1, 1)
    found = ask(features, labels, copies)
    assert found.difference < -0.9
    assert found.difference == pytest.approx(found.accuracy_augmented - found.accuracy_plain)
    assert not found.keeps


def test_a_label_that_is_surely_kept_is_kept_though_the_copy_can_be_told():
    features, labels = cloud(n=400, direction=3.0, apart=12.0)
    copies = features * np.where(np.arange(10) == 1, -1, 1)
    found = ask(features, labels, copies)
    assert found.told > 0.95
    assert found.keeps


@pytest.mark.parametrize(("direction", "keeps"), [(0.0, True), (3.0, False)])
def test_where_accuracy_leaves_it_open_it_counts_whether_the_copy_can_be_told(direction, keeps):
    features, labels = cloud(direction=direction, apart=2.0)
    noisy = np.random.default_rng(1).normal(scale=0.3, size=features.shape) * (np.arange(10) == 0)
    copies = features * np.where(np.arange(10) == 1, -1, 1) + noisy
    found = ask(features, labels, copies)
    assert found.interval[0] < -0.02 < found.interval[1]
    assert (found.told > 0.9) == (not keeps)
    assert found.keeps == keeps


def test_a_crop_that_cuts_away_what_tells_the_class_is_refused():
    features, labels = cloud()
    assert not ask(features, labels, features * (np.arange(10) != 0), "crop").keeps


def test_a_crop_may_look_different_if_a_classifier_that_saw_crops_knows_it():
    features, labels = cloud(apart=8.0)
    copies = features + 40.0 * (np.arange(10) == 5) + 2.0 * (np.arange(10) == 0)
    found = ask(features, labels, copies, "crop")
    assert found.keeps
    assert found.accuracy_augmented > 0.95


@pytest.mark.parametrize("name", ["mirror", "crop"])
def test_no_image_is_judged_by_a_classifier_that_saw_its_group(name):
    rng = np.random.default_rng(0)
    half = rng.normal(size=(60, 200))
    labels = rng.integers(0, 2, 60)
    features, labels, groups = np.repeat(half, 2, 0), np.repeat(labels, 2), np.repeat(np.arange(60), 2)
    rows = Rows.of(labels, groups)
    (found,) = measure_invariance([features], {name: [features]}, rows, np.arange(120), seed=0)
    assert found.accuracy_plain < 0.75  # nothing can be learned; a classifier that saw the twin would be right
    assert found.accuracy_augmented < 0.75


def test_validation_images_play_no_part():
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


def test_where_classes_count_alike_accuracy_is_their_mean():
    features, labels = cloud(n=300, apart=1.5)
    kept = (labels == 0) | (np.arange(300) % 10 == 1)  # five times as many of class 0
    features, labels = features[kept], labels[kept]
    alike, as_they_are = (ask(features, labels, features, balanced=balanced) for balanced in (True, False))
    judged = judge([features], Rows.of(labels), seed=0, balanced=True)
    assert alike.accuracy_plain == pytest.approx(judged.balanced_accuracy)
    assert as_they_are.accuracy_plain > alike.accuracy_plain


def test_too_few_images_leave_pictures_as_they_are():
    features, labels = cloud(n=LEAST_IMAGES - 2, apart=12.0)
    assert not ask(features, labels, features).keeps
    features, labels = cloud(n=LEAST_IMAGES + 40, apart=12.0)
    assert ask(features, labels, features).keeps
    assert measure_invariance([features[:2]], {"flip": [features[:2]]}, Rows.of([0, 1]), [0, 1], seed=0) == ()


def test_copies_of_a_single_group_say_nothing():
    features, labels = cloud(apart=2.0)
    groups = np.where(np.arange(200) < 80, 0, np.arange(200))
    copies = features[:80] * np.where(np.arange(10) == 0, 0.5, 1)
    (found,) = measure_invariance([features], {"mirror": [copies]}, Rows.of(labels, groups), np.arange(80), seed=0)
    assert found.told_interval == (0, 1)
    assert not found.keeps


def test_the_rule_does_not_augment_where_nothing_is_known():
    wide, narrow = (-0.3, 0.3), (-0.01, 0.01)
    assert not keeps_label(LEAST_IMAGES - 1, narrow, (0.4, 0.6))
    assert not keeps_label(LEAST_IMAGES, wide, (0.3, 0.9))
    assert not keeps_label(LEAST_IMAGES, wide, None)
    assert not keeps_label(LEAST_IMAGES, (-0.1, -0.03), (0.4, 0.6))
    assert keeps_label(LEAST_IMAGES, wide, (0.4, 0.6))
    assert keeps_label(LEAST_IMAGES, narrow, (0.9, 1.0))


@pytest.fixture(scope="module")
def network():
    from builders.backbones.load import load_backbone
    from recommender.pipeline.probed_network import probed_network

    return probed_network(load_backbone("efficientnet_lite0", SIZE))


@pytest.fixture(scope="module")
def run(network):
    return tapped(network)


def prepared(pixels, label, name):
    resized = resize(pixels, SIZE).numpy()
    return Prepared(pixels=resized, label=label, file=name, size=pixels.shape[1::-1], grey=False)


def answers(network, run, pictures, names):
    plain = run_over(network, pictures, run=run)
    augmented = augmented_blocks(network, pictures, names, seed=0, run=run)
    found = measure_invariance(
        [plain.pooled[level] for level in LEVELS],
        {name: [blocks[level] for level in LEVELS] for name, blocks in augmented.items()},
        Rows.of(plain.labels),
        np.arange(len(pictures)),
        seed=0,
    )
    return {each.name: each for each in found}


def test_augmented_features_are_those_of_the_augmented_pictures_in_the_order_of_the_stream(network, run):
    rng = np.random.default_rng(0)
    pictures = [prepared(np.asarray(photograph(rng)), 0, str(number)) for number in range(19)]
    found = augmented_blocks(network, iter(pictures), ("flip", "mirror"), seed=0, run=run)
    upside_down = run_over(network, [prepared(picture.pixels[::-1], 0, "") for picture in pictures], run=run)
    assert list(found) == ["flip", "mirror"]
    assert tuple(found["flip"]) == network.cuts
    for cut in network.cuts:
        assert np.allclose(found["flip"][cut], upside_down.pooled[cut], atol=1e-4)


def test_what_is_left_to_chance_depends_on_the_seed_and_not_on_the_other_augmentations(network, run):
    rng = np.random.default_rng(0)
    pictures = [prepared(np.asarray(photograph(rng)), 0, str(number)) for number in range(3)]
    alone, beside, other = (
        augmented_blocks(network, pictures, names, seed=seed, run=run)["crop"]["top_activation"]
        for names, seed in ((("crop",), 0), (("brightness", "crop"), 0), (("crop",), 1))
    )
    assert (alone == beside).all()
    assert not np.allclose(alone, other)


def test_mirrored_digits_are_refused_and_darker_ones_kept(network, run):
    data = load_digits()
    pictures = [
        prepared(np.repeat((pixels * 15.9)[..., None], 3, -1), int(label), str(number))
        for number, (pixels, label) in enumerate(zip(data.images[:200], data.target, strict=False))
    ]
    found = answers(network, run, pictures, ("mirror", "brightness"))
    assert not found["mirror"].keeps
    assert found["mirror"].told > 0.7
    assert found["brightness"].keeps


def test_mirrored_photographs_are_kept(network, run):
    rng = np.random.default_rng(0)
    pictures = [
        prepared(np.asarray(photograph(rng, source=number % 2)), number % 2, str(number)) for number in range(160)
    ]
    found = answers(network, run, pictures, ("mirror",))["mirror"]
    assert found.keeps
    assert found.accuracy_plain > 0.9
