"""The strategies that take part."""

import pytest

from recommender.comparison.candidates import frozen_candidates, tuned_candidates
from recommender.rules.scenario import Scenario


def test_every_scenario_takes_part_and_no_strategy_twice(partly):
    both = [*frozen_candidates(partly), *tuned_candidates(partly)]
    assert {candidate.scenario for candidate in both} == set(Scenario)
    labels = [candidate.label for candidate in both]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("scenario", [1, *(pytest.param(number, marks=pytest.mark.slow) for number in (2, 3, 4))])
def test_the_advice_comes_first_among_its_kind(measured, scenario):
    advised = measured(scenario=scenario)
    kinds = [frozen_candidates(advised), tuned_candidates(advised)]
    first = [candidates[0] for candidates in kinds if candidates[0].recommended]
    assert [candidate.strategy for candidate in first] == [advised.strategy]
    assert sum(candidate.recommended for candidates in kinds for candidate in candidates) == 1


def test_the_usual_form_of_every_scenario_comes_before_the_variants(partly):
    for candidates in (frozen_candidates(partly), tuned_candidates(partly)):
        usual = [candidate.usual for candidate in candidates]
        assert usual == sorted(usual, reverse=True)
        assert 2 <= sum(usual) < len(usual)


def test_scenario_3_is_fine_tuned_before_scenario_2(measured):
    assert [each.scenario.id for each in tuned_candidates(measured(scenario=1))[:2]] == [3, 2]


def test_what_fine_tuned_strategies_start_from_is_fitted_first(partly):
    first = [candidate.strategy.head.levels for candidate in frozen_candidates(partly) if candidate.usual]
    assert all(candidate.strategy.head.levels in first for candidate in tuned_candidates(partly))


def test_every_cut_is_read_alone(partly):
    alone = [each.strategy.cut for each in frozen_candidates(partly) if len(each.strategy.head.levels) == 1]
    assert set(alone) == {cut.layer for cut in partly.plan.cuts}


def test_freeze_depths_are_about_the_quarters(partly):
    depths = sorted(candidate.strategy.freeze_depth for candidate in tuned_candidates(partly))
    assert depths[0] == 0.0
    for wanted in (0.25, 0.5, 0.75):
        assert min(abs(depth - wanted) for depth in depths) < 0.26
