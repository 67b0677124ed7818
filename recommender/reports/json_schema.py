"""The records of the JSON output, and its JSON Schema.

`python -m recommender.reports.json_schema > docs/recommendation.schema.json` writes the schema.
"""

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from recommender.json_records import Comparison, Count, Export, Fit, Pair, Record, ScenarioId, Share, TrainingPlan, note

ScenarioName = Literal["LINEAR_PROBE", "PARTIAL_FINE_TUNE", "FULL_FINE_TUNE", "SHALLOW_FEATURES"]
Source = Literal[
    "folder", "manifest", "archive", "tfrecord", "webdataset", "parquet", "arrays", "paths", "stream", "dataset"
]


class ImagesPerClass(Record):
    min: int
    median: float
    max: int


class Dataset(Record):
    path: Annotated[str, note("The data as they were named.")]
    kind: Annotated[Source, note("Form in which the data came.")]
    splits: Annotated[dict[Literal["train", "validation", "test"], int], note("Images listed in each split.")]
    n_images: Annotated[int, Meta(ge=1), note("Training images, without unreadable files and repeats.")]
    n_classes: Annotated[int, Meta(ge=2)]
    class_counts: Annotated[dict[str, Count], note("Images of each class, in the order of the labels.")]
    file_counts: Annotated[list[Count], note("Readable training files of each class, repeats included.")]
    images_per_class: ImagesPerClass
    imbalance: Annotated[float, Meta(ge=1), note("Largest class over smallest.")]
    effective_classes: Annotated[float, Meta(ge=1), note("Exponential of the entropy of the class shares.")]
    median_size_px: Annotated[tuple[int, int], note("Native width and height in px, median over the sample.")]
    grey_share: Annotated[Share, note("Share of the sample without colour.")]
    n_sampled: Annotated[int, note("Images that were measured.")]
    n_checked: Annotated[int, note("Images that were checked, whether they could be read or not.")]
    unreadable: Annotated[dict[str, str], note("File to reason, of checked files; a full check gives at most 1,000.")]
    n_repeats: Annotated[Count, note("Training files that repeat another of their class, exactly or nearly.")]
    ignored: Annotated[dict[str, int], note("Suffix to number of files that are no images.")]


class MeasuredPixels(Record):
    drift: float
    runner_up: str
    runner_up_drift: float


class Pixels(Record):
    scaling: str | None
    measured: Annotated[MeasuredPixels | None, note("How the scaling was found, where it was not known.")]


class CutPoint(Record):
    layer: str
    depth: Share
    shape: list[int | None]
    parameters: Count


class Backbone(Record):
    name: str
    title: str
    source: str | None
    native_size: Annotated[int, note("px: what the weights were trained at, as far as is known.")]
    channels: Literal[1, 3, 4]
    fingerprint: Annotated[str, note("SHA-256 of the weights up to the last cut point.")]
    engine: Annotated[Literal["litert", "tensorflow"], note("What ran it over the images.")]
    pixels: Pixels
    cut_points: Annotated[list[CutPoint], Meta(min_length=1)]


class LayerDrift(Record):
    layer: str
    part: Literal["early", "middle", "late"]
    drift: float
    floor: Annotated[float, note("Drift of familiar pictures of the same resolution at this layer.")]


class Drift(Record):
    """Squared 2-Wasserstein distance to the source at each BatchNorm layer, in units of the source's variance."""

    early: float
    middle: float
    late: float
    per_layer: Annotated[list[LayerDrift], note("From input to output.")]


class SourceLabel(Record):
    label: str
    share: Share


class Similarity(Record):
    source: Annotated[str | None, note("What the network was trained on, where that is known.")]
    basis: Annotated[
        Literal["reference", "standard_photos", "out_of_distribution"], note("What drift is compared with.")
    ]
    score: Annotated[Share, note("1 as the source itself, 0.5 at the threshold, towards 0 beyond.")]
    standard_error: Annotated[float | None, note("Of the score, over bootstrap resamples of the images.")]
    interval: Annotated[Pair | None, note("90 % interval of the score, by the same resamples.")]
    verdict: Literal["similar", "dissimilar"]
    excess_drift: Annotated[float, note("Weighted early and middle drift above that of familiar pictures.")]
    threshold: Annotated[float, note("The excess drift at which the score is 0.5.")]
    margin: Annotated[float, note("Excess drift over threshold; up to 1 is similar.")]
    drift: Drift
    enlargement: Annotated[float, note("How many times the median picture is enlarged; below 1 it is shrunk.")]
    sharp_score: Annotated[Share, note("The score against pictures of full resolution.")]
    unit: Annotated[float, Meta(gt=0), note("Drift of this network that equals one unit of EfficientNet-Lite0's.")]
    frechet: Annotated[float | None, note("Fréchet distance of the target's embeddings to the source's; not deciding.")]
    kid: Annotated[float | None, note("Kernel distance between them; not deciding.")]
    source_confidence: Annotated[Share | None, note("Mean top probability of the network's own classifier.")]
    looks_like: Annotated[dict[str, list[SourceLabel]], note("For each class the source labels it gets most often.")]


class Size(Record):
    verdict: Literal["limited", "plentiful"]
    margin: Annotated[float, note("Images over those with which fine-tuning is expected to be as good as freezing.")]
    images_in_small_class: Annotated[Count, note("Of the smallest class; beyond 50 classes a few may be smaller.")]


class CutEvidence(Record):
    cut: str
    accuracy: Annotated[Share, note("Cross-validated, of the linear classifier on the pooled output.")]
    standard_error: float
    interval: Annotated[Pair, note("90 % interval of the accuracy.")]
    neighbour_accuracy: Annotated[Share, note("Leave-one-out, of the nearest neighbour by cosine.")]


class Separability(Record):
    per_cut: Annotated[list[CutEvidence], note("From input to output; empty where nothing could be cross-validated.")]
    folds: int
    n_images: int
    n_classes: int
    note: str


class RunnerUp(Record):
    id: ScenarioId
    name: ScenarioName


class Expected(Record):
    scenario: int
    accuracy: Annotated[Share, note("Expected on new images.")]
    low: Annotated[Share, note("Lower end of the 90 % interval.")]
    high: Share


class Trial(Record):
    """Training on a part of the images; accuracies of the others, balanced where the classes are weighted."""

    scenario: Annotated[ScenarioId, note("The fine-tuning that was tried.")]
    frozen: Annotated[Share, note("Accuracy of the frozen whole backbone.")]
    tuned: Annotated[float, note("Accuracy of the fine-tuned network.")]
    gain: Annotated[float, note("The second less the first, as a share.")]
    interval: Annotated[Pair, note("90 % interval of the gain.")]
    n_images: Annotated[Count, note("That were held out.")]
    seconds: Annotated[float, note("Of all trainings, with reading the images.")]


class Scenario(Record):
    id: ScenarioId
    name: ScenarioName
    confidence: Annotated[Share, note("Probability that no scenario is better by more than one point.")]
    close_call: Annotated[bool, note("Whether the confidence is below 0.6: too close to call.")]
    runner_up: RunnerUp
    gap: Annotated[float, note("Expected accuracy less that of the runner-up.")]
    textbook: Annotated[ScenarioId, note("What the textbook's table says by amount and similarity alone.")]
    images_needed: Annotated[
        float, note("With about how many images fine-tuning is expected to be as good as freezing.")
    ]
    expected: Annotated[list[Expected], note("Of each possible scenario, after training; the cheapest first.")]
    rival: Annotated[ScenarioId | None, note("Fine-tuning that is about as good, too close to call: `fit` tries it.")]
    trial: Annotated[Trial | None, note("Only with `--trial`.")]
    overridden: Annotated[ScenarioId | None, note("What the rules chose, where the user or `compare` chose another.")]


class Cut(Record):
    layer: str
    depth: Annotated[Share, note("Share of the backbone's weighted layers that is kept.")]


class Freeze(Record):
    layer: Annotated[str | None, note("The last frozen layer; null where nothing is frozen.")]
    depth: Share
    frozen_parameters: int
    trainable_parameters: int


class Head(Record):
    levels: Annotated[list[str], Meta(min_length=1), note("Cut points that it reads, pooled; the last is the cut.")]
    pooling: Literal["average"]
    classes: int
    activation: Literal["softmax"]


class Strategy(Record):
    backbone: str
    input_size: Annotated[int, note("Height and width in px.")]
    cut: Cut
    freeze: Freeze
    train_batch_norm: bool
    learning_rate: float
    head: Head


class Finding(Record):
    kind: str
    severity: Literal["error", "warning", "note"]
    n_files: Count
    examples: list[str]
    message: str
    done: Annotated[str, note("What was done about it.")]
    advice: Annotated[str, note("What the user may do.")]


class Recommendation(Record):
    """What `recommend DATA --json` prints, `Recommendation.to_dict()` returns and `--build` writes with the model.

    The same seed gives the same document apart from `seconds`. `fit`, `compare` and `--export` add their results. With
    `compare --build` the keys scenario, strategy, training, reasons and accuracies are those of the preferred strategy,
    which is written; `comparison.recommended` names the advice.
    """

    schema_version: Literal[6]
    dataset: Dataset
    backbone: Backbone
    similarity: Annotated[Similarity | None, note("Null where the network has nothing to measure it by.")]
    size: Size
    separability: Separability
    scenario: Scenario
    strategy: Strategy
    training: TrainingPlan
    expected_accuracy: Annotated[Share | None, note("Of the model as built, before `fit`.")]
    expected_accuracy_standard_error: float | None
    expected_accuracy_interval: Annotated[Pair | None, note("90 % interval.")]
    expected_balanced_accuracy: Annotated[Share | None, note("Mean over classes of each class's own accuracy.")]
    expected_balanced_accuracy_standard_error: float | None
    expected_balanced_accuracy_interval: Annotated[Pair | None, note("90 % interval.")]
    accuracy_from: Annotated[
        Literal["validation", "cross-validation"] | None,
        note("The user's validation split, or held-out folds. No group of images is on both sides."),
    ]
    n_held_out: Annotated[Count, note("Images of the user's validation split.")]
    class_weight: Annotated[list[float] | None, note("For training, by label, where the classes are unbalanced.")]
    probes: Annotated[dict[str, Any], note("Further records by name; input_size and backbone if these were measured.")]
    findings: Annotated[list[Finding], note("Problems of the data, the worst first; see docs/checks.md.")]
    reasons: Annotated[list[str], Meta(min_length=1)]
    warnings: list[str]
    seed: Annotated[Count, note("Of sample, folds and training.")]
    seconds: Annotated[dict[str, float], note("By phase.")]
    versions: dict[str, str]
    fit: Fit | UnsetType = UNSET
    comparison: Comparison | UnsetType = UNSET
    exports: Annotated[list[Export], note("Only after `--export`.")] | UnsetType = UNSET


def schema() -> dict[str, Any]:
    """The JSON Schema of the whole output."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Recommendation)}


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2, ensure_ascii=False))  # noqa: T201
