"""What is chosen by measuring: the network, and its input size. A linear classifier on frozen features judges both."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from builders.backbones.candidates import Candidate
from builders.errors import BuildError
from probes.data.image_index import ImageIndex
from probes.data.sampling import Draw, Sample, draw_splits
from probes.data.splits import held_out_splits
from probes.network.features import Features, Network, content_order, extract, in_one
from probes.quality.repeats import find_repeats
from probes.separability.linear_probe import cross_validate, joined, judged_rows
from recommender.pipeline.data_checks import inspect_sample
from recommender.pipeline.loading import LoadedBackbone, Loader
from recommender.pipeline.network_pass import require_finite, rows_of
from recommender.pipeline.probed_network import probed_network
from recommender.rules.backbone_rule import BackboneEvidence, choose_backbone, sample_sizes, with_evidence
from recommender.rules.cut_rule import head_levels
from recommender.rules.input_size_rule import choose_input_size, sizes_to_try

SIZES_IMAGES = 300  # on which input sizes are compared


class Judged(NamedTuple):
    """What a classifier on each network says of the same images."""

    correct: Any  # whether it is right on each image that it was not fitted on, of shape (networks, images)
    groups: Any  # of these images, of shape (images,)


@dataclass(slots=True, kw_only=True, eq=False)
class _Trial:
    """A network, and what it has read so far."""

    loaded: LoadedBackbone
    network: Network
    levels: list[str]  # cut points that the classifier reads
    parts: list[Features] = field(default_factory=list)
    milliseconds: float = 0.0  # for one image of the last sample, decoding included

    def read(self, index: ImageIndex, sample: Sample, progress: Any) -> None:
        """Run the network over those images of a sample that it has not read yet."""
        todo = _unread(sample, self.parts)
        if not todo.n_wanted:
            return
        began = time.perf_counter()
        found = extract(index, todo, self.network, progress)
        require_finite(self.loaded.backbone, found)
        self.milliseconds = 1000 * (time.perf_counter() - began) / max(len(found.files), 1)
        pooled = {level: found.pooled[level] for level in self.levels if found.files}
        self.parts.append(replace(found, pooled=pooled, norm_means={}, norm_squares={}, output=found.output[:, :0]))

    def judged(self, index: ImageIndex, seed: int) -> tuple[dict[str, bool], dict[str, int]] | None:
        """For each held-out image whether the classifier is right, and its group; None if none can be held out."""
        read = in_one(self.parts)
        weights = np.array([index.weights.get(name, 1.0) for name in read.files])
        if len(set(read.labels[~read.validation & (weights > 0)].tolist())) < 2:
            return None  # the pass over the whole sample says why
        features = read.rows(_without_copies(read))
        seen = inspect_sample(index, features, with_test=0, seed=seed)
        rows = rows_of(index, features, seen, find_repeats(seen, index))
        splits = held_out_splits(rows, seed=seed)
        if not splits:
            return None
        values, widths = joined(features.blocks(self.levels))
        right = cross_validate(values, rows, splits, widths=widths).argmax(1) == rows.labels
        held_out = [(features.files[row], row) for row in judged_rows(splits).tolist()]
        correct = {name: bool(right[row]) for name, row in held_out}
        return correct, {name: int(rows.groups[row]) for name, row in held_out}


def _without_copies(read: Features) -> Any:
    """The first row of each image, in the order of content: the same for every network, whatever the files' names."""
    order = content_order(read)
    keys = [(read.facts[row].digest, read.labels[row], read.validation[row]) for row in order]
    return np.array([row for row, key, before in zip(order, keys, [None, *keys], strict=False) if key != before], int)


def load(candidates: Sequence[tuple[Candidate, Loader]], size: int | str | None) -> LoadedBackbone:
    """The backbone at an input size in px; of several candidates the one that the images favour.

    By default the size follows the images; "auto" measures it, of the chosen backbone.
    """
    wanted = size if isinstance(size, int) else None
    loaded = candidates[0][1].load(wanted) if len(candidates) == 1 else _chosen(candidates, wanted)
    return _at_measured_size(candidates[0][1], loaded) if size == "auto" else loaded


def _chosen(candidates: Sequence[tuple[Candidate, Loader]], size: int | None) -> LoadedBackbone:
    """The candidate that the rule chooses, tried on a growing sample."""
    loader = candidates[0][1]
    trials = [_trial(_loaded(candidate, each, size)) for candidate, each in candidates]
    names = _distinct([trial.loaded.backbone.name for trial in trials])
    tried = [
        BackboneEvidence(
            name=name,
            input_size=trial.loaded.backbone.input_size,
            imagenet_accuracy=candidate.imagenet_accuracy,
            multiply_adds=trial.loaded.backbone.multiply_adds,
            megabytes=trial.loaded.backbone.megabytes,
        )
        for name, (candidate, _), trial in zip(names, candidates, trials, strict=True)
    ]
    for n_images in sample_sizes(loader.sample.n_wanted):
        standing = [number for number, each in enumerate(tried) if not each.dropped]
        if len(standing) < 2:
            break
        judged = _judged([trials[number] for number in standing], loader, n_images, "backbones")
        if judged is None:
            continue
        known = [replace(tried[number], milliseconds=trials[number].milliseconds) for number in standing]
        for number, evidence in zip(standing, with_evidence(known, judged.correct, judged.groups), strict=True):
            tried[number] = evidence
    choice = choose_backbone(tried)
    chosen = next(trial for trial, each in zip(trials, tried, strict=True) if each is choice.tried[0])
    return replace(chosen.loaded, choices={"backbone": choice})


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of which the second that is equal gets a (2)."""
    times = [names[: at + 1].count(name) for at, name in enumerate(names)]
    return [name if n == 1 else f"{name} ({n})" for name, n in zip(names, times, strict=True)]


def _loaded(candidate: Candidate, loader: Loader, size: int | None) -> LoadedBackbone:
    try:
        return loader.load(size)
    except BuildError as error:
        raise BuildError(f"The candidate {candidate.name}: {error} Or leave it out.") from error


def _at_measured_size(loader: Loader, loaded: LoadedBackbone) -> LoadedBackbone:
    """The backbone at the size that some of the images favour; as it is if they are too few for cross-validation."""
    opened, prior = loaded.opened, loaded.backbone.input_size
    if opened.fixed:
        return loaded
    sizes = [size for size in sizes_to_try(prior, opened.native_size) if size >= opened.smallest_size]
    trials = [_trial(loaded if size == prior else loaded.at(size)) for size in sizes]
    judged = _judged(trials, loader, min(SIZES_IMAGES, loader.sample.n_wanted), "sizes")
    if judged is None:
        return loaded
    seconds = [trial.milliseconds for trial in trials]  # for 1,000 images
    choice = choose_input_size(prior, sizes, judged.correct, seconds, judged.groups)
    return replace(trials[sizes.index(choice.size)].loaded, choices={**loaded.choices, "input_size": choice})


def _trial(loaded: LoadedBackbone) -> _Trial:
    points = loaded.backbone.points
    levels = head_levels([point.shape for point in points], len(points) - 1)
    network = probed_network(loaded.backbone, program=loaded.program)
    return _Trial(loaded=loaded, network=network, levels=[points[level].layer for level in levels])


def _judged(trials: Sequence[_Trial], loader: Loader, n_images: int, phase: str) -> Judged | None:
    """Results on a sample of so many images; None if none can be held out."""
    sample = draw_splits(loader.index, n_images, loader.seed)
    found = []
    for number, trial in enumerate(trials):
        before = number * sample.n_wanted

        def report(n: int, wanted: int, before: int = before) -> None:
            loader.progress(phase, before + sample.n_wanted - wanted + n, len(trials) * sample.n_wanted)

        trial.read(loader.index, sample, report)
        judged = trial.judged(loader.index, loader.seed)
        if judged is None:
            return None
        found.append(judged)
    groups = found[0][1]
    names = sorted(set.intersection(*(set(correct) for correct, _ in found)))
    if len(names) < 2:
        return None
    return Judged(
        correct=np.array([[correct[name] for name in names] for correct, _ in found]),
        groups=np.array([groups[name] for name in names]),
    )


def _unread(sample: Sample, parts: Sequence[Features]) -> Sample:
    """What a sample asks for beyond images that were read, or could not be."""
    known = {name for part in parts for name in part.files}
    for part in parts:
        known |= {each.file for each in part.skipped.failures} | {each.file for each in part.skipped.copies}

    def rest(draw: Draw, validation: bool) -> Draw:
        have = np.zeros(len(draw.quota), int)
        for part in parts:
            have += np.bincount(part.labels[part.validation == validation], minlength=len(draw.quota))
        return Draw(
            quota=tuple(max(0, wanted - n) for wanted, n in zip(draw.quota, have.tolist(), strict=True)),
            candidates=tuple(tuple(name for name in names if name not in known) for names in draw.candidates),
        )

    return Sample(train=rest(sample.train, False), validation=rest(sample.validation, True))
