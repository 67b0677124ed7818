"""Where the user asked for no scenario, `fit` tries fine-tuning against the best frozen model."""

from dataclasses import replace

import numpy as np
import pytest

from builders.training import schedule
from recommender import recommend
from recommender.fit import gate
from recommender.fit.plan import expected_seconds
from recommender.fit.result import FINE_TUNED, LINEAR_PROBE
from recommender.fit.trial import with_trial
from recommender.progress import no_progress
from recommender.rules import outcomes, thresholds
from recommender.rules.scenario import Scenario


@pytest.fixture
def unsure(tiny_found, monkeypatch):
    """Sixteen images, as many as a trial needs here; it is too close to call between the frozen model and another."""
    monkeypatch.setattr(thresholds, "TRIAL_IMAGES", 0)
    train_shortly(monkeypatch, rate=1e-6)
    return replace(tiny_found, verdict=too_close(tiny_found.verdict))


def train_shortly(monkeypatch, *, steps=2, rate=None):
    """Make that the usual training."""
    for name in ("LEAST_STEPS", "LEAST_STEPS_DISSIMILAR", "STEPS"):
        monkeypatch.setattr(schedule, name, steps)
    for name in ("LEARNING_RATE", "LEARNING_RATE_DISSIMILAR"):
        monkeypatch.setattr(schedule, name, rate or getattr(schedule, name))


def too_close(verdict):
    assert not verdict.scenario.fine_tunes
    return replace(verdict, settled=False, close=True, runner_up=Scenario.FULL_FINE_TUNE, trial=None)


def fit(found):
    return found.fit(augmentation=())


def test_a_rival_that_is_not_probably_better_leaves_what_build_returns_and_the_gain_is_reported(unsure, monkeypatch):
    monkeypatch.setattr(thresholds, "ACCEPTED", 1.1)
    result = fit(unsure)
    assert (result.chosen, result.found.scenario) == (LINEAR_PROBE, unsure.scenario)
    assert result.trials >= 1
    assert result.gain is not None
    assert "The frozen model is returned" in " ".join(result.notes)
    for ours, built in zip(result.model.get_weights(), unsure.build().get_weights(), strict=True):
        np.testing.assert_array_equal(ours, built)


def test_the_time_of_trials_is_counted_and_their_state_is_removed_where_the_frozen_model_returns(
    unsure, monkeypatch, tmp_path
):
    monkeypatch.setattr(thresholds, "ACCEPTED", 1.1)
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path))
    result = unsure.fit(augmentation=(), keep_state=True)
    assert result.chosen == LINEAR_PROBE
    assert result.seconds["fine_tune"] > 0
    assert list(tmp_path.rglob("state.npz"))
    result.forget()
    assert not list(tmp_path.rglob("state.npz"))


def test_a_rival_that_is_probably_better_is_returned_and_described(unsure, monkeypatch):
    monkeypatch.setattr(thresholds, "ACCEPTED", 0.0)
    result = fit(unsure)
    assert result.chosen == FINE_TUNED
    assert result.found.scenario is unsure.verdict.rival
    assert result.found.verdict.overridden is None
    assert result.found.to_dict()["scenario"]["id"] == unsure.verdict.rival.id


def test_advice_to_fine_tune_that_trials_reject_leaves_the_best_frozen_model_under_its_own_name(unsure, monkeypatch):
    monkeypatch.setattr(thresholds, "ACCEPTED", 1.1)
    advised = unsure.with_scenario(Scenario.FULL_FINE_TUNE)
    advised = replace(advised, verdict=replace(advised.verdict, settled=False, overridden=None))
    result = fit(advised)
    best = advised.verdict.best_frozen
    assert (result.chosen, result.found.scenario) == (LINEAR_PROBE, best)
    built = unsure.with_scenario(best, by_trial=True).build()
    for ours, theirs in zip(result.model.get_weights(), built.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_scenario_that_the_user_asked_for_is_not_tried_against_another(unsure):
    asked = unsure.with_scenario(Scenario.LINEAR_PROBE)
    assert asked.verdict.rival is None
    assert fit(asked).trials == 0


def test_the_plan_says_what_is_tried(unsure):
    assert unsure.training.schedule is not None
    assert unsure.training.trials >= 1


@pytest.fixture(scope="module")
def tried(two_classes, tiny_file):
    with pytest.MonkeyPatch.context() as patch:
        train_shortly(patch)
        return recommend(two_classes, backbone=tiny_file, trial=True)


def test_a_trial_is_part_of_the_answer_wherever_it_is_shown(tried):
    trial = tried.verdict.trial
    assert trial.scenario.fine_tunes
    assert 0 < trial.n_images <= 16
    assert trial.tuned - trial.frozen == pytest.approx(trial.gain)
    words = f"{100 * trial.gain:+.1f} points"
    assert words in str(tried)
    assert tried.seconds["trial"] == trial.seconds
    assert any(words in reason for reason in tried.reasons)
    assert tried.to_dict()["scenario"]["trial"]["n_images"] == trial.n_images


def test_a_model_that_a_trial_left_frozen_is_fitted_without_another(tried, monkeypatch):
    monkeypatch.setattr(thresholds, "TRIAL_IMAGES", 0)
    frozen = replace(tried.verdict, scenario=Scenario.LINEAR_PROBE)
    assert too_close(frozen).rival is not None
    assert tried.with_verdict(replace(too_close(frozen), trial=tried.verdict.trial)).fit().trials == 0


@pytest.mark.parametrize(
    ("options", "usual"), [({}, True), ({"steps": 2}, False), ({"learning_rate": 1e-12}, False)], ids=str
)
def test_of_a_training_that_is_not_the_usual_one_nothing_is_expected(options, usual, tried, monkeypatch):
    train_shortly(monkeypatch, steps=4)
    monkeypatch.setattr(thresholds, "ACCEPTED", 1.1)
    monkeypatch.setattr(gate, "SURE", 1.0)
    result = tried.with_scenario(3).fit(augmentation=(), **options)
    assert ("other data sets" in " ".join(result.notes)) == usual


def test_a_trial_counts_once_where_fit_tries_the_same_again(tried, monkeypatch):
    train_shortly(monkeypatch)
    monkeypatch.setattr(outcomes.Outcomes, "chance_after", lambda before, *_: seen.append(before) or 1.0)
    seen = []
    tried.with_scenario(tried.verdict.trial.scenario, by_trial=True).fit(augmentation=())
    untried = outcomes.outcomes(tried.verdict.task)
    assert seen
    np.testing.assert_array_equal(seen[0].draws, untried.draws)


def test_a_trial_that_can_hold_out_nothing_leaves_the_answer_with_a_warning(tmp_path, two_classes, tiny_file, caplog):
    for folder in (each for each in two_classes.iterdir() if each.is_dir()):
        (tmp_path / folder.name).mkdir()
        first = min(folder.iterdir())
        (tmp_path / folder.name / first.name).symlink_to(first)
    assert recommend(tmp_path, backbone=tiny_file, trial=True).verdict.trial is None
    assert "No trial was made: no image can be held out" in caplog.text


def test_a_trial_that_diverges_leaves_the_answer_with_a_warning(tiny_found, monkeypatch, caplog):
    train_shortly(monkeypatch, rate=1e30)
    assert with_trial(tiny_found, no_progress) is tiny_found
    assert "The trial decides nothing: its training diverged." in caplog.text


def test_the_time_of_a_fit_grows_with_its_trials_and_is_none_without_training(tiny_found):
    tuned = Scenario.FULL_FINE_TUNE
    assert expected_seconds(tiny_found, tuned) > expected_seconds(tiny_found, tuned, refit=False) > 0
    assert expected_seconds(tiny_found.with_scenario(1)) is None
