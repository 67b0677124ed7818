"""Where the detector of out-of-distribution images that goes with a model is weak, in words."""

from probes.quality.findings import count
from recommender.pipeline.decision import Decision
from recommender.rules.scenario import Similarity

# Measured, benchmarks/out_of_distribution.py: detectors of photographs miss more than a fifth of some other kind of
# picture in 8 of 26 cases with fewer images, in none of 10 with as many. Detectors of other pictures never do.
ENOUGH = 300  # training images


def weak_detector(found: Decision) -> str:
    """A warning where few images are like what the network was trained on; empty elsewhere."""
    n_images = int(found.rows.training.sum())
    if found.verdict.similarity is not Similarity.SIMILAR or n_images >= ENOUGH:
        return ""
    return (
        f"The detector of out-of-distribution images that is written with the model is weak: it is fitted on "
        f"{count(n_images, 'image')} like what the network was trained on. With fewer than {ENOUGH} of them it misses "
        "more than a fifth of some other kind of picture in about a third of our measurements. A picture without a "
        "note may be of something else."
    )
