"""The schedule of fine-tuning follows from the number of images."""

import pytest

from builders.errors import BuildError
from builders.training.schedule import CHECKS, MIXUP_FROM_IMAGES, plan_schedule


def test_more_images_are_trained_on_for_longer_and_each_is_seen_less_often():
    small, large = plan_schedule(1_000), plan_schedule(100_000)
    assert small.steps < large.steps
    assert small.steps * small.batch_size / 1_000 > large.steps * large.batch_size / 100_000


def test_the_length_is_a_whole_number_of_looks():
    for n_images in (2, 10, 33, 317, 1_600, 50_000):
        schedule = plan_schedule(n_images)
        assert schedule.steps % schedule.check_every == 0
        assert 1 <= schedule.steps // schedule.check_every <= 2 * CHECKS


def test_epochs_count_how_often_each_image_is_seen():
    schedule = plan_schedule(960, epochs=4)
    assert schedule.steps * schedule.batch_size == 4 * 960


def test_no_batch_is_larger_than_the_data():
    assert plan_schedule(7).batch_size == 7


def test_no_steps_train_nothing():
    assert plan_schedule(100, steps=0).steps == 0
    assert plan_schedule(100, epochs=0).steps == 0


def test_pairs_are_mixed_only_where_images_are_many():
    assert plan_schedule(MIXUP_FROM_IMAGES - 1).mixup == 0
    assert plan_schedule(MIXUP_FROM_IMAGES).mixup > 0


def test_a_network_that_learns_to_see_anew_does_so_at_a_higher_rate():
    assert plan_schedule(1_000, anew=True).learning_rate > plan_schedule(1_000).learning_rate


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"epochs": 1, "steps": 1}, "both"),
        ({"epochs": -1}, "`epochs`"),
        ({"steps": -1}, "`steps`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"learning_rate": 0.0}, "`learning_rate`"),
        ({"learning_rate": float("nan")}, "`learning_rate`"),
        ({"optimizer": "lion"}, "'lion'"),
    ],
)
def test_what_is_out_of_range_is_refused_in_one_line(arguments, named):
    with pytest.raises(BuildError, match=named) as caught:
        plan_schedule(100, **arguments)
    assert "\n" not in str(caught.value)
