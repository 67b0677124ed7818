"""The images of a training by gradient: read once, frozen_split, and the linear probe fitted that it starts from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.training.examples import Examples
from builders.training.inputs import Inputs, Pictures, Views
from probes.data.splits import Rows, balanced_weights
from probes.separability.linear_probe import solve
from recommender.fit.feature_pass import Gathered, OnDemand, gather
from recommender.fit.session import SOLVED_AT_ONCE, FitSession
from recommender.fit.split import HeldOut, hold_out, rows_of_everything


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


def read_all(session: FitSession) -> Data:
    """Decide on the augmentation, read every image once and part them."""
    options, frozen_split, index = session.options, session.frozen_split, session.found.index
    augmentation = _augmentation(session)
    gathered = gather(
        index,
        frozen_split,
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
        cached=None if frozen_split.takes_pictures else bool(gathered.inputs),
        inputs=_inputs(session, gathered, augmentation),
        notes=(*notes_on(session, len(gathered.features.skipped.failures)), *_crop_note(session)),
    )


def notes_on(session: FitSession, n_failed: int) -> tuple[str, ...]:
    """What a reader has to know: images that could not be read, and streams of which a sample is at hand."""
    index = session.found.index
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


def _crop_note(session: FitSession) -> tuple[str, ...]:
    if "crop" not in (session.options.augmentation or ()) or session.frozen_split.takes_pictures:
        return ()
    return ("Pictures are not cropped: what the frozen part makes of them is computed once.",)


def _augmentation(session: FitSession) -> tuple[str, ...]:
    """What the user says, else what is measured to keep the labels. A frozen part computed once can't be cropped."""
    if session.options.augmentation is not None:
        chosen = tuple(dict.fromkeys(session.options.augmentation))
    else:
        from recommender.fit.augmentation import fitting_augmentation

        chosen = fitting_augmentation(session.found, session.options.at("augmentation"))
    return chosen if session.frozen_split.takes_pictures else tuple(name for name in chosen if name == "mirror")


def _inputs(session: FitSession, gathered: Gathered, augmentation: Sequence[str]) -> Inputs:
    mirror, crop = "mirror" in augmentation, "crop" in augmentation
    if not gathered.inputs:
        return OnDemand(session.found.index, gathered.features.files, session.frozen_split, mirror=mirror, crop=crop)
    if session.frozen_split.takes_pictures:
        return Pictures(gathered.inputs[0], mirror=mirror, crop=crop)
    return Views(gathered.inputs)


def start_from_linear_probe(session: FitSession, data: Data) -> bool:
    """Fit the prediction layer on the images that are learnt from; False where the model has none that can be fitted.

    Reference:
        Kumar et al., Fine-tuning can distort pretrained features and underperform out-of-distribution, ICLR 2022.
    """
    if session.frozen_split.head_input is None:
        return False
    chosen = data.split.training
    if len(chosen) > SOLVED_AT_ONCE:
        chosen = _subset(chosen, data.rows.labels[chosen], session.options.seed)
    features: Any = data.gathered.features.pooled["head"][chosen]
    kernel, bias = solve(
        session.blocks(features),
        data.rows.taken(chosen).pooled(),
        session.n_classes,
        balanced=session.class_weight is not None,
    )
    session.model.layers[-1].set_weights([kernel, bias])
    return True


def _subset(numbers: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """`SOLVED_AT_ONCE` of the rows, at least one of each class."""
    from probes.data.sampling import quotas

    counts = np.bincount(labels)
    wanted = np.array(quotas(tuple(int(count) for count in counts), SOLVED_AT_ONCE))
    wanted = np.maximum(wanted, np.minimum(counts, 1))
    order = np.random.default_rng(seed).permutation(len(numbers))
    rank = np.empty(len(numbers), np.int64)
    for label in np.unique(labels):
        here = order[labels[order] == label]
        rank[here] = np.arange(len(here))
    return np.asarray(numbers[rank < wanted[labels]])
