"""The error that a user of the recommender can cause."""


class RecommendError(Exception):
    """What was asked for can't be recommended: the message says what was expected, what arrived and what to do."""
