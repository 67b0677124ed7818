"""Records of how similar the images are to those that the network was trained on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDrift:
    """Drift at one BatchNorm layer.

    Attributes:
        layer: its name, or that of a cut point where the network has no BatchNorm.
        part: "early", "middle" or "late".
        drift: squared 2-Wasserstein distance, in units of the source's variance.
        floor: the drift of in-distribution images at this layer and resolution.
    """

    layer: str
    part: str
    drift: float
    floor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSimilarity:
    """Similarity of target and source, as the network sees them.

    Attributes:
        source: the data set that the network was trained on, or None if that is not known.
        basis: see `probes.similarity.baseline.Baseline`.
        score: 1 for the source itself, 0.5 at the threshold, towards 0 beyond.
        standard_error: of the score, over bootstrap resamples of the images; None for a single image.
        replicates: the score of each resample.
        excess: the drift above the floor from which the score is computed, in units of EfficientNet-Lite0's.
        unit: the drift of this network that counts as one such unit.
        per_layer: drift at each norm, from input to output.
        enlargement: factor by which the median image is enlarged for the network; below 1 it is shrunk.
        sharp_score: the score against images of full resolution; `score` compares with images as small as these.
        frechet: Fréchet distance between embeddings of target and source; None without source embeddings.
        kid: kernel distance between them; None likewise.
        source_confidence: mean top probability of the network's own classifier on the target; None without one.
        looks_like: for each class its most frequent source labels with their shares; empty without a classifier.
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
