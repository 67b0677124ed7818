"""Fit a prediction layer on all images: sums that actors take over shards of embeddings are added up, and solved."""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.surgery.frozen_split import split_frozen
from probes.data.splits import Rows, balanced_weights, held_out_splits
from probes.network.features import content_order
from probes.separability.discriminant import Classifier, Moments, of_moments
from probes.separability.linear_probe import LinearProbe, calibrated, judged_by
from recommender.cluster.embeddings import Embed, Listing, listing_of, wanted_images
from recommender.cluster.sample import anywhere
from recommender.cluster.session import Cluster, Work
from recommender.cluster.shards import Shards, spans
from recommender.errors import RecommendError
from recommender.fit.data import notes_on
from recommender.fit.frozen import announced, fit_frozen, measured_everything, result_of
from recommender.fit.images import rows_of_everything
from recommender.fit.plan import FitOptions, FitSession
from recommender.fit.result import FitResult
from recommender.pipeline.decision import Decision
from recommender.progress import Clock, no_progress

_ROWS, _FEWEST_ROWS, _UNITS = 4096, 64, 16  # of a shard at most and at least; shards that few images are divided into
_MOST_JUDGED = 200_000  # images that judge the layer: an interval of at most 0.2 points
_NONE = -1  # the split of an image on which every classifier is fitted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """What is known of the rows of a shard; arrays of shape (rows,)."""

    number: int
    labels: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]  # 0 for images that are not fitted on
    splits: npt.NDArray[np.int64]  # the split whose classifier is not fitted on the image
    judged: npt.NDArray[np.bool_]

    def embeddings(self, shards: Shards, rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Of the rows of a mask."""
        import pyarrow as pa

        column = shards.read(self.number, ["embedding"]).column("embedding").filter(pa.array(rows)).combine_chunks()
        values: npt.NDArray[np.float64] = column.flatten().to_numpy().astype(np.float64)
        return values.reshape(int(rows.sum()), -1)


class _OfShards(Work):
    def lost(self, item: Part) -> Any:
        raise RecommendError(
            f"Expected to read shard {item.number} of the embeddings. Received: a process that died at it, three "
            "times. Give the workers more memory."
        )

    def keep(self, number: int, results: list[Any]) -> Any:
        del number
        return results[0]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Accumulate(_OfShards):
    """Adds up what the classifier of each split needs of some shards."""

    shards: Shards
    shift: npt.NDArray[np.float64]
    factors: npt.NDArray[np.float64]  # of the weights, of shape (splits, classes); the last split is all images

    def items(self, unit: Any) -> Sequence[Any]:
        return [unit]

    def compute(self, items: Sequence[list[Part]]) -> list[list[Moments]]:
        return [[reduce(add, of_split) for of_split in zip(*map(self._moments, unit), strict=True)] for unit in items]

    def _moments(self, part: Part) -> list[Moments]:
        used = part.weights > 0
        features = part.embeddings(self.shards, used) - self.shift
        labels, splits, weights = part.labels[used], part.splits[used], part.weights[used]
        indicators = np.eye(self.factors.shape[1])[labels]
        return [
            Moments.of(features, indicators, weights * factor[labels] * (splits != split), products=True)
            for split, factor in enumerate(self.factors)
        ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judge(_OfShards):
    """Class probabilities of the images of a shard, by the classifier that was not fitted on them."""

    shards: Shards
    classifiers: tuple[Classifier, ...]

    def items(self, unit: Any) -> Sequence[Any]:
        return [unit]

    def compute(self, items: Sequence[Part]) -> list[npt.NDArray[np.float64]]:
        return [self._probabilities(part) for part in items]

    def _probabilities(self, part: Part) -> npt.NDArray[np.float64]:
        features, splits = part.embeddings(self.shards, part.judged), part.splits[part.judged]
        found = np.zeros((len(features), self.classifiers[0].kernel.shape[1]))
        for split in np.unique(splits):
            found[splits == split] = self.classifiers[split].probabilities(features[splits == split])
        return found


def fit_on_cluster(cluster: Cluster, found: Decision, options: FitOptions, folder: str | None = None) -> FitResult:
    """Fit the frozen model of a recommendation on all images.

    The embeddings are kept in `folder`, from which an interrupted run is resumed; by default they are temporary.
    """
    if found.verdict.scenario.fine_tunes:
        raise RecommendError(
            f"Expected a frozen model with `ray`: scenario 1 or 4. Received: scenario {found.scenario.id}, "
            f"{found.scenario.name}. Add --scenario {found.verdict.best_frozen.id}, or fit it without --ray."
        )
    model = found.build()
    split = split_frozen(model, train_norms=True)
    session = FitSession(found=found, model=model, frozen_split=split, given=False, options=options, clock=Clock())
    if measured_everything(session):  # the recommendation's own classifier is that of all images
        return fit_frozen(session)
    with tempfile.TemporaryDirectory(prefix="netgraft_") as temporary:
        return _fitted(cluster, session, Shards(folder=folder or temporary))


def _fitted(cluster: Cluster, session: FitSession, shards: Shards) -> FitResult:
    found, seed = session.found, session.options.seed
    listing = _embedded(cluster, session, shards)
    session.clock.lap("images")
    features = listing.features()
    order = content_order(features)
    rows = rows_of_everything(found.index, features, seed).taken(order)
    files = [features.files[row] for row in order]
    plan = announced(session, rows)
    places = [listing.places[row] for row in order]
    probe = _probe(cluster, session, shards, rows, places)
    training = found.rows.training
    return result_of(
        session,
        probe,
        rows,
        files,
        [block[training] for block in found.pooled_for_head()],
        found.rows.groups[training],
        plan=plan,
        notes=notes_on(session, len(listing.skipped.failures)),
    )


def _embedded(cluster: Cluster, session: FitSession, shards: Shards) -> Listing:
    """Run the network over all images that are not in shards yet."""
    found, report = session.found, session.options.progress or no_progress
    index, network, levels = found.index, found.network, found.strategy.head.levels
    items = wanted_images(index.files, validation=False) + wanted_images(index.validation, validation=True)
    size = min(_ROWS, max(_FEWEST_ROWS, -(-len(items) // _UNITS)))
    names = hashlib.blake2b("\n".join(item.file for item in items).encode("utf-8", "surrogateescape"), digest_size=16)
    shards.begin(
        {
            "images": names.hexdigest(),
            "rows": len(items),
            "network": found.backbone.fingerprint,
            "input_size": network.input_size,
            "levels": list(levels),
        }
    )
    known = shards.done()
    done = sum(known.values())
    work = Embed(
        store=anywhere(index.store),
        network=network,
        shards=shards,
        levels=tuple(network.cuts.index(level) for level in levels),
    )
    units = [(number, items[at : at + n]) for number, at, n in spans(len(items), size) if number not in known]
    report("images", done, len(items))
    for _, (n, _failed) in cluster.run(work, units):
        done += n
        report("images", done, len(items))
    return listing_of(shards, [number for number, *_ in spans(len(items), size)])


def _probe(
    cluster: Cluster, session: FitSession, shards: Shards, rows: Rows, places: Sequence[tuple[int, int]]
) -> LinearProbe:
    """The classifier of all training images, judged by those that each split holds out."""
    found, seed = session.found, session.options.seed
    held_out = held_out_splits(rows, seed=seed)
    splits, judged = np.full(len(rows), _NONE), np.zeros(len(rows), bool)
    for number, (train, judging) in enumerate(held_out):
        left = np.setdiff1d(np.flatnonzero(rows.training), train)
        splits[left], splits[judging], judged[judging] = number, number, True
    if judged.sum() > _MOST_JUDGED:
        chosen = np.random.default_rng(seed).permutation(np.flatnonzero(judged))[:_MOST_JUDGED]
        judged = np.isin(np.arange(len(rows)), chosen)
    parts = _parts(rows, places, shards.done(), splits, judged)
    factors = _factors(rows, splits, len(held_out), session.n_classes, balanced=session.class_weight is not None)
    blocks = [np.asarray(block, np.float64) for block in found.pooled_for_head()]
    shift = np.concatenate([block.mean(0) for block in blocks])
    work = Accumulate(shards=shards, shift=shift, factors=factors)
    n_units = min(len(parts), cluster.n_cores)
    units = [(number, parts[number::n_units]) for number in range(n_units)]
    moments: list[Moments] = []
    for _, more in cluster.run(work, units):
        moments = [one + other for one, other in zip(moments, more, strict=True)] if moments else more
    widths, weights = [block.shape[1] for block in blocks], rows.weights[rows.training & (rows.weights > 0)]
    least = float(weights.min() * factors[factors > 0].min())
    classifiers = [of_moments(part, shift, least=least, widths=widths) for part in moments]
    *of_splits, whole = classifiers
    results = None
    if judged.any():
        numbers, at, place = np.flatnonzero(judged), _places(places), np.cumsum(judged) - 1
        probabilities = np.zeros((len(numbers), session.n_classes))
        judge = Judge(shards=shards, classifiers=tuple(of_splits))
        for number, values in cluster.run(judge, [(part.number, part) for part in parts if part.judged.any()]):
            probabilities[place[at[number][judged[at[number]]]]] = values
        results = judged_by(probabilities, numbers, rows)
    return calibrated(whole.kernel, whole.bias, results, rows, seed=seed)


def _places(places: Sequence[tuple[int, int]]) -> dict[int, npt.NDArray[np.int64]]:
    """For each shard the images that lie in it, in the order of its rows."""
    order = sorted(range(len(places)), key=places.__getitem__)
    found: dict[int, list[int]] = {}
    for image in order:
        found.setdefault(places[image][0], []).append(image)
    return {number: np.array(images, np.int64) for number, images in found.items()}


def _parts(
    rows: Rows,
    places: Sequence[tuple[int, int]],
    n_of: Mapping[int, int],
    splits: npt.NDArray[np.int64],
    judged: npt.NDArray[np.bool_],
) -> list[Part]:
    """What is known of the rows of each shard; those of copies and of broken images have no weight."""
    parts = []
    for number, images in _places(places).items():
        at = np.array([places[image][1] for image in images])
        part = Part(
            number=number,
            labels=np.zeros(n_of[number], np.int64),
            weights=np.zeros(n_of[number]),
            splits=np.full(n_of[number], _NONE),
            judged=np.zeros(n_of[number], bool),
        )
        part.labels[at], part.splits[at], part.judged[at] = rows.labels[images], splits[images], judged[images]
        part.weights[at] = np.where(rows.training[images], rows.weights[images], 0.0)
        parts.append(part)
    return parts


def _factors(
    rows: Rows, splits: npt.NDArray[np.int64], n_splits: int, n_classes: int, *, balanced: bool
) -> npt.NDArray[np.float64]:
    """What the weights of each class are multiplied by for each split's classifier: then their mean is 1."""
    factors = np.zeros((n_splits + 1, n_classes))
    for split in range(n_splits + 1):
        fitted = rows.training & (rows.weights > 0) & (splits != split)
        labels, weights = rows.labels[fitted], rows.weights[fitted]
        used = balanced_weights(labels, weights) if balanced else weights
        factors[split, labels] = used / weights * len(used) / used.sum()
    return factors
