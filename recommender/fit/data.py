"""The data of a training by gradient: the augmentation, every image read once, the linear probe that it starts from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from builders.training.data import Inputs, Pictures
from builders.training.schedule import AUGMENTATIONS
from probes.data.sampling import quotas
from probes.images.decode import in_order, quiet_decoders
from probes.images.prepare import Prepared
from probes.quality.findings import count
from probes.separability.invariance import augmented_blocks, measure_invariance
from probes.separability.linear_probe import solve
from recommender.fit.images import FloatArray, Numbers, SplitImages, rows_of_everything, run_pass, whole_sample
from recommender.fit.inputs import FrozenFeatures, StoredPictures, allocate, frozen_function, whole_numbers
from recommender.fit.plan import SOLVED_AT_ONCE, FitSession
from recommender.pipeline.reread_images import read_prepared

if TYPE_CHECKING:
    from recommender.pipeline.decision import Decision

_AUGMENTED_IMAGES = 250  # at most, as in benchmarks/results/invariance.jsonl, where the rule comes from
_MEASURED = ("mirror",)
_DEPTHS = (0.5, 1.0)  # cut depths whose features are compared, as there


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Data:
    """All images, read once."""

    images: SplitImages
    inputs: Inputs  # of the model's tail, by row
    augmentation: tuple[str, ...]
    cached: bool | None  # whether the outputs of the frozen part are kept; None if nothing is frozen
    notes: tuple[str, ...]  # what the user should know of the images, in sentences


def read_all(session: FitSession) -> Data:
    """Choose the augmentation, run the frozen part over every image once, and split the images."""
    options, split, index = session.options, session.frozen_split, session.found.index
    chosen = options.augmentation
    if chosen is None:
        chosen = fitting_augmentation(session.found, options.at("augmentation"))
    augmentation = tuple(dict.fromkeys(chosen))
    sample = whole_sample(index)
    n, head = sample.n_wanted, [] if split.head_input is None else [split.head_input]
    stored = StoredPictures(index, (), split.size, split.channels, rounded=split.takes_pictures)
    pixels, frozen = None, None
    if not split.takes_pictures:
        frozen = FrozenFeatures(split, stored, n=n, augmentation=augmentation, seed=options.seed, keep=options.cache)
    elif options.cache:
        pixels = allocate((n, split.size, split.size, split.channels), np.uint8)
    kept = [] if frozen is None or frozen.values is None else list(split.reads)
    run = frozen_function(split, [*kept, *head])

    def compute(rows: Numbers, pictures: FloatArray) -> dict[str, FloatArray]:
        outputs = run(pictures)
        if frozen is not None and kept:
            frozen.put(0, rows, outputs[: len(kept)])
        elif pixels is not None:
            pixels[rows] = whole_numbers(pictures)
        return {"head": outputs[-1]} if head else {}

    features = run_pass(index, sample, split.size, split.channels, compute, options.at("images"))
    stored.files = features.files
    pictures = Pictures(pixels=stored if pixels is None else pixels, augmentation=augmentation)
    return Data(
        images=SplitImages.of(features, rows_of_everything(index, features, options.seed), options.seed),
        inputs=pictures if frozen is None else frozen,
        augmentation=augmentation,
        cached=None if frozen is None else frozen.values is not None,
        notes=notes_on(session, len(features.skipped.failures)),
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
        notes.append(f"Left out, since unreadable: {count(n_failed, 'image')}.")
    return tuple(notes)


def fitting_augmentation(found: "Decision", progress: Callable[[int, int], None] | None = None) -> tuple[str, ...]:
    """Names of the augmentations under which the measured training images keep their labels.

    Small shifts and changes of brightness always count as such: crops to 70 % of the area and changes of brightness by
    20 % passed on all 14 sets of benchmarks/results/invariance.jsonl. Whether mirrored images do is measured.
    """
    training = np.flatnonzero(found.rows.training)
    chosen = np.random.default_rng(found.seed).permutation(training)[:_AUGMENTED_IMAGES]
    size, channels = found.strategy.input_size, found.backbone.channels

    def read(row: int) -> Prepared:
        name, label = found.features.files[row], int(found.features.labels[row])
        picture, pixels = read_prepared(found.index, name, size, channels)
        return Prepared(file=name, label=label, size=picture.size, grey=picture.grey, pixels=pixels)

    def pictures() -> Iterator[Prepared]:
        for done, item in enumerate(in_order(read, chosen.tolist(), workers=4, ahead=32), start=1):
            if progress is not None:
                progress(done, len(chosen))
            yield item

    points = found.plan.cuts
    depths = np.array([point.depth for point in points])
    cuts = list(dict.fromkeys(points[int(np.abs(depths - depth).argmin())].layer for depth in _DEPTHS))
    with quiet_decoders():
        copies = augmented_blocks(found.network, pictures(), _MEASURED, seed=found.seed)
    measured = measure_invariance(
        [found.features.pooled[cut] for cut in cuts],
        {name: [blocks[cut] for cut in cuts] for name, blocks in copies.items()},
        found.rows,
        chosen,
        seed=found.seed,
        balanced=found.class_weight is not None,
    )
    refused = {each.name for each in measured if not each.keeps} if measured else set(_MEASURED)
    return tuple(name for name in AUGMENTATIONS if name not in refused)


def linear_probe(session: FitSession, images: SplitImages, training: Numbers) -> tuple[FloatArray, FloatArray] | None:
    """Kernel and bias of a prediction layer that is fitted on some rows; None if the model has no dense one.

    Kumar et al., Fine-tuning can distort pretrained features and underperform out-of-distribution, ICLR 2022.
    """
    if session.frozen_split.head_input is None:
        return None
    chosen = training
    if len(chosen) > SOLVED_AT_ONCE:
        chosen = _subset(chosen, images.rows.labels[chosen], session.options.seed)
    kernel, bias = solve(
        session.blocks(images.features.pooled["head"][chosen]),
        images.rows.taken(chosen).pooled(),
        session.n_classes,
        balanced=session.class_weight is not None,
    )
    scale = 1.0 if session.given else session.found.probe.temperature
    return kernel / scale, bias / scale


def _subset(numbers: Numbers, labels: Numbers, seed: int) -> Numbers:
    """`SOLVED_AT_ONCE` of the rows, at least one of each class."""
    counts = np.bincount(labels)
    wanted = np.maximum(quotas(tuple(counts.tolist()), SOLVED_AT_ONCE), np.minimum(counts, 1))
    order = np.random.default_rng(seed).permutation(len(numbers))
    kept = [order[labels[order] == label][:n] for label, n in enumerate(wanted)]
    return np.asarray(numbers[np.sort(np.concatenate(kept))])
