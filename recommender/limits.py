"""The range of each argument, for the command and the library alike."""

SMALLEST_INPUT = 32  # px: a backbone with stride 32 has no feature map below it
SMALLEST_SAMPLE = 2  # an image of each of two classes
LARGEST_SEED = 2**32 - 1  # scikit-learn's
SMALLEST_BUDGET = 1  # s: what is done by then is reported, the frozen strategies at least
ENGINES = ("auto", "litert", "tensorflow")  # what runs the network
