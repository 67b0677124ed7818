"""The data of a training by gradient, and the linear probe that it starts from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from builders.training.data import Examples, Inputs, Pictures
from probes.data.sampling import quotas
from probes.separability.linear_probe import solve
from recommender.fit.images import FloatArray, SplitImages, rows_of_everything, run_pass, whole_sample
from recommender.fit.inputs import FrozenFeatures, StoredPictures, allocate, frozen_function, whole_numbers
from recommender.fit.session import SOLVED_AT_ONCE, FitSession

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Data:
    """All images, read once.

    Attributes:
        images: with their split.
        inputs: of the model's tail, by row.
        augmentation: some of "mirror" and "crop".
        cached: whether the outputs of the frozen part are kept; None if nothing is frozen.
        notes: what the user should know of the images, in sentences.
    """

    images: SplitImages
    inputs: Inputs
    augmentation: tuple[str, ...]
    cached: bool | None
    notes: tuple[str, ...]

    def training(self, *, balanced: bool) -> Examples:
        return self.images.examples(self.inputs, self.images.split.training, balanced=balanced)

    def held_out(self) -> Examples:
        return self.images.examples(self.inputs, self.images.split.held_out)


def read_all(session: FitSession) -> Data:
    """Choose the augmentation, run the frozen part over every image once, and split the images."""
    options, split, index = session.options, session.frozen_split, session.found.index
    augmentation = _augmentation(session)
    mirror, sample = "mirror" in augmentation, whole_sample(index)
    n, head = sample.n_wanted, [] if split.head_input is None else [split.head_input]
    stored = StoredPictures(index, (), split.size, split.channels, rounded=split.takes_pictures)
    pixels, frozen = None, None
    if not split.takes_pictures:
        frozen = FrozenFeatures(split, stored, n=n, mirror=mirror, keep=options.cache)
    elif options.cache:
        pixels = allocate((n, split.size, split.size, split.channels), np.uint8)
    run = frozen_function(split, head if frozen is None or frozen.values is None else [split.split, *head])

    def compute(rows: Numbers, pictures: FloatArray) -> dict[str, FloatArray]:
        outputs = run(pictures)
        if frozen is not None and frozen.values is not None:
            frozen.put(0, rows, outputs[0])
            frozen.put_mirrored(rows, pictures)
        elif pixels is not None:
            pixels[rows] = whole_numbers(pictures)
        return {"head": outputs[-1]} if head else {}

    features = run_pass(index, sample, split.size, split.channels, compute, options.at("images"))
    stored.files = features.files
    pictures = Pictures(pixels=stored if pixels is None else pixels, mirror=mirror, crop="crop" in augmentation)
    return Data(
        images=SplitImages.of(features, rows_of_everything(index, features, options.seed), options.seed),
        inputs=pictures if frozen is None else frozen,
        augmentation=augmentation,
        cached=None if frozen is None else frozen.values is not None,
        notes=(*notes_on(session, len(features.skipped.failures)), *_crop_note(session)),
    )


def notes_on(session: FitSession, n_failed: int) -> tuple[str, ...]:
    """What the user should know: images that could not be read, and streams of which a sample was kept."""
    index = session.found.index
    kept = sum(len(names) for names in index.files)
    notes = []
    if kept < index.n_images:
        notes.append(
            f"Of {index.n_images:,} training images, the {kept:,} that were kept of the stream are used for training "
            "and validation: rare classes may be more frequent among them."
        )
    if n_failed:
        notes.append(f"{n_failed:,} images could not be read and were left out.")
    return tuple(notes)


def _crop_note(session: FitSession) -> tuple[str, ...]:
    if "crop" not in (session.options.augmentation or ()) or session.frozen_split.takes_pictures:
        return ()
    return ("Pictures are not cropped, because the outputs of the frozen part are computed once.",)


def _augmentation(session: FitSession) -> tuple[str, ...]:
    """The user's choice, or what was measured to keep the labels; without "crop" if there is a frozen part."""
    chosen = session.options.augmentation
    if chosen is None:
        from recommender.fit.augmentation import fitting_augmentation

        chosen = fitting_augmentation(session.found, session.options.at("augmentation"))
    return tuple(name for name in dict.fromkeys(chosen) if name == "mirror" or session.frozen_split.takes_pictures)


def start_from_linear_probe(session: FitSession, images: SplitImages) -> bool:
    """Fit the prediction layer on the training images; False if the model has no dense one.

    Reference:
        Kumar et al., Fine-tuning can distort pretrained features and underperform out-of-distribution, ICLR 2022.
    """
    if session.frozen_split.head_input is None:
        return False
    chosen = images.split.training
    if len(chosen) > SOLVED_AT_ONCE:
        chosen = _subset(chosen, images.rows.labels[chosen], session.options.seed)
    kernel, bias = solve(
        session.blocks(images.features.pooled["head"][chosen]),
        images.rows.taken(chosen).pooled(),
        session.n_classes,
        balanced=session.class_weight is not None,
    )
    session.model.layers[-1].set_weights([kernel, bias])
    return True


def _subset(numbers: Numbers, labels: Numbers, seed: int) -> Numbers:
    """`SOLVED_AT_ONCE` of the rows, at least one of each class."""
    counts = np.bincount(labels)
    wanted = np.maximum(quotas(tuple(counts.tolist()), SOLVED_AT_ONCE), np.minimum(counts, 1))
    order = np.random.default_rng(seed).permutation(len(numbers))
    rank = np.empty(len(numbers), np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    return np.asarray(numbers[rank < wanted[labels]])
