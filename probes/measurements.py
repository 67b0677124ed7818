"""What the probes measure: frozen dataclasses, no more than numbers and names."""

from collections.abc import Mapping
from dataclasses import dataclass

from probes.findings import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSize:
    """How many images there are, of how many classes, and of what kind.

    Attributes:
        path: the data as they were named.
        kind: of source: "folder", "manifest", "archive", "tfrecord", "arrays", "paths", "stream" or "dataset".
        splits: images listed in each of "train", "validation" and "test" that there is.
        class_names: in the order of the labels.
        class_counts: training images of each class; files found to be unreadable and repeats found are not counted.
        file_counts: training files of each class that can be read, repeats included: what training sees.
        median_size_px: median native (width, height) over the sample.
        grey_share: share of the sample without colour, 0 to 1.
        n_sampled: images that were measured.
        n_checked: images that were looked at, whether they could be read or not.
        unsampled_classes: classes of which the sample holds no image.
        unreadable: file -> reason, among the files that were read.
        n_repeats: training files found to repeat another of their class: of look-alikes all but one.
        ignored: suffix -> number of files passed over, since they are no images.
    """

    path: str
    kind: str
    splits: Mapping[str, int]
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    file_counts: tuple[int, ...]
    median_size_px: tuple[int, int]
    grey_share: float
    n_sampled: int
    n_checked: int
    unsampled_classes: tuple[str, ...]
    unreadable: Mapping[str, str]
    n_repeats: int
    ignored: Mapping[str, int]

    @property
    def n_images(self) -> int:
        return sum(self.class_counts)

    @property
    def n_classes(self) -> int:
        return len(self.class_names)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDrift:
    """Drift at one BatchNorm layer.

    Attributes:
        layer: its name; of a cut point where the network has no BatchNorm.
        part: "early", "middle" or "late".
        drift: squared 2-Wasserstein distance, in units of the source's variance.
        floor: the drift that familiar pictures show there at this resolution.
    """

    layer: str
    part: str
    drift: float
    floor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSimilarity:
    """How like the source the target looks to the network.

    Attributes:
        source: the data set that the network was trained on, or None where that is not known.
        basis: "reference" where the source's own pictures were measured, "yardstick" where two photographs stand in,
            "foreign" where these are foreign to the network, and the floor is what EfficientNet-Lite0 has.
        score: 1 as the source itself, 0.5 at the threshold, towards 0 beyond.
        standard_error: of the score, over bootstrap resamples of the images; None for a single image.
        replicates: the score of each resample.
        excess: the drift above the floor that the score is made of, in units of EfficientNet-Lite0's.
        unit: how much of this network's drift makes one of those.
        per_layer: drift at each norm, from input to output.
        enlargement: how many times the median picture is enlarged for the network; below 1 it is shrunk.
        sharp_score: the score against pictures of full resolution; `score` compares with pictures as small as these.
        frechet: Fréchet distance between embeddings of target and source; None where it can't be had.
        kid: kernel distance between them; None likewise.
        source_confidence: mean top probability of the network's own classifier on the target; None without one.
        looks_like: for each class in order its most frequent source labels with their shares; empty without them.
    """

    source: str | None
    basis: str
    score: float
    standard_error: float | None
    replicates: tuple[float, ...]
    excess: float
    unit: float
    per_layer: tuple[LayerDrift, ...]
    enlargement: float
    sharp_score: float
    frechet: float | None
    kid: float | None
    source_confidence: float | None
    looks_like: tuple[tuple[tuple[str, float], ...], ...]

    def part(self, name: str) -> float:
        """Mean drift over the "early", "middle" or "late" layers."""
        values = [layer.drift for layer in self.per_layer if layer.part == name]
        return sum(values) / len(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class CutEvidence:
    """How well the classes separate at one cut.

    Attributes:
        cut: the layer.
        accuracy: on held-out images, of a regularised logistic regression on the pooled output.
        standard_error: of that accuracy.
        neighbour_accuracy: leave-one-out accuracy of the nearest neighbour by cosine.
        correct: for each image that was held out, whether the logistic regression was right.
        log_loss: for each of them, minus the log of the probability given to its class, in nats.
    """

    cut: str
    accuracy: float
    standard_error: float
    neighbour_accuracy: float
    correct: tuple[bool, ...]
    log_loss: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Separability:
    """The evidence at every cut, or the reason why there is none.

    Attributes:
        per_cut: from input to output; empty where it was skipped.
        n_images: images that took part.
        n_classes: classes that took part.
        folds: of the cross-validation; 0 where it was skipped, or where the user's own split took its place.
        note: why it was skipped or what was left out; empty where all took part.
    """

    per_cut: tuple[CutEvidence, ...]
    n_images: int
    n_classes: int
    folds: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """All that the rules look at."""

    size: DatasetSize
    similarity: FeatureSimilarity | None  # None where the network shows nothing to measure it by
    separability: Separability
    input_size: int
    findings: tuple[Finding, ...] = ()
    n_held_out: int = 0  # images of the user's own validation split that accuracy is measured on; 0 without one
