"""The schedule of fine-tuning follows from the number of images and the options."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.errors import BuildError
from builders.training.optimizers import optimizer_for
from builders.training.schedule import CHECKS, LEAST_STEPS, plan_schedule


@settings(deadline=None, max_examples=25)
@given(n_images=st.integers(1, 1_000_000))
def test_the_schedule_is_whole_rounds_of_batches_no_larger_than_the_data(n_images):
    schedule = plan_schedule(n_images)
    assert schedule.steps % schedule.check_every == 0
    assert 1 <= schedule.steps // schedule.check_every <= 2 * CHECKS
    assert 1 <= schedule.batch_size <= n_images
    assert schedule.steps >= LEAST_STEPS


@settings(deadline=None, max_examples=25)
@given(n_images=st.integers(1_000, 100_000), factor=st.integers(2, 50))
def test_more_images_train_longer_and_each_is_seen_less_often(n_images, factor):
    small, large = plan_schedule(n_images), plan_schedule(factor * n_images)
    assert small.steps < large.steps < factor * small.steps + large.check_every


def test_epochs_are_the_number_of_times_that_each_image_is_seen():
    schedule = plan_schedule(960, epochs=4)
    assert schedule.steps * schedule.batch_size == 4 * 960


@pytest.mark.parametrize("length", ["steps", "epochs"])
def test_a_length_of_zero_trains_nothing(length):
    assert plan_schedule(100, **{length: 0}).steps == 0


def test_the_whole_network_trains_at_a_higher_rate_on_dissimilar_pictures():
    unlike = plan_schedule(1_000, dissimilar=True)
    assert unlike.learning_rate > plan_schedule(1_000).learning_rate
    assert plan_schedule(1_000, dissimilar=True, whole=False).learning_rate < unlike.learning_rate


def test_few_photographs_stay_nearer_to_the_start():
    few, many, unlike = plan_schedule(100), plan_schedule(1_000), plan_schedule(100, dissimilar=True)
    assert 0 < few.share < many.share == unlike.share <= 1


def test_few_pictures_unlike_the_sources_train_longer():
    assert plan_schedule(50, dissimilar=True).steps > plan_schedule(50).steps
    assert plan_schedule(5_000, dissimilar=True).steps == plan_schedule(5_000).steps


@settings(deadline=None, max_examples=25)
@given(steps=st.integers(1, 300))
def test_the_rate_rises_to_its_peak_after_the_warm_up_and_falls_to_zero(steps):
    schedule = plan_schedule(1_000, steps=steps, learning_rate=1.0)
    rate = optimizer_for(schedule)._learning_rate
    assert float(rate(0)) == pytest.approx(1 / (schedule.warm_up + 1))
    assert float(rate(schedule.warm_up)) == pytest.approx(1.0)
    middle = (schedule.warm_up + schedule.steps) / 2
    assert float(rate(middle)) == pytest.approx(0.5, abs=1e-5)
    assert float(rate(schedule.steps)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"epochs": 1, "steps": 1}, "both"),
        ({"epochs": -1}, "`epochs`"),
        ({"steps": -1}, "`steps`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"learning_rate": 0.0}, "`learning_rate`"),
        ({"learning_rate": float("nan")}, "`learning_rate`"),
        ({"steps": "4"}, "`steps` to be at least 0. Received: '4'"),
        ({"learning_rate": "1e-3"}, "`learning_rate` to be above 0. Received: '1e-3'"),
    ],
)
def test_an_argument_out_of_range_is_refused_in_one_line(arguments, named):
    with pytest.raises(BuildError, match=named) as caught:
        plan_schedule(100, **arguments)
    assert "\n" not in str(caught.value)
