"""A finished comparison on the tiny network, shared by all tests of this folder."""

import pytest
from pictures import write_images

from recommender import recommend
from recommender.comparison.candidates import tuned_candidates
from recommender.comparison.compare import compare
from recommender.comparison.shared_images import share_images
from recommender.progress import no_progress


@pytest.fixture(scope="session")
def three_classes(tmp_path_factory):
    """A folder with 24 pictures of each of three classes."""
    return write_images(tmp_path_factory.mktemp("data") / "three", {"temple": 24, "flower": 24, "digit": 24}, seed=3)


@pytest.fixture(scope="session")
def measured(three_classes, tiny_file):
    """A recommendation for the tiny network: `measured(scenario=3)`."""
    return lambda **options: recommend(three_classes, backbone=tiny_file, **options)


@pytest.fixture(scope="session")
def partly(measured):
    """A recommendation to fine-tune a part of the network. Never change it."""
    return measured(scenario=2)


@pytest.fixture(scope="session")
def shared(partly):
    """The images of its comparison."""
    return share_images(partly, budget=600.0, seed=0, progress=no_progress)


@pytest.fixture(scope="session")
def finished(partly):
    """A comparison with two fine-tuned strategies, the advice first, and what was reported meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        two = tuned_candidates(partly)[:2]
        patch.setattr("recommender.comparison.run.tuned_candidates", lambda _: two)
        for name in ("LEAST_STEPS", "LEAST_STEPS_DISSIMILAR"):
            patch.setattr(f"builders.training.schedule.{name}", 30)
        patch.setattr("builders.training.schedule.STEPS", 100)
        patch.setattr("builders.training.schedule.FEW_PHOTOGRAPHS", len(partly.rows))  # more than train here
        progress = []
        comparison = compare(
            partly,
            budget=600.0,
            augmentation=["mirror"],
            progress=lambda *at: progress.append(at),
        )
    return comparison, progress
