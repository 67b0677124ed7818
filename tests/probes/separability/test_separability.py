"""Linear classifiers on pooled features."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits

from probes.data.splits import Rows, held_out_splits
from probes.evaluation.intervals import accuracy_error
from probes.separability.discriminant import OVERSTATED, PENALTY, Moments, fit, fits, pareto_scale
from probes.separability.linear_probe import fit_linear_probe
from probes.separability.separability import measure_separability, neighbour_accuracy


@pytest.fixture(scope="module")
def digits():
    features, labels = load_digits(return_X_y=True)
    return features[:200], labels[:200].astype(np.int64)


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def pareto_scaled(values, widths=None):
    return (values - values.mean(0)) / pareto_scale(values.std(0), widths)


@settings(max_examples=30)
@given(arrays(np.float64, 4, elements=st.floats(0.1, 50)), st.integers(0, 2**32 - 1))
def test_pareto_scaling_divides_by_the_root_of_the_deviation(scales, seed):
    values = np.random.default_rng(seed).normal(size=(500, 4)) * scales
    scaled = pareto_scaled(values)
    deviation = scaled.std(0) / np.sqrt(values.std(0))
    assert deviation == pytest.approx(np.full(4, deviation[0]))
    assert (scaled**2).mean() == pytest.approx(1.0)


def test_constant_features_become_zero():
    assert (pareto_scaled(np.array([[1.0, 5.0], [2.0, 5.0]]))[:, 1] == 0).all()
    assert (pareto_scaled(np.ones((3, 2))) == 0).all()


def test_blocks_weigh_the_same_whatever_their_scale():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=(400, 4)), 100 * rng.normal(size=(400, 2))], axis=1)
    scaled = pareto_scaled(values, (4, 2))
    assert (scaled[:, :4] ** 2).mean() == pytest.approx(0.5)
    assert (scaled[:, 4:] ** 2).mean() == pytest.approx(0.5)


def gaussians(features, labels, weights):
    """Log of class shares and of tempered densities, with the penalised covariance; by SciPy."""
    scale = pareto_scale(np.sqrt(np.cov(features.T, aweights=weights, ddof=0).diagonal()))
    x = features / scale
    total = weights.sum()
    classes = np.unique(labels)
    means = [np.average(x[labels == each], axis=0, weights=weights[labels == each]) for each in classes]
    about = x - np.array(means)[np.searchsorted(classes, labels)]
    spread = np.cov(x.T, aweights=weights, ddof=0).trace()
    within = (about.T * weights) @ about / total + PENALTY * spread / total * np.eye(x.shape[1])
    shares = [weights[labels == each].sum() / total for each in classes]
    return np.stack(
        [
            np.log(share) + multivariate_normal.logpdf(x, mean, within) / OVERSTATED
            for share, mean in zip(shares, means, strict=True)
        ],
        axis=1,
    )


@pytest.mark.parametrize("n_images", [40, 200])  # fewer than features, and more
def test_the_classifier_is_that_of_gaussians_with_one_covariance(digits, n_images):
    features, labels = digits[0][:n_images, 3:], digits[1][:n_images]
    features = features[:, features.std(0) > 0]
    weights = np.random.default_rng(0).uniform(0.5, 2, n_images)
    weights /= weights.mean()
    found = fit(features, Rows.of(labels, weights=weights), 10).probabilities(features)
    assert found == pytest.approx(softmax(gaussians(features, labels, weights)), abs=1e-8)


@pytest.mark.parametrize("n_images", [60, 200])
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_folds_share_their_sums_and_give_what_each_gives_alone(digits, n_images, balanced, weighted):
    features, labels = digits[0][:n_images], digits[1][:n_images]
    groups = np.where((labels == 0) & (np.arange(n_images) % 3 > 0), n_images, np.arange(n_images))  # one large group
    weights = np.random.default_rng(0).uniform(0.1, 9, n_images) if weighted else None
    rows = Rows.of(labels, groups, weights=weights)
    splits = held_out_splits(rows, seed=3)
    found = fits(features, rows, splits, 10, widths=(20, 44), balanced=balanced)
    for (train, _), together in zip(splits, found, strict=True):
        alone = fit(features[train], rows.taken(train), 10, widths=(20, 44), balanced=balanced)
        assert together.probabilities(features) == pytest.approx(alone.probabilities(features), abs=1e-8)


@given(st.integers(0, 30), st.booleans(), st.integers(0, 2**32 - 1))
def test_the_moments_of_two_parts_add_up_to_those_of_the_whole(cut, products, seed):
    rng = np.random.default_rng(seed)
    features, indicators, weights = rng.normal(size=(30, 5)), np.eye(3)[rng.integers(3, size=30)], rng.uniform(size=30)

    def of(part):
        return Moments.of(features[part], indicators[part], weights[part], products=products)

    whole, first, second = of(slice(None)), of(slice(cut)), of(slice(cut, None))
    for found, expected in ((first + second, whole), (whole - first, second)):
        assert found.weights == pytest.approx(expected.weights)
        assert found.sums == pytest.approx(expected.sums)
        assert found.squares == pytest.approx(expected.squares)
        assert (found.products.size > 0) == products
        assert found.products == pytest.approx(expected.products)


def test_images_of_weight_zero_change_nothing(digits):
    features, labels = digits
    weights = np.where(np.arange(200) < 150, 1.0, 0.0)
    for width in (20, 64):
        weighted = fit(features[:, :width], Rows.of(labels, weights=weights), 10)
        plain = fit(features[:150, :width], Rows.of(labels[:150]), 10)
        assert weighted.probabilities(features[:, :width]) == pytest.approx(
            plain.probabilities(features[:, :width]), abs=1e-8
        )


def test_features_that_do_not_vary_leave_the_shares_of_the_classes():
    found = fit(np.ones((4, 2)), Rows.of([0, 0, 0, 1]), 2).probabilities(np.zeros((1, 2)))
    assert found == pytest.approx(np.array([[0.75, 0.25]]))


@given(
    arrays(np.int64, (9, 3), elements=st.integers(-4, 4)),
    arrays(np.int64, 9, elements=st.integers(0, 2)),
    arrays(np.int64, 9, elements=st.integers(0, 4)),
)
def test_neighbour_accuracy_agrees_with_the_naive_loop_over_other_groups(points, labels, groups):
    points[:, 0] = 5  # no point is 0
    groups[0], groups[1] = 0, 1  # every point has one of another group
    points = points + np.random.default_rng(0).normal(0, 1e-3, points.shape)  # no two are equally near
    rows = Rows.of(np.unique(labels, return_inverse=True)[1], groups)
    hits = []
    for i, x in enumerate(points):
        others = [j for j in range(9) if groups[j] != groups[i]]
        nearest = max(others, key=lambda j: x @ points[j] / np.linalg.norm(x) / np.linalg.norm(points[j]))
        hits.append(labels[nearest] == labels[i])
    assert neighbour_accuracy(points, rows) == pytest.approx(np.mean(hits))


@given(arrays(np.bool_, st.integers(1, 60)), st.floats(0.1, 9))
def test_the_standard_error_of_an_accuracy_is_never_zero_and_equal_weights_change_nothing(correct, weight):
    error = accuracy_error(correct)
    assert 0 < error <= 0.5
    assert accuracy_error(correct, np.full(len(correct), weight)) == pytest.approx(error)
    assert accuracy_error(~correct) == pytest.approx(error)


def test_the_standard_error_of_a_perfect_accuracy_is_not_zero():
    assert accuracy_error(np.ones(10, bool)) == pytest.approx(np.sqrt(11 / 12 * 1 / 12 / 12))
    assert accuracy_error(np.arange(10_000) % 2 == 0) == pytest.approx(0.005, rel=0.01)


@pytest.mark.parametrize("classes", [2, 5, 10])
def test_the_linear_probe_is_the_classifier_of_all_images(digits, classes):
    features, labels = digits
    chosen = labels < classes
    features, labels = features[chosen], labels[chosen]
    rows = Rows.of(labels)
    probe = fit_linear_probe([features[:, :20], features[:, 20:]], rows, classes, seed=0)
    expected = fit(features, rows, classes, widths=(20, 44)).probabilities(features)
    logits = probe.temperature * (features @ probe.kernel + probe.bias)
    assert softmax(logits) == pytest.approx(expected, abs=1e-9)


def test_a_class_without_images_starts_near_zero(digits):
    features, labels = digits
    chosen = labels < 3
    probe = fit_linear_probe([features[chosen]], Rows.of(labels[chosen] * 2), 6, seed=0)  # classes 0, 2, 4 of 6
    given = softmax(features[chosen] @ probe.kernel + probe.bias)
    assert given[:, [1, 3, 5]].max() < 1e-4
    assert (given.argmax(1) == labels[chosen] * 2).mean() > 0.95


def test_two_images_in_a_class_are_enough(digits):
    features, labels = digits
    chosen = np.concatenate([np.flatnonzero(labels == label)[:2] for label in range(4)])
    found = measure_separability({"a": features[chosen]}, Rows.of(labels[chosen]), seed=0)
    assert (found.folds, found.n_images, found.n_classes) == (2, 8, 4)
    assert 0 <= found.per_cut[0].accuracy <= 1
    assert found.per_cut[0].standard_error > 0


def test_a_rare_class_does_not_cost_the_others_their_folds(digits):
    features, labels = digits
    chosen = np.concatenate([np.flatnonzero(labels == 0)[:2], np.flatnonzero(labels == 1), np.flatnonzero(labels == 2)])
    assert measure_separability({"a": features[chosen]}, Rows.of(labels[chosen]), seed=0).folds == 5


def test_classes_of_a_single_image_are_left_out_and_reported(digits):
    features, labels = digits
    chosen = np.concatenate([np.flatnonzero(labels == 0)[:1], np.flatnonzero(labels == 1), np.flatnonzero(labels == 2)])
    found = measure_separability({"a": features[chosen]}, Rows.of(labels[chosen]), seed=0)
    assert found.n_classes == 2
    assert found.note == "left out: 1 of 3 classes, with a single image or group of images"


def test_data_without_two_classes_of_two_images_have_no_evidence_and_the_reason():
    found = measure_separability({"a": np.eye(3)}, Rows.of(np.arange(3)), seed=0)
    assert found.per_cut == ()
    assert found.folds == 0
    assert "two classes of at least two images" in found.note


def test_many_classes_take_part_all():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(80), 4)
    found = measure_separability({"a": 0.1 * rng.normal(size=(320, 4)) + labels[:, None]}, Rows.of(labels), seed=0)
    assert (found.n_classes, found.note) == (80, "")
    assert found.per_cut[0].accuracy > 0.5  # classes in a row hide none, as they would in a regression


def test_the_same_seed_gives_the_same_evidence(digits):
    features, labels = digits
    first = measure_separability({"a": features}, Rows.of(labels), seed=5)
    assert measure_separability({"a": features}, Rows.of(labels), seed=5) == first
