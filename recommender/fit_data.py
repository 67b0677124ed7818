"""The images of a training by gradient: read once, parted, and the linear probe fitted that it starts from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.examples import Examples
from builders.inputs import Inputs, Pictures, Views
from probes.linear_probe import solve
from probes.splits import Rows, balanced_weights
from recommender.fit_pass import Gathered, OnDemand, gather
from recommender.fit_split import HeldOut, hold_out, rows_of_everything
from recommender.fitting import SOLVED_AT_ONCE, Lesson


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Data:
    """All images, read once.

    Attributes:
        gathered: what the pass brought.
        rows: the images as the splitter sees them.
        split: which are learnt from, and which judge.
        augmentation: what is done to pictures at random.
        cached: whether the frozen part was computed once; None where nothing is frozen.
        inputs: what the tail reads, by row.
        notes: what a reader has to know of the images, in sentences.
    """

    gathered: Gathered
    rows: Rows
    split: HeldOut
    augmentation: tuple[str, ...]
    cached: bool | None
    inputs: Inputs
    notes: tuple[str, ...]

    def examples(self, numbers: npt.NDArray[np.int64], *, balanced: bool) -> Examples:
        """Some rows as a trainer takes them; weights have the mean 1."""
        labels, weights = self.rows.labels[numbers], self.rows.weights[numbers]
        if balanced and len(labels):
            weights = balanced_weights(labels, weights)
        mean = weights.mean() if len(weights) and weights.any() else 1.0
        return Examples(inputs=self.inputs, rows=numbers, labels=labels, weights=weights / mean)


def read_all(lesson: Lesson) -> Data:
    """Decide on the augmentation, read every image once and part them."""
    options, parted, index = lesson.options, lesson.parted, lesson.found.index
    augmentation = _augmentation(lesson)
    gathered = gather(
        index,
        parted,
        mirrored="mirror" in augmentation,
        keep_inputs=options.cache,
        progress=options.at("images"),
    )
    rows = rows_of_everything(index, gathered.features, options.seed)
    return Data(
        gathered=gathered,
        rows=rows,
        split=hold_out(rows, gathered.order, options.seed),
        augmentation=augmentation,
        cached=None if parted.takes_pictures else bool(gathered.inputs),
        inputs=_inputs(lesson, gathered, augmentation),
        notes=(*notes_on(lesson, len(gathered.features.skipped.failures)), *_crop_note(lesson)),
    )


def notes_on(lesson: Lesson, n_failed: int) -> tuple[str, ...]:
    """What a reader has to know: images that could not be read, and streams of which a sample is at hand."""
    index = lesson.found.index
    at_hand = sum(len(names) for names in index.files)
    notes = []
    if at_hand < index.n_images:
        notes.append(
            f"Of {index.n_images:,} training images the {at_hand:,} that were kept of the stream are learnt from, and "
            "judge: rare classes may be more frequent among them."
        )
    if n_failed:
        notes.append(f"{n_failed:,} images could not be read and were left out.")
    return tuple(notes)


def _crop_note(lesson: Lesson) -> tuple[str, ...]:
    if "crop" not in (lesson.options.augmentation or ()) or lesson.parted.takes_pictures:
        return ()
    return ("Pictures are not cropped: what the frozen part makes of them is computed once.",)


def _augmentation(lesson: Lesson) -> tuple[str, ...]:
    """What the user says, else what is measured to keep the labels. A frozen part computed once can't be cropped."""
    if lesson.options.augmentation is not None:
        chosen = tuple(dict.fromkeys(lesson.options.augmentation))
    else:
        from recommender.augmenting import fitting_augmentation

        chosen = fitting_augmentation(lesson.found, lesson.options.at("augmentation"))
    return chosen if lesson.parted.takes_pictures else tuple(name for name in chosen if name == "mirror")


def _inputs(lesson: Lesson, gathered: Gathered, augmentation: Sequence[str]) -> Inputs:
    mirror, crop = "mirror" in augmentation, "crop" in augmentation
    if not gathered.inputs:
        return OnDemand(lesson.found.index, gathered.features.files, lesson.parted, mirror=mirror, crop=crop)
    if lesson.parted.takes_pictures:
        return Pictures(gathered.inputs[0], mirror=mirror, crop=crop)
    return Views(gathered.inputs)


def start_from_linear_probe(lesson: Lesson, data: Data) -> bool:
    """Fit the prediction layer on the images that are learnt from; False where the model has none that can be fitted.

    Reference:
        Kumar et al., Fine-tuning can distort pretrained features and underperform out-of-distribution, ICLR 2022.
    """
    if lesson.parted.head_input is None:
        return False
    chosen = data.split.training
    if len(chosen) > SOLVED_AT_ONCE:
        chosen = _subset(chosen, data.rows.labels[chosen], lesson.options.seed)
    features: Any = data.gathered.features.pooled["head"][chosen]
    kernel, bias = solve(
        lesson.blocks(features),
        data.rows.taken(chosen).pooled(),
        lesson.n_classes,
        balanced=lesson.class_weight is not None,
    )
    lesson.model.layers[-1].set_weights([kernel, bias])
    return True


def _subset(numbers: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """`SOLVED_AT_ONCE` of the rows, at least one of each class."""
    from probes.drawing import quotas

    counts = np.bincount(labels)
    wanted = np.array(quotas(tuple(int(count) for count in counts), SOLVED_AT_ONCE))
    wanted = np.maximum(wanted, np.minimum(counts, 1))
    order = np.random.default_rng(seed).permutation(len(numbers))
    rank = np.empty(len(numbers), np.int64)
    for label in np.unique(labels):
        here = order[labels[order] == label]
        rank[here] = np.arange(len(here))
    return np.asarray(numbers[rank < wanted[labels]])
