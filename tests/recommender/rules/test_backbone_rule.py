"""The choice among networks: a clearly better one wins, a tie goes to the cheaper, no evidence to ImageNet's order."""

import numpy as np
import pytest

from probes.evaluation.intervals import accuracy_error
from recommender.rules import thresholds
from recommender.rules.backbone_rule import BackboneEvidence, choose_backbone, sample_sizes, with_evidence


@pytest.fixture(autouse=True)
def _thresholds(monkeypatch):
    """Values that the numbers below rest on."""
    for name, value in {"DROPPED": 2.0, "TIED": 1.0, "PRIOR_SLOPE": 0.5, "PRIOR_IMAGES": 100}.items():
        monkeypatch.setattr(thresholds, f"BACKBONE_{name}", value)


def network(name, multiply_adds, imagenet_accuracy=None):
    return BackboneEvidence(
        name=name,
        input_size=224,
        imagenet_accuracy=imagenet_accuracy,
        multiply_adds=multiply_adds,
        megabytes=multiply_adds / 100,
    )


SMALL, LARGE = network("small", 100.0), network("large", 400.0)
WEAK, STRONG = network("weak", 100.0, 70.0), network("strong", 400.0, 80.0)


def right(n_images, *wrong):
    """Right on all images but these."""
    hits = np.ones(n_images, bool)
    hits[list(wrong)] = False
    return hits


def chosen(*correct, networks=(SMALL, LARGE), groups=()):
    return choose_backbone(with_evidence(networks, correct, groups))


@pytest.mark.parametrize(
    ("n_images", "sizes"), [(16, (16,)), (100, (100,)), (101, (100, 101)), (1000, (100, 300, 600))]
)
def test_the_sample_grows_up_to_all_images_or_600(n_images, sizes):
    assert sample_sizes(n_images) == sizes


def test_a_network_that_is_clearly_better_wins_whatever_it_costs():
    choice = chosen(right(100, *range(10)), right(100))
    assert (choice.name, choice.leader) == ("large", "large")
    assert [each.name for each in choice.tried] == ["large", "small"]
    assert choice.tried[1].dropped


def test_within_the_error_the_cheaper_one_wins():
    choice = chosen(right(100, 1, 2), right(100, 3))
    assert (choice.name, choice.leader) == ("small", "large")
    assert not choice.tried[1].dropped


def test_equal_networks_are_a_tie_for_the_cheaper():
    choice = chosen(right(50, 1), right(50, 1), networks=(LARGE, SMALL))
    assert (choice.name, choice.leader) == ("small", "small")
    assert choice.tried[1].gain == 0


def test_the_gain_and_its_error_are_those_of_the_paired_difference():
    small, large = with_evidence((SMALL, LARGE), [right(100, *range(6)), right(100, 0, 1)])
    difference = right(100, *range(6)).astype(float) - right(100, 0, 1)
    assert small.gain == pytest.approx(-0.04)
    assert small.gain_error == pytest.approx(difference.std(ddof=1) / 10)
    assert (large.gain, large.gain_error) == (0, 0)
    assert large.accuracy == pytest.approx(0.98)
    assert large.standard_error == accuracy_error(right(100, 0, 1).astype(bool))  # never 0


def test_only_a_network_that_is_surely_worse_is_dropped():
    small, _ = with_evidence((SMALL, LARGE), [right(100, *range(4)), right(100)])
    assert small.gain == pytest.approx(-0.04)
    assert small.dropped  # by 2.03 standard errors
    assert not with_evidence((SMALL, LARGE), [right(100, 1, 2, 3), right(100, 4)])[0].dropped


def test_images_of_one_group_count_as_fewer():
    wrong = right(100, *range(8))
    assert chosen(wrong, right(100)).tried[1].dropped
    grouped = with_evidence((SMALL, LARGE), [wrong, right(100)], groups=np.arange(100) // 10)
    assert not grouped[0].dropped
    assert grouped[0].gain_error > with_evidence((SMALL, LARGE), [wrong, right(100)])[0].gain_error


def test_what_was_dropped_is_not_chosen_even_if_it_is_cheapest():
    first = with_evidence((SMALL, LARGE), [right(100, *range(20)), right(100)])
    rest = with_evidence(first[1:], [right(300, 5)])
    choice = choose_backbone((first[0], *rest))
    assert [each.name for each in choice.tried] == ["large", "small"]


def test_the_prior_counts_as_so_many_images():
    weak, strong = with_evidence((WEAK, STRONG), [right(100, 1, 2), right(100, 1, 2)])
    assert weak.accuracy == strong.accuracy == pytest.approx(0.98)
    # half the weight each: 5 points apart by the prior, none by the images
    assert (weak.expected, strong.expected) == (pytest.approx(0.98 - 0.0125), pytest.approx(0.98 + 0.0125))
    weak, strong = with_evidence((WEAK, STRONG), [right(900), right(900)])
    assert strong.expected - weak.expected == pytest.approx(0.005)


def test_with_few_images_the_prior_decides_and_with_many_the_evidence():
    assert chosen(right(40, 1), right(40, 2), networks=(WEAK, STRONG)).name == "strong"
    many, better = right(1000, *range(100)), right(1000, *range(40))
    choice = chosen(better, many, networks=(WEAK, STRONG))
    assert (choice.name, choice.leader) == ("weak", "weak")
    assert choice.tried[1].dropped


def test_a_network_without_a_prior_is_taken_as_it_is_measured():
    weak, strong, mine = with_evidence(
        (WEAK, STRONG, network("mine", 50.0)), [right(100), right(100), right(100, *range(5))]
    )
    assert mine.expected == pytest.approx(mine.accuracy)
    assert (weak.expected + strong.expected) / 2 == pytest.approx(1)


def test_the_most_accurate_one_need_not_lead():
    choice = chosen(right(30, 1), right(30, 2, 3), networks=(WEAK, STRONG))
    assert choice.leader == "strong"
    assert next(each for each in choice.tried if each.name == "weak").gain > 0


def test_without_evidence_the_order_on_imagenet_decides():
    choice = choose_backbone((WEAK, STRONG))
    assert (choice.name, choice.leader) == ("strong", None)
    assert choice.tried[0].accuracy is None


def test_without_that_order_the_first_one_is_taken():
    assert choose_backbone((LARGE, SMALL)).name == "large"
    assert choose_backbone((LARGE, WEAK)).name == "weak"


def test_networks_are_listed_from_the_best_to_the_first_that_was_dropped():
    networks = [network(name, 100.0) for name in "abcd"]
    first = with_evidence(networks, [right(50), right(50, *range(20)), right(50, 1), right(50, *range(10))])
    assert [each.name for each in choose_backbone(first).tried] == ["a", "c", "d", "b"]
