"""The linear classifier on pooled features: linear discriminant analysis with a penalty, in closed form.

Each class is a Gaussian about its mean. One covariance matrix serves all: that of the images about their class's mean,
with a multiple of the identity matrix added. Friedman, Regularized discriminant analysis, JASA 84, 1989.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt
from scipy import linalg
from scipy.special import softmax

from probes.data.splits import Labels, Rows, balanced_weights

# What is added to the matrix of squares about the class means, as a share of an image's mean square: the same for few
# and for many images. Ours: of 0.05 to 0.8, 0.2 to 0.4 was best on 13 data sets at 10, 30 and about 80 images a class,
# for single cut points as for joined ones; docs/method.md.
PENALTY = 0.3
# Features are no independent Gaussians: the classes' distances say less than theirs would, by this factor. Ours: on the
# same sets the best temperature without it was 1.7 to 5.6 at 10 images a class, and up to 11.5 with more.
OVERSTATED = 3.5
_CONSTANT = 1e-6  # of the largest standard deviation: below it a feature is constant
_UNSEEN = 12.0  # logits by which a class without an image lies below the others

FloatArray = npt.NDArray[np.float64]
Split = tuple[Labels, Labels]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classifier:
    """A linear classifier of plain features."""

    kernel: FloatArray  # of shape (features, classes)
    bias: FloatArray

    def logits(self, features: npt.ArrayLike) -> FloatArray:
        """Of features of shape (n, features): an array of shape (n, classes)."""
        return np.asarray(np.asarray(features, np.float64) @ self.kernel + self.bias)

    def probabilities(self, features: npt.ArrayLike) -> FloatArray:
        """Of shape (n, classes)."""
        return np.asarray(softmax(self.logits(features), axis=1))

    def predict(self, features: npt.ArrayLike) -> Labels:
        """The most probable class of each row."""
        return np.asarray(self.logits(features).argmax(1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """What the classifier needs of some images; those of two parts add up to those of the whole."""

    weights: FloatArray  # of the images of each class in total, of shape (classes,)
    sums: FloatArray  # of their weighted features, of shape (classes, features)
    squares: FloatArray  # of all images: weighted sums of squares, of shape (features,)
    products: FloatArray  # and of products of pairs, of shape (features, features); (0, 0) where they were not summed

    @classmethod
    def of(cls, features: FloatArray, indicators: FloatArray, weights: FloatArray, *, products: bool) -> "Moments":
        """Of features of shape (n, features), class indicators of shape (n, classes) and weights of shape (n,)."""
        weighted = indicators * weights[:, None]
        return cls(
            weights=weighted.sum(0),
            sums=weighted.T @ features,
            squares=weights @ features**2,
            products=(features * weights[:, None]).T @ features if products else np.empty((0, 0)),
        )

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(**{part.name: getattr(self, part.name) + getattr(other, part.name) for part in fields(self)})

    def __sub__(self, other: "Moments") -> "Moments":
        return self + other.scaled(-1.0)

    def scaled(self, factor: float) -> "Moments":
        """Those of images of so many times the weight."""
        return Moments(**{part.name: factor * getattr(self, part.name) for part in fields(self)})

    @property
    def mean(self) -> FloatArray:
        """Of the features."""
        return np.asarray(self.sums.sum(0) / self.weights.sum())

    @property
    def deviation(self) -> FloatArray:
        """Standard deviations of the features."""
        return np.asarray(np.sqrt(np.maximum(self.squares / self.weights.sum() - self.mean**2, 0.0)))


def pareto_scale(deviation: FloatArray, widths: Sequence[int] | None = None) -> FloatArray:
    """What to divide features by, from their standard deviations: their roots; infinity for a constant feature.

    Half-way between unscaled and standardised features: on pooled features full standardisation enlarges the many
    rarely active channels. Blocks of features, of these `widths`, get the same mean variance, one over the number of
    blocks. van den Berg et al., Centering, scaling, and transformations, BMC Genomics 7:142, 2006.
    """
    blocks = np.split(deviation, np.cumsum(widths if widths is not None else [len(deviation)])[:-1])
    return np.concatenate([_of_block(part) * np.sqrt(len(blocks)) for part in blocks])


def _of_block(deviation: FloatArray) -> FloatArray:
    varies = deviation > _CONSTANT * deviation.max(initial=0.0)
    if not varies.any():
        return np.full_like(deviation, np.inf)
    spread = np.sqrt((deviation[varies] ** 2).mean())
    # Dividing by sqrt(deviation) leaves each feature with the variance of its deviation; `level` makes their mean 1.
    level = np.sqrt((deviation[varies] / spread).mean())
    return np.where(varies, np.sqrt(np.where(varies, deviation, 1.0) * spread) * level, np.inf)


def fit(
    features: FloatArray, rows: Rows, n_classes: int, *, widths: Sequence[int] | None = None, balanced: bool = False
) -> Classifier:
    """Fit on all rows; `widths` are those of blocks of features, as in `pareto_scale`."""
    everything = np.arange(len(rows))
    (classifier,) = fits(features, rows, [(everything, everything)], n_classes, widths=widths, balanced=balanced)
    return classifier


def fits(
    features: FloatArray,
    rows: Rows,
    splits: Sequence[Split],
    n_classes: int,
    *,
    widths: Sequence[int] | None = None,
    balanced: bool = False,
) -> Iterator[Classifier]:
    """The classifier of each split's training rows, by the smaller matrix: of pairs of features, or of pairs of images.

    Sums over images of equal weights are taken once for all splits. With `balanced`, each class has the same weight.
    """
    training = np.unique(np.concatenate([train for train, _ in splits]))
    own = rows.taken(training)
    if len(splits) > 1 and (balanced or np.ptp(own.weights) > 0):  # each split weighs its own images
        for train, _ in splits:
            yield fit(features[train], rows.taken(train), n_classes, widths=widths, balanced=balanced)
        return
    # Only classes that have images take memory: a sample of a thousand images may be of ten thousand classes.
    classes, numbers = np.unique(own.labels, return_inverse=True)
    labels, indicators = np.zeros(len(rows), np.int64), np.zeros((len(rows), len(classes)))
    labels[training], indicators[training] = numbers, np.eye(len(classes))[numbers]
    weights = np.zeros(len(rows))
    weights[training] = balanced_weights(own.labels, own.weights) if balanced else own.weights
    weights *= np.count_nonzero(weights) / weights.sum()
    shift = features[training].mean(0)  # so that no digits are lost in sums of squares
    by_features = features.shape[1] < len(training)

    def moments(part: Labels) -> Moments:
        return Moments.of(features[part] - shift, indicators[part], weights[part], products=by_features)

    parts = [moments(np.setdiff1d(training, train)) for train, _ in splits]
    in_all = reduce(np.intersect1d, [train for train, _ in splits])  # every classifier is fitted on these
    whole = moments(training) if len(parts) == 1 else reduce(add, parts, moments(in_all))
    for (train, _), part in zip(splits, parts, strict=True):
        found, seen = _classifier(whole - part, features[train] - shift, labels[train], weights[train], widths)
        yield _of_all_classes(found, classes[seen], n_classes, shift)


def of_moments(known: Moments, shift: FloatArray, *, widths: Sequence[int] | None = None) -> Classifier:
    """The classifier of images by their moments, summed and never subtracted, of features less `shift`."""
    nothing = np.empty((0, len(shift)))
    found, seen = _classifier(known, nothing, np.empty(0, np.int64), known.weights, widths)
    return _of_all_classes(found, np.flatnonzero(seen), len(seen), shift)


def _of_all_classes(found: Classifier, seen: Labels, n_classes: int, shift: FloatArray) -> Classifier:
    """The classifier of features that are not shifted, with the classes that it has not seen."""
    kernel, bias = np.zeros((len(shift), n_classes)), np.full(n_classes, found.bias.min() - _UNSEEN)
    kernel[:, seen], bias[seen] = found.kernel, found.bias - shift @ found.kernel
    return Classifier(kernel=kernel, bias=bias)


def _classifier(
    known: Moments, features: FloatArray, labels: Labels, weights: FloatArray, widths: Sequence[int] | None
) -> tuple[Classifier, npt.NDArray[np.bool_]]:
    """From the moments of the training images, or from these themselves where products are unknown; which classes."""
    seen = known.weights > 0.5 * weights[weights > 0].min()  # and not the rounding error of a difference
    mean, scale = known.mean, pareto_scale(known.deviation, widths)
    class_means = known.sums[seen] / known.weights[seen, None]
    centred, total = (class_means - mean) / scale, known.weights.sum()
    penalty = PENALTY * float(((known.deviation / scale) ** 2).sum()) or 1.0
    if known.products.size:
        about = known.products - (class_means.T * known.weights[seen]) @ class_means
        within = about / scale / scale[:, None] + penalty * np.eye(len(scale))
        kernel = linalg.solve(within, centred.T, assume_a="pos")
    else:
        place = np.cumsum(seen) - 1
        used = weights > 0
        about = (features[used] - class_means[place[labels[used]]]) / scale * np.sqrt(weights[used, None])
        pairs = about @ about.T + penalty * np.eye(len(about))
        kernel = (centred.T - about.T @ linalg.solve(pairs, about @ centred.T, assume_a="pos")) / penalty
    kernel *= total / OVERSTATED
    bias = np.log(known.weights[seen] / total) - 0.5 * np.einsum("cf,fc->c", centred, kernel)
    plain = kernel / scale[:, None]
    return Classifier(kernel=plain, bias=bias - mean @ plain), seen
