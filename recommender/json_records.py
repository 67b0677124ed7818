"""What `fit`, `compare` and `export` add to the JSON output, as records, and what all records share.

The fields of a record are the keys; their types and notes become `docs/recommendation.schema.json`.
"""

import math
from inspect import isclass
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from probes.evaluation import intervals
from recommender.explanation.text import printable

Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Pair = tuple[float, float]
ScenarioId = Literal[1, 2, 3, 4]


def note(text: str) -> Meta:
    """A description in the schema."""
    return Meta(description=text)


class Record(msgspec.Struct, forbid_unknown_fields=True):
    """An object of the JSON output."""

    @classmethod
    def of(cls, source: Any, **given: Any) -> Self:
        """A record of what is given, and for the other fields of the source's attributes of the same names."""
        values = {name: getattr(source, name) for name in cls.__struct_fields__ if name not in given} | given
        types = get_type_hints(cls)
        return cls(**{name: _as_records(value, types[name]) for name, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain data: lists for tuples and arrays, None for NaN, every text valid Unicode."""
        plain: dict[str, Any] = _plain(msgspec.to_builtins(self, enc_hook=lambda array: array.tolist()))
        return plain


def _as_records(value: Any, kind: Any) -> Any:
    """The value of a field, with a record for each object where the field's type names one."""
    record = next((part for part in (kind, *get_args(kind)) if isclass(part) and issubclass(part, Record)), None)
    if record is None or isinstance(value, (type(None), msgspec.UnsetType, record)):
        return value
    return [_as_records(item, record) for item in value] if get_origin(kind) is list else record.of(value)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


class Phase(Record):
    name: Literal["linear_probe", "fine_tune"]
    what: str
    steps: Count
    learning_rate: float | None
    trainable_parameters: Count


class Schedule(Record):
    steps: Annotated[Count, note("Batches in all.")]
    batch_size: Annotated[int, Meta(ge=1)]
    check_every: Annotated[int, Meta(ge=1), note("Steps between validation checks.")]
    learning_rate: Annotated[float, note("The peak.")]
    warm_up: Annotated[Count, note("Steps over which the rate rises.")]
    seed: Count
    share: Annotated[Share, note("Of the trained weights in their average with the start, which is returned.")]


class TrainingPlan(Record):
    """What training does."""

    phases: list[Phase]
    schedule: Annotated[Schedule | None, note("Null where the linear probe is the whole training.")]
    augmentation: Annotated[
        list[Literal["mirror", "shift", "brightness"]], note("Measured when training begins; empty before.")
    ]
    n_training: Annotated[Count, note("Images that the returned model trains on.")]
    n_held_out: Annotated[Count, note("Of a trial, which trains on the others; 0 without one.")]
    trials: Annotated[Count, note("Trainings at most that judge whether fine-tuning helps.")]
    refits: Annotated[bool, note("Whether fine-tuning that helps is repeated on all images.")]
    class_weight: list[float] | None
    cached: Annotated[bool | None, note("Whether the frozen part is computed once; null where nothing is frozen.")]
    precision: str
    seconds: Annotated[float | None, note("At most; estimated from timed steps when training begins, null before.")]
    resumed_at: Annotated[int | None, note("Step at which it resumes; 0 without a saved state, null if not asked.")]


class Gain(Record):
    difference: float
    interval: Annotated[Pair, note("90 % interval.")]

    @classmethod
    def measured(cls, gain: intervals.Gain | None) -> "Gain | None":
        """A gain with its interval as a pair."""
        return None if gain is None else cls(gain.difference, (gain.low, gain.high))


class Check(Record):
    step: Count
    accuracy: Share | None
    held_out_loss: float | None
    loss: Annotated[float | None, note("Mean over the batches since the check before; null at the start.")]
    learning_rate: float
    seconds: float


class Fit(Record):
    """Only after `recommend fit`."""

    chosen: Annotated[Literal["fine_tuned", "linear_probe", "as_given"], note("What the model is.")]
    judged_by: Literal["cross-validation", "held-out part", "validation", "nothing"]
    n_held_out: Count
    accuracy: Annotated[
        Share | None,
        note(
            "On new images: by those that judged, and, where all images fine-tuned the model, by what the decision "
            "expects."
        ),
    ]
    interval: Annotated[Pair | None, note("90 % interval of the accuracy.")]
    held_out_accuracy: Annotated[Share | None, note("On the images that judged, alone.")]
    start_accuracy: Annotated[Share | None, note("Of the frozen model on the same images.")]
    gain: Annotated[
        Gain | None, note("Of fine-tuning over the frozen model, paired, as a share; null without a trial.")
    ]
    trials: Annotated[Count, note("Trainings that judged whether fine-tuning helps.")]
    share: Annotated[Share | None, note("Of the trained weights in their average with the start; null if frozen.")]
    balanced_accuracy: Share | None
    balanced_interval: Annotated[Pair | None, note("90 % interval of the balanced accuracy.")]
    confusion: Annotated[list[list[Count]] | None, note("Rows true, columns predicted; null above 200 classes.")]
    precision: list[Share | None] | None
    recall: list[Share | None] | None
    calibration_error: Annotated[Share | None, note("Expected calibration error of the model as it is.")]
    temperature: Annotated[float, note("Divisor of the logits; 1 where that did not help.")]
    log_loss: float | None
    plan: TrainingPlan
    history: Annotated[list[Check], note("Validation checks of the first trial; the first is the start.")]
    interrupted: bool
    resumed_at: Annotated[Count | None, note("Step at which an earlier run was resumed.")]
    notes: list[str]
    seconds: Annotated[dict[str, float], note("By phase.")]
    peak_memory: Annotated[Count | None, note("Bytes.")]


class Row(Record):
    label: str
    scenario: ScenarioId
    recommended: bool
    cut: str
    freeze: str | None
    levels: list[str]
    accuracy: Annotated[Share, note("Over all images; of a fine-tuned one estimated from those that it was judged on.")]
    interval: Annotated[Pair, note("90 % interval.")]
    balanced_accuracy: Annotated[Share, note("On the images that it was judged on.")]
    behind: Annotated[Gain, note("The lead of choosing the best, paired on the images that judge both.")]
    n_judged: Annotated[Count, note("Images that it was judged on.")]
    seconds: float
    steps: Count
    full_steps: int | None
    share: Annotated[Share | None, note("Of the trained weights in their average with the start; null if frozen.")]
    gained: Annotated[bool | None, note("Whether fine-tuning is surely better than its start.")]


class CurvePoint(Record):
    n_images: float
    accuracy: Share
    standard_error: float


class Doubled(Record):
    accuracy: float
    interval: Annotated[Pair, note("90 % interval.")]


class LearningCurve(Record):
    """Of the linear probe, by number of images."""

    strategy: str | None
    points: list[CurvePoint]
    doubled: Doubled | None
    gain: Annotated[Pair | None, note("90 % interval.")]


class Comparison(Record):
    """Only after `recommend compare`."""

    verdict: Annotated[
        Literal["right", "tied", "wrong", "undecided", "unknown"],
        note("On the advice: undecided with too few images to tell, unknown if it was not trained."),
    ]
    sentence: str
    winner: str
    preferred: Annotated[str, note("Cheap, and within one standard error of the winner; --build writes it.")]
    recommended: str
    accuracy: Annotated[Share, note("Of choosing the best, each image judged by a choice that the others made.")]
    interval: Annotated[Pair, note("90 % interval.")]
    regret: Annotated[Gain | None, note("Of the recommended strategy; null where it was not trained.")]
    rows: list[Row]
    skipped: dict[str, str]
    n_training: Annotated[Count, note("Images that the fine-tuned strategies learnt from.")]
    n_held_out: Annotated[Count, note("Images that judge those.")]
    n_judged: Annotated[Count, note("Images that judge the frozen strategies.")]
    n_images: Count
    is_sample: bool
    judged_by: Annotated[Literal["cross-validation", "validation"], note("The frozen strategies.")]
    augmentation: list[str] | None
    learning_curve: LearningCurve | None
    interrupted: bool
    budget: float
    seconds: float


class Export(Record):
    format: str
    file: str
    size_bytes: Count
    takes: str
    largest_difference: float
    same_class: Share
    accuracy: Share | None
    model_accuracy: Annotated[Share | None, note("The Keras model's on the same held-out images.")]
