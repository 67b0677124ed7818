"""What the user should know of the data, the network and the detector before trusting the answer, in sentences."""

from collections.abc import Iterator

from probes.quality.findings import count
from recommender.explanation.verdict import MAKE_REFERENCE
from recommender.pipeline.decision import Decision
from recommender.rules import thresholds
from recommender.rules.scenario import Similarity

# Measured, benchmarks/out_of_distribution.py: detectors of photographs miss more than a fifth of some other kind of
# picture in 8 of 26 cases with fewer images, in none of 10 with as many. Detectors of other pictures never do.
ENOUGH = 300  # training images


def cautions(found: Decision) -> tuple[str, ...]:
    """The messages of the findings, then what else makes the answer less sure."""
    messages = (finding.message for finding in found.findings)
    parts = (_sample_cautions, _similarity_cautions, _network_cautions, _detector_cautions)
    return (*messages, *(text for part in parts for text in part(found)))


def _sample_cautions(found: Decision) -> Iterator[str]:
    size, note = found.measurements.size, found.measurements.separability.note
    if size.unsampled_classes:
        enough = min(2 * size.n_classes, size.n_images)
        yield (
            f"{count(len(size.unsampled_classes), 'class', 'classes')} had no room in the sample, so the model starts "
            "without any knowledge of them, and its accuracy before training counts their images as wrong. What is "
            f"expected after training is that of the others. Raise --max-images to {enough:,} or more."
        )
    if note:
        yield f"{note[0].upper()}{note[1:]}."


def _similarity_cautions(found: Decision) -> Iterator[str]:
    similarity, title = found.measurements.similarity, found.backbone.title
    smallest, native, size = thresholds.SMALLEST_INPUT, found.backbone.native_size, found.strategy.input_size
    if similarity is not None and not smallest <= size <= native:
        yield (
            f"The reference drift was measured at {smallest} to {native} px. At {size} px the nearest of these is "
            "used, and the similarity is less sure."
        )
    if similarity is not None and similarity.basis == "standard_photos":
        yield (
            f"There are no images of what {title} was trained on; two standard photographs are used instead. A "
            f"reference makes the similarity surer: {MAKE_REFERENCE}."
        )
    if similarity is not None and similarity.basis == "out_of_distribution":
        yield (
            f"Photographs are out-of-distribution for {title}: it was trained on other images, and its drift has no "
            f"known scale. Make a reference from such images: {MAKE_REFERENCE}."
        )


def _network_cautions(found: Decision) -> Iterator[str]:
    title, scaling = found.backbone.title, found.scaling
    if scaling is not None:
        yield (
            f"The pixel scaling of {title} was found from its BatchNorm statistics: {scaling.name}, with a drift of "
            f"{scaling.drift:.2f} in early layers, then {scaling.runner_up} with {scaling.runner_up_drift:.2f}. If you "
            "know a better one, name it with --pixels."
        )
    if found.strategy.freeze is not None and found.backbone.has_composite_layers:
        yield (
            "Keras does not save that layers inside a layer (as in attention) are frozen. Before you train a loaded "
            "model, set the flag of each frozen layer to True and back to False, and compile the model again."
        )
    if len(found.plan.cuts) == 1:
        why = found.backbone.whole
        yield f"{title} can't be cut inside and is used whole. {why}".rstrip()


def _detector_cautions(found: Decision) -> Iterator[str]:
    """Where the detector of out-of-distribution images that goes with a model is weak."""
    n_images = int(found.rows.training.sum())
    if found.verdict.similarity is Similarity.SIMILAR and n_images < ENOUGH:
        yield (
            f"The detector of out-of-distribution images that is written with the model is weak: it is fitted on "
            f"{count(n_images, 'image')} like what the network was trained on. With fewer than {ENOUGH} of them it "
            "misses more than a fifth of some other kind of picture in about a third of our measurements. A picture "
            "without a note may be of something else."
        )
