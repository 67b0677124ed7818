"""Every number that the rules rest on, with its source.

"pilot" is a study on 13 data sets with EfficientNet-Lite0, made before the package; docs/method.md summarises it.
Values marked provisional rest on few data sets and await a benchmark of all four scenarios.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A linear rule that was fitted to cells of benchmarks/regret: `Task.features` times coefficients."""

    coefficients: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]  # of the coefficients
    spread: float  # standard deviation around the line, over data sets and cells


# A task at which the regressors of the lines are near 0.
TYPICAL_IMAGES_PER_CLASS = 20.0
TYPICAL_IMAGES = 200.0
TYPICAL_ACCURACY = 0.8  # where nothing can be cross-validated
MOST_EXCESS = 0.3  # a drift beyond that counts as this
# Logarithm of the odds of an error of full fine-tuning over those of the best frozen model: `python -m
# benchmarks.regret` fits and prints this and the next four, here to 40 cells of 13 data sets. Provisional.
FULL = Line(
    coefficients=(-0.339, 0.0, -0.073, -0.097, -0.072),
    covariance=(
        (0.0092, -0.0006, 0.0013, -0.0009, 0.0031),
        (-0.0006, 0.0036, -0.0029, 0.0008, 0.0014),
        (0.0013, -0.0029, 0.0027, -0.0006, -0.0007),
        (-0.0009, 0.0008, -0.0006, 0.0036, 0.0004),
        (0.0031, 0.0014, -0.0007, 0.0004, 0.0029),
    ),
    spread=0.217,
)
# Logarithm of the odds of an error of partial fine-tuning over those of full fine-tuning.
PARTIAL_LESS_FULL = Line(
    coefficients=(0.215, -0.029, 0.038, 0.097, 0.0),
    covariance=(
        (0.0102, -0.0012, 0.0017, -0.0012, 0.0026),
        (-0.0012, 0.0036, -0.003, 0.0007, 0.0011),
        (0.0017, -0.003, 0.0028, -0.0005, -0.0004),
        (-0.0012, 0.0007, -0.0005, 0.0045, 0.0003),
        (0.0026, 0.0011, -0.0004, 0.0003, 0.0024),
    ),
    spread=0.258,
)
# Accuracy that the cut of scenario 4 gains over the whole backbone: its mean on images like the source's and on others,
# and its standard deviation over tasks; of the 54 cells with both.
CUT_GAIN_SIMILAR = -0.019
CUT_GAIN_DISSIMILAR = 0.015
CUT_GAIN_SPREAD = 0.022
# What a cross-validated gain misses of that on new images, in accuracy, beside its standard error. Ours.
CUT_GAIN_ERROR = 0.01
# Change of the logit of the frozen model's error with each doubling of the images: of 13 sets from 10 to 160 images a
# class -0.29 ± 0.05. A classifier on all images is better by that than the cross-validated ones on four fifths.
ERROR_PER_DOUBLING = -0.29
# Standard deviation of the logit of the frozen model's error, beside what the number of images explains. Ours.
ERROR_SPREAD = 0.2
# Excess drift of images that count as like the source's and as unlike, where it can't be measured: about the medians of
# benchmarks/results/scenarios.jsonl.
EXCESS_SIMILAR = 0.02
EXCESS_DISSIMILAR = 0.25
# Images of a class below which the model card names it.
FEW_IMAGES = 20

# A scenario has to be expected to be better than a cheaper one by this much, in accuracy, to be worth its cost, and
# further trials have to be expected to make as much of a difference. Ours.
WORTH_ITS_COST = 0.005
# Confidence is the probability that no scenario is better by more than this, in accuracy.
NEARLY_BEST = 0.01
# Independent images that judge the frozen model, from which a trial against it is worth its time. Ours: with fewer, one
# trial holds out under 20, and the standard error of its gain is 8 to 24 points in the cells of benchmarks/regret.
TRIAL_IMAGES = 100
# A fine-tuned network is returned if it is better than the frozen model with this probability, by what is expected and
# by trials together.
ACCEPTED = 0.6
# Standard deviation of what a trial on fewer images misses of the gain of a training on all, as a share of the frozen
# model's error. Ours.
TRIAL_ERROR = 0.1
# Standard deviations from what is expected beyond which a trial's gain shows a task that is unlike the others. Ours.
SURPRISE = 2.0
# Confidence below which the answer is "too close to call".
CLOSE_CALL = 0.6

# Share of the classes that may be smaller, rounded down: none of up to 50 classes, 19 of a thousand. So one rare class
# does not decide for a thousand others. Ours.
NEGLIGIBLE_CLASSES = 0.02

# Excess drift at which the similarity score is 0.5, in units of the source's variance as EfficientNet-Lite0 has it.
# Provisional.
# benchmarks/results/drift.jsonl: photographs stay below it with each of EfficientNet-Lite0, Lite1 and Lite2 (at most
# 0.09); MRI slices, X-rays, spectrograms, strokes, cells and textures lie above it (at least 0.12). Grey, dark or noisy
# copies of photographs fall in between, from 0.08 to 0.11.
DRIFT_THRESHOLD = 0.10
SIMILAR_SCORE = 0.5

# Without drift: images count as dissimilar if a cut no deeper than this is clearly better than the last one.
SPECIALISED_DEPTH = 0.9
# Share of cells in which that verdict agrees with the one by drift. benchmarks/results/scenarios.jsonl: in 16 of 26;
# the others are out-of-distribution images that it takes for similar ones.
CUTS_AGREEMENT = 0.62

# Cut depth that the rule starts from, as a share of the backbone's weighted layers.
TOP_CUT_DEPTH = 1.0
# benchmarks/results/cuts.jsonl: over seven sets unlike ImageNet the first block of the last stage is within half a
# point of the best constant.
MIDDLE_CUT_DEPTH = 0.73
# Standard errors by which another cut must be better than the rule's own. A later cut costs only time, since the head
# reads the earlier ones as well; an earlier one discards part of the network.
# Chosen on five seeds of 13 data sets at 10 and 30 images a class; benchmarks/results/cuts.jsonl has the outcome.
LATER_CUT_CAUTION = 1.0
EARLIER_CUT_CAUTION = 2.5
# Standard errors by which the cut alone must be better than the joined cut points for the head to read it alone. Ours.
ALONE_CAUTION = 1.0
# Accuracy at neighbouring cuts is averaged with a Gaussian kernel of this width in depth.
CUT_SMOOTHING = 0.05

# Share of the backbone's weighted layers that trains in a partial fine-tune: this much up to so many images, and this
# much more with every tenfold, up to the most. Provisional.
# pilot: with 1,000 photographs the last four of 16 blocks came within a point of training everything.
TRAINABLE_SHARE_IMAGES = 1000
TRAINABLE_SHARE = 0.25
TRAINABLE_SHARE_PER_TENFOLD = 0.25
MOST_TRAINABLE_SHARE = 0.85

# Adam's learning rate. Provisional; pilot: 3e-4 with warm-up and decay over 150 steps. A constant rate has to be lower.
HEAD_LEARNING_RATE = 1e-3
FINE_TUNE_LEARNING_RATE = 1e-4

# BatchNorm keeps its pretrained statistics. benchmarks/results/fine_tuning.jsonl: on spectrograms, training it took the
# accuracy from 83 to 56 % in five epochs; leaving it in inference mode, to 91 %.
TRAIN_BATCH_NORM = False

# Input size in px: so many times the median short side, rounded to the step, from the smallest up to the native size.
# benchmarks/results/input_size.jsonl: over 13 sets the factor 5 loses 0.9 points against the best size, 1 loses 2.2.
INPUT_ENLARGEMENT = 5.0
# Where the size is measured: sizes to try as shares of the rule's, and the standard errors by which a larger and a
# smaller one, which takes less time, must be better. The same cells: with less caution more is lost.
INPUT_SIZES_TRIED = (0.7, 1.4)
LARGER_INPUT_CAUTION = 2.0
SMALLER_INPUT_CAUTION = 1.0
SMALLEST_INPUT = 96
INPUT_STEP = 32
# Where the network is measured: numbers of images on which candidates are compared one after the other; the standard
# errors behind the leader from which one is dropped, and within which the cheaper one is taken. Ours, set before
# benchmarks/results/backbone_choice.jsonl was measured, but for two of its sets.
BACKBONE_SAMPLES = (100, 300, 600)
BACKBONE_DROPPED = 2.0
BACKBONE_TIED = 1.0
# The prior of a network: points of accuracy for each point of accuracy on ImageNet, and the images that it counts as.
# Ours, set in the same way; within those results 0.2 to 0.6 points are gained for each point on ImageNet.
BACKBONE_PRIOR_SLOPE = 0.5
BACKBONE_PRIOR_IMAGES = 100
# Enlargement from which the page says that the similarity is to images that are enlarged as much.
NOTABLE_ENLARGEMENT = 1.5

# Largest class over smallest class from which classes count as unbalanced: the report says so, and each class has the
# same weight in what is fitted. benchmarks/results/imbalance.jsonl: weighting the classes raises balanced accuracy by
# 1.3, 1.6 and 7.2 points on the three sets with ratios of 3.2, 4.3 and 19, and costs accuracy only at 19, by 0.6
# points; at ratios below 2 the gain is below a point.
WEIGHTED_IMBALANCE = 3
