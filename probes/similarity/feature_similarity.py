"""Records of how alike the images are to what the network was trained on."""

from dataclasses import dataclass


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
