"""Every number that the rules rest on, with its source.

"pilot" is a study on 13 data sets with EfficientNet-Lite0, made before the package; docs/method.md summarises it.
Values marked provisional rest on few data sets and await a benchmark of all four scenarios.
"""

# Plentiful data: both must hold. Provisional.
# pilot: fine-tuning was ahead of a linear classifier by 2 points on photographs and by 10 on spectrograms from about a
# thousand images on; with 40 to 200 images it lost or tied on five of six data sets.
PLENTIFUL_IMAGES = 1000
# pilot: at 20 images a class fine-tuning still lost or tied on four of five data sets.
# It has to hold for the small classes: a network learns a class of 12 images from 12 images, however many the other
# classes have, and balanced accuracy gives that class the same weight as any other.
PLENTIFUL_IMAGES_PER_CLASS = 20
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
SIMILARITY_RESAMPLES = 200
# Share of cells in which that verdict agrees with the one by drift. benchmarks/results/scenarios.jsonl: in 16 of 26;
# the others are out-of-distribution images that it takes for similar ones.
CUTS_AGREEMENT = 0.62

# A margin within this factor of a threshold is a close call. Confidence does not show it: it resamples the images, and
# the thresholds are provisional. Ours.
CLOSE_CALL = 1.25

# Cut depth that the rule starts from, as a share of the backbone's weighted layers.
TOP_CUT_DEPTH = 1.0
# benchmarks/results/cuts.jsonl: over seven sets unlike ImageNet the best constant is the first block of the last stage.
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

# Share of the backbone's weighted layers that trains in a partial fine-tune: this much at PLENTIFUL_IMAGES and this
# much more with every tenfold, up to the most. Provisional.
# pilot: with 1,000 photographs the last four of 16 blocks came within a point of training everything.
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
