"""Wrong labels: planted ones are found, as by a naive search, and images that are merely hard are not flagged."""

import numpy as np
import pytest

from probes.quality.label_errors import (
    CERTAINTY,
    LEAST_IMAGES,
    NEIGHBOURS,
    PRIOR_IMAGES,
    PRIOR_IMAGES_OF_A_CLASS,
    doubts,
    fit_noise,
    label_errors,
    neighbour_evidence,
)

TEMPERATURES, STEPS = (0.5, 0.8, 1.2), 5  # fewer, for a search in plain Python loops


def blobs(n_per_class, n_classes=4, distance=6.0, dimensions=8, seed=0):
    """Features of Gaussian classes at this distance, their labels, and the true class probabilities."""
    rng = np.random.default_rng(seed)
    centres = distance / np.sqrt(2) * np.eye(n_classes, dimensions)
    labels = np.repeat(np.arange(n_classes), n_per_class)
    features = centres[labels] + rng.normal(size=(len(labels), dimensions))
    logits = features @ centres.T
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return features, labels, powers / powers.sum(1, keepdims=True)


def with_flips(labels, share, seed=0):
    """Labels of which a share is changed, and the rows of these."""
    rng = np.random.default_rng(seed)
    flipped = rng.choice(len(labels), round(share * len(labels)), replace=False)
    n_classes = labels.max() + 1
    given = labels.copy()
    given[flipped] = (labels[flipped] + rng.integers(1, n_classes, len(flipped))) % n_classes
    return given, set(flipped.tolist())


def plain_confident_learning(probabilities, labels):
    """The number of images that the published rule flags."""
    thresholds = [probabilities[labels == label, label].mean() for label in range(probabilities.shape[1])]
    confident = np.where(probabilities >= thresholds, probabilities, 0.0)
    return int(((confident.argmax(1) != labels) & (confident.max(1) > 0)).sum())


def naive(probabilities, labels, features, groups):
    """The same search in plain Python loops: (index, suggested)."""
    n, k = probabilities.shape
    centred = features - features.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    evidence = np.zeros((n, k))
    for i in range(n):
        others = sorted((-float(unit[i] @ unit[j]), j) for j in range(n) if groups[j] != groups[i])
        nearest = [labels[j] for _, j in others[:NEIGHBOURS]]
        for c in range(k):
            possible = min(NEIGHBOURS, sum(labels == c) - (labels[i] == c))
            evidence[i, c] = np.log(max(probabilities[i, c], 1e-12)) + np.log((nearest.count(c) + 1) / (possible + 1))
    classes = [c for c in range(k) if sum(labels == c) >= LEAST_IMAGES]
    rows = [i for i in range(n) if labels[i] in classes and probabilities[i, labels[i]] > 0]
    doubt = {
        i: max(naive_doubt(evidence, labels, rows, classes, uniform)[i] for uniform in (True, False)) for i in rows
    }
    found = []
    for i in rows:
        top = max(classes, key=lambda c: evidence[i, c])
        if top != labels[i] and probabilities[i, top] > probabilities[i, labels[i]] and doubt[i] >= CERTAINTY:
            found.append((i, top))
    return found


def naive_doubt(evidence, labels, rows, classes, uniform):
    """For each image the probability that its label is wrong and its likeliest other class right."""
    best = None
    for temperature in TEMPERATURES:
        share = {}
        for i in rows:
            powers = {c: np.exp(temperature * evidence[i, c]) for c in classes}
            share[i] = {c: power / sum(powers.values()) for c, power in powers.items()}
        rate = {(a, c): 0.02 / len(classes) for a in classes for c in classes if a != c}
        for _ in range(STEPS):
            kept = {a: 1 - sum(rate[a, c] for c in classes if c != a) for a in classes}
            total, wrong = {}, {}
            for i in rows:
                joint = {a: share[i][a] * (kept[a] if a == labels[i] else rate[a, labels[i]]) for a in classes}
                total[i] = sum(joint.values())
                wrong[i] = {a: joint[a] / total[i] for a in classes}
            size = {a: sum(wrong[i][a] for i in rows) for a in classes}
            for a, c in rate:
                if uniform:
                    errors = sum(1 - wrong[i][c] for i in rows if labels[i] == c)
                    rate[a, c] = errors / (len(rows) - size[c] + PRIOR_IMAGES)
                else:
                    errors = sum(wrong[i][a] for i in rows if labels[i] == c)
                    rate[a, c] = errors / (size[a] + PRIOR_IMAGES_OF_A_CLASS)
        prior = [np.log(kept[a]) for a in classes]
        fit = sum(np.log(total[i]) for i in rows)
        fit += PRIOR_IMAGES * np.mean(prior) if uniform else PRIOR_IMAGES_OF_A_CLASS * sum(prior)
        if best is None or fit > best[0]:
            best = fit, wrong
    other = {i: max((c for c in classes if c != labels[i]), key=lambda c: evidence[i, c]) for i in rows}
    return {i: best[1][i][other[i]] for i in rows}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_errors_are_those_of_a_naive_search(seed, monkeypatch):
    monkeypatch.setattr("probes.quality.label_errors._TEMPERATURES", TEMPERATURES)
    monkeypatch.setattr("probes.quality.label_errors._STEPS", STEPS)
    features, labels, probabilities = blobs(30, n_classes=3, distance=5.0, seed=seed)
    given, _ = with_flips(labels, 0.1, seed)
    given[-3:] = 2
    probabilities = np.column_stack([probabilities, np.full(len(given), 1e-9)])  # a class of three images
    given[:3] = 3
    probabilities[5:8] = 0.0
    groups = np.arange(len(given)) // 2
    expected = naive(probabilities, given, features, groups)
    found = label_errors(probabilities, given, features, groups)
    assert expected
    assert sorted((error.index, error.suggested) for error in found) == expected


@pytest.mark.parametrize("n_classes", [2, 4, 12])
def test_planted_errors_are_found_with_few_others(n_classes):
    features, labels, probabilities = blobs(1000 // n_classes, n_classes, dimensions=12)
    given, flipped = with_flips(labels, 0.05)
    found = {error.index for error in label_errors(probabilities, given, features)}
    assert len(found & flipped) >= 0.9 * len(flipped)
    assert len(found & flipped) >= 0.95 * len(found)


def test_an_error_has_both_classes():
    features, labels, probabilities = blobs(50)
    given = labels.copy()
    given[7] = 3
    (error,) = label_errors(probabilities, given, features)
    assert (error.index, error.given, error.suggested) == (7, 3, 0)


@pytest.mark.parametrize("n_classes", [2, 6])
def test_one_class_taken_for_another_is_found(n_classes):
    features, labels, probabilities = blobs(200, n_classes=n_classes)
    given = labels.copy()
    given[:30] = 1
    found = label_errors(probabilities, given, features)
    assert len({error.index for error in found} & set(range(30))) >= 25
    assert all(error.given == 1 for error in found)


@pytest.mark.parametrize("distance", [1.0, 1.5, 2.0, 3.0, 6.0])
def test_right_labels_are_not_flagged_however_hard_the_classes_are(distance):
    features, labels, probabilities = blobs(250, distance=distance)
    assert label_errors(probabilities, labels, features) == ()
    assert label_errors(probabilities, labels) == ()


def test_nothing_is_flagged_where_confident_learning_flags_a_tenth_without_cause():
    features, labels, probabilities = blobs(250, distance=1.5)
    assert plain_confident_learning(probabilities, labels) > 0.1 * len(labels)
    assert label_errors(probabilities, labels, features) == ()


@pytest.mark.parametrize("sharpness", [0.3, 3.0])
def test_underconfident_or_overconfident_probabilities_are_calibrated_first(sharpness):
    features, labels, probabilities = blobs(250, distance=3.0)
    powers = probabilities**sharpness
    assert label_errors(powers / powers.sum(1, keepdims=True), labels, features) == ()


def test_the_most_certain_come_first():
    _, labels, probabilities = blobs(100)
    given, _ = with_flips(labels, 0.08)
    found = label_errors(probabilities, given)
    _, certainty = doubts(np.log(np.maximum(probabilities, 1e-12)), given)
    ranked = [certainty[error.index] for error in found]
    assert len(ranked) > 5
    assert ranked == sorted(ranked, reverse=True)


def test_the_order_of_the_images_does_not_matter():
    features, labels, probabilities = blobs(100, distance=5.0)
    given, _ = with_flips(labels, 0.08)
    order = np.random.default_rng(1).permutation(len(given))
    shuffled = label_errors(probabilities[order], given[order], features[order])
    assert {order[error.index] for error in shuffled} == {
        error.index for error in label_errors(probabilities, given, features)
    }


def test_images_that_were_not_evaluated_are_skipped():
    features, labels, probabilities = blobs(50)
    given = labels.copy()
    given[[3, 7]] = 2
    probabilities[3] = 0.0
    assert [error.index for error in label_errors(probabilities, given, features)] == [7]


def test_an_image_whose_class_was_in_no_training_fold_is_skipped():
    features, labels, probabilities = blobs(50)
    given = labels.copy()
    given[[3, 7]] = 2
    probabilities[3, 2] = 0.0
    assert [error.index for error in label_errors(probabilities, given, features)] == [7]


def test_a_class_of_few_images_is_neither_doubted_nor_suggested():
    features, labels, probabilities = blobs(50)
    few = LEAST_IMAGES - 1
    given = labels.copy()
    given[:few] = 4  # look like class 0
    five = np.column_stack([probabilities, np.full(len(given), 1e-6)])
    assert label_errors(five, given, features) == ()
    given[:few], given[100] = 0, 4
    five[60:62] = [0.0, 0.01, 0.0, 0.0, 0.99]
    assert label_errors(five, given, features) == ()


@pytest.mark.parametrize(
    ("labels", "n_classes"),
    [([0, 1], 2), ([0] * 20, 2), ([0, 1, 2, 3] * 2, 4), (list(range(1000)) * 2, 1000), ([0] * 20 + [1], 2)],
)
def test_too_few_images_a_class_are_not_judged(labels, n_classes):
    labels = np.array(labels)
    probabilities = np.full((len(labels), n_classes), 1 / n_classes)
    assert label_errors(probabilities, labels, np.eye(len(labels), 8)) == ()


def test_without_an_evaluated_image_nothing_is_flagged():
    assert label_errors(np.zeros((40, 2)), np.repeat([0, 1], 20)) == ()


def test_equal_features_do_no_harm():
    _, labels, probabilities = blobs(50)
    given = labels.copy()
    given[7] = 3
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        found = label_errors(probabilities, given, np.ones((len(given), 8)))
    assert 7 in {error.index for error in found}


def test_votes_of_neighbours_are_a_share_of_those_possible():
    angles = np.deg2rad([0, 1, 2, 180, 181, 182])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = np.array([0, 0, 1, 1, 1, 1])
    evidence = neighbour_evidence(features, labels, None, 3)
    # All five others are among the ten nearest: one of one other 0, four of four 1.
    np.testing.assert_allclose(evidence[0], [np.log(2 / 2), np.log(5 / 5), np.log(1 / 1)])
    apart = neighbour_evidence(features, labels, np.array([0, 0, 1, 1, 1, 1]), 3)
    np.testing.assert_allclose(apart[0], [np.log(1 / 2), np.log(5 / 5), 0.0])


def test_only_the_nearest_neighbours_vote():
    rng = np.random.default_rng(0)
    features = rng.normal(0, 0.1, (30, 2)) + np.repeat([[10.0, 0.0], [-10.0, 0.0]], 15, axis=0)
    evidence = neighbour_evidence(features, np.repeat([0, 1], 15), None, 2)
    np.testing.assert_allclose(evidence[:15], [[0.0, np.log(1 / 11)]] * 15)


def test_images_of_the_same_group_do_not_vote():
    features, labels, _ = blobs(30, distance=3.0)
    copies = np.repeat(features[:1], NEIGHBOURS, axis=0)
    both = np.concatenate([features, copies])
    given = np.concatenate([labels, np.full(NEIGHBOURS, 3)])
    groups = np.concatenate([np.arange(len(labels)), np.zeros(NEIGHBOURS, int)])
    alone = neighbour_evidence(both, given, None, 4)[0]
    grouped = neighbour_evidence(both, given, groups, 4)[0]
    assert alone.argmax() == 3
    assert grouped.argmax() == 0


@pytest.mark.parametrize("uniform", [True, False])
def test_rates_and_temperature_of_simulated_labels_are_recovered(uniform):
    rng = np.random.default_rng(0)
    evidence = rng.normal(0, 6.0, (20_000, 3))
    powers = np.exp(0.5 * evidence)
    shares = powers / powers.sum(1, keepdims=True)
    rates = [[0.91, 0.06, 0.03], [0.02, 0.95, 0.03], [0.02, 0.06, 0.92]]
    if not uniform:
        rates = [[0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.05, 0.95]]
    chances = shares @ np.array(rates)
    labels = (chances.cumsum(1) > rng.random((len(evidence), 1))).argmax(1)
    noise = fit_noise(evidence, labels, uniform=uniform)
    np.testing.assert_allclose(noise.rates, rates, atol=0.02)
    assert noise.temperature == pytest.approx(0.5, rel=0.2)


@pytest.mark.parametrize("uniform", [True, False])
def test_the_doubt_about_an_image_is_that_of_bayes_theorem(uniform):
    evidence = np.zeros((200, 2))
    evidence[:100, 0] = evidence[100:, 1] = 5.0
    labels = np.repeat([0, 1], 100)
    labels[0] = 1
    noise = fit_noise(evidence, labels, uniform=uniform)
    likely = 1 / (1 + np.exp(-5.0 * noise.temperature))
    error, right = likely * noise.rates[0, 1], (1 - likely) * noise.rates[1, 1]
    assert noise.wrong[0] == pytest.approx(error / (error + right), rel=0.05)


def test_only_labels_that_contradict_the_evidence_are_in_doubt():
    evidence = np.random.default_rng(0).normal(0, 3.0, (60, 3))
    labels = np.arange(60) % 3
    best, certainty = doubts(evidence, labels)
    assert (best == evidence.argmax(1)).all()
    assert (certainty[best == labels] == 0.0).all()
    assert (certainty[best != labels] > 0.0).all()


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_meaningless_labels_do_no_harm(n_classes):
    features, labels, probabilities = blobs(40, n_classes)
    rng = np.random.default_rng(0)
    assert len(label_errors(probabilities, rng.permutation(labels), features)) < len(labels)
    assert len(label_errors(probabilities, (labels + 1) % n_classes, features)) <= len(labels)
    noise = fit_noise(np.log(np.maximum(probabilities, 1e-12)), rng.permutation(labels) // 2, uniform=True)
    assert np.isfinite(noise.rates).all()
    assert np.isfinite(noise.wrong).all()
