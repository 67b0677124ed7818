"""Fit a prediction layer on all images: sums that actors take over shards of embeddings are added up, and solved."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.surgery.frozen_split import split_frozen
from probes.data.image_index import VALIDATION, EntryReader
from probes.data.splits import FOLDS, Rows, held_out_splits
from probes.network.features import content_order
from probes.quality.findings import count
from probes.separability.discriminant import Classifier, Moments, Split, of_moments
from probes.separability.linear_probe import LinearProbe, calibrated, judged_by
from recommender.cluster.embeddings import Embed, EmbedRows, everything, listed
from recommender.cluster.sample import anywhere
from recommender.cluster.session import Cluster
from recommender.cluster.shards import Shards, Totals, digest_of, spans, write_shards
from recommender.cluster.sums import NO_SPLIT, Accumulate, Hashed, Judge, factors_of, parts_of, places_of
from recommender.errors import RecommendError
from recommender.fit.data import notes_on
from recommender.fit.frozen import announced, fit_frozen, measured_everything, result_of, unused_options
from recommender.fit.images import rows_of_everything
from recommender.fit.plan import FitOptions, FitSession
from recommender.fit.result import FitResult
from recommender.pipeline.decision import Decision
from recommender.progress import Clock, no_progress

_MOST_SUMS = 64  # partial sums that travel to this machine: six matrices of features x features each
_MOST_JUDGED = 200_000  # images that judge the layer: an interval of at most 0.2 points


def fit_on_cluster(cluster: Cluster, found: Decision, options: FitOptions, folder: str | None = None) -> FitResult:
    """Fit the frozen model of a recommendation on all images.

    The embeddings are kept in `folder`, from which an interrupted run is resumed; by default they are temporary.
    """
    if found.verdict.scenario.fine_tunes:
        raise RecommendError(
            f"Expected a frozen model with `ray`: scenario 1 or 4. Received: scenario {found.scenario.id}, "
            f"{found.scenario.name}. Add --scenario {found.verdict.best_frozen.id}, or fit it without --ray."
        )
    if folder is None and cluster.n_machines > 1:
        raise RecommendError(
            f"Expected a folder for embeddings that all {cluster.n_machines} machines of the cluster can write. "
            "Received: none. Name it with --embeddings."
        )
    model = found.build()
    split = split_frozen(model, train_norms=True)
    session = FitSession(found=found, model=model, frozen_split=split, given=False, options=options, clock=Clock())
    entries, rival = found.index.entries, found.verdict.rival
    with tempfile.TemporaryDirectory(prefix="netgraft_") as temporary:
        shards = Shards.at(folder or temporary)
        if entries is not None:
            result = _fitted_by_hash(cluster, session, shards, entries)
        elif measured_everything(session):  # its own classifier is that of all images
            result = fit_frozen(session)
        else:
            result = _fitted(cluster, session, shards)
    if rival is None:
        return result
    note = f"Fine-tuning (scenario {rival.id}) may be better, and was not tried: a cluster fits frozen models alone."
    return replace(result, notes=(*result.notes, note))


def _fitted(cluster: Cluster, session: FitSession, shards: Shards) -> FitResult:
    """Of images that this machine can list: they are split as without a cluster."""
    seed, index = session.options.seed, session.found.index
    items = everything(index)
    names = digest_of(item.file for item in items)
    units = [(number, items[at : at + n]) for number, at, n in spans(len(items))]
    numbers, _ = _embed(cluster, session, Embed(**_reading(session, shards)), units, len(items), names)
    features, found = listed(shards, numbers)
    order = content_order(features)
    rows = rows_of_everything(index, features, seed).taken(order)
    places = [found[row] for row in order]
    plan = announced(session, rows)
    held_out = held_out_splits(rows, seed=seed)
    splits, judged = _split(rows, held_out, seed)
    parts = parts_of(rows, places, shards.done(), splits, judged)
    factors = factors_of(rows, splits, len(held_out), session.n_classes, balanced=session.class_weight is not None)
    *of_splits, whole = _classifiers(cluster, session, Accumulate(**_summing(session, shards), factors=factors), parts)
    results = None
    if judged.any():
        chosen, at, place = np.flatnonzero(judged), places_of(places), np.cumsum(judged) - 1
        probabilities = np.zeros((len(chosen), session.n_classes))
        judge = Judge(shards=shards, classifiers=tuple(of_splits))
        for number, values in cluster.run(judge, [(part.number, part) for part in parts if part.judged.any()]):
            probabilities[place[at[number][judged[at[number]]]]] = values
        results = judged_by(probabilities, chosen, rows)
    probe = calibrated(whole.kernel, whole.bias, results, rows, seed=seed)
    files, n_failed = [features.files[row] for row in order], len(features.skipped.failures)
    return _result(session, probe, rows, files, plan=plan, notes=notes_on(session, n_failed))


def _fitted_by_hash(cluster: Cluster, session: FitSession, shards: Shards, entries: EntryReader) -> FitResult:
    """Of a manifest that this machine does not hold: a hash of each image splits them."""
    index, seed = session.found.index, session.options.seed
    work = EmbedRows(**_reading(session, shards), entries=entries)
    units = [(number, (at, n)) for number, at, n in spans(entries.n)]
    numbers, n_failed = _embed(cluster, session, work, units, entries.n, f"{index.source} {entries.version}")
    n_training = index.n_images - n_failed
    n_validation = index.split_sizes().get(VALIDATION, 0)
    folds, n = (1, n_validation) if n_validation else (FOLDS, index.n_images)
    hashed = Hashed(seed=seed, folds=folds, judged=min(1.0, _MOST_JUDGED / n))
    counts = np.array(index.class_counts, np.float64)
    factor = counts.sum() / (len(counts) * counts) if session.class_weight is not None else np.ones(len(counts))
    summing = Accumulate(**_summing(session, shards), factors=np.tile(factor, (folds + 1, 1)), hashed=hashed)
    *of_splits, whole = _classifiers(cluster, session, summing, numbers, n=n_training)
    judge = Judge(shards=shards, classifiers=tuple(of_splits), hashed=hashed)
    parts = [part for _, part in sorted(cluster.run(judge, [(number, number) for number in numbers]))]
    probabilities, labels, keys = (np.concatenate([part[place] for part in parts]) for place in range(3))
    rows = Rows.of(labels, groups=np.unique(keys, return_inverse=True)[1])
    results = judged_by(probabilities, np.arange(len(rows)), rows) if len(np.unique(labels)) > 1 else None
    probe = calibrated(whole.kernel, whole.bias, results, rows, seed=seed)
    plan = announced(session, rows, n_training=n_training)
    notes = [f"Left out, since unreadable: {count(n_failed, 'image')}."] if n_failed else []
    if hashed.judged < 1:
        notes.append(f"{len(rows):,} of the images that were held out judge the model.")
    files = [file for *_, own in parts for file in own]
    return _result(session, probe, rows, files, plan=plan, notes=tuple(notes))


def _reading(session: FitSession, shards: Shards) -> dict[str, Any]:
    """How embeddings are made: the network, and what the prediction layer reads of it."""
    network, levels = session.found.network, session.found.strategy.head.levels
    places = tuple(network.cuts.index(level) for level in levels)
    return {"store": anywhere(session.found.index.store), "network": network, "shards": shards, "levels": places}


def _embed(
    cluster: Cluster, session: FitSession, work: Embed, units: Sequence[tuple[int, Any]], n: int, images: str
) -> tuple[list[int], int]:
    """Write the shards that are not there yet: the numbers of all, and of the images that could not be read."""
    report, totals = session.options.progress or no_progress, Totals()
    run = {"images": images, "rows": n, "network": session.found.backbone.fingerprint}
    run |= {"input_size": work.network.input_size, "levels": list(work.levels)}
    write_shards(cluster, work, work.shards, units, run, totals, lambda done: report("images", done, n))
    session.clock.lap("images")
    return [number for number, _ in units], totals.failed


def _split(rows: Rows, held_out: Sequence[Split], seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """For each image the split whose classifier is not fitted on it, and whether it judges that."""
    splits, judged = np.full(len(rows), NO_SPLIT), np.zeros(len(rows), bool)
    for number, (train, judging) in enumerate(held_out):
        left = np.setdiff1d(np.flatnonzero(rows.training), train)
        splits[left], splits[judging], judged[judging] = number, number, True
    if judged.sum() > _MOST_JUDGED:
        chosen = np.random.default_rng(seed).permutation(np.flatnonzero(judged))[:_MOST_JUDGED]
        judged = np.isin(np.arange(len(rows)), chosen)
    return splits, judged


def _summing(session: FitSession, shards: Shards) -> dict[str, Any]:
    """What sums are of: embeddings, less a mean so that no digits are lost in products."""
    blocks = session.found.pooled_for_head()
    return {"shards": shards, "shift": np.concatenate([np.asarray(block, np.float64).mean(0) for block in blocks])}


def _classifiers(
    cluster: Cluster, session: FitSession, work: Accumulate, parts: Sequence[Any], n: int | None = None
) -> list[Classifier]:
    """The classifier of each split, and that of all images; `n` is their number if weights may not have the mean 1."""
    n_units = min(len(parts), cluster.n_cores, _MOST_SUMS)
    summed: list[Moments] = []
    for _, more in cluster.run(work, [(number, list(parts[number::n_units])) for number in range(n_units)]):
        summed = [one + other for one, other in zip(summed, more, strict=True)] if summed else more
    widths = [np.shape(block)[1] for block in session.found.pooled_for_head()]
    scale = n / summed[-1].weights.sum() if n else 1.0
    return [of_moments(part.scaled(scale), work.shift, widths=widths) for part in summed]


def _result(
    session: FitSession, probe: LinearProbe, rows: Rows, files: Sequence[str], notes: Sequence[str], **known: Any
) -> FitResult:
    """The model with the classifier as its prediction layer; its detector is fitted on the sample that was measured."""
    found, notes = session.found, (*notes, *unused_options(session))
    training = found.rows.training
    blocks = [block[training] for block in found.pooled_for_head()]
    return result_of(session, probe, rows, files, blocks, found.rows.groups[training], notes=notes, **known)
