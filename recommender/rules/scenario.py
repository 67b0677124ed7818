"""The four textbook ways of transfer learning, and the two questions that separate them."""

import enum


class Amount(enum.StrEnum):
    """How much data there is."""

    LIMITED = "limited"
    PLENTIFUL = "plentiful"


class Similarity(enum.StrEnum):
    """How similar the target's images are to the source's."""

    SIMILAR = "similar"
    DISSIMILAR = "dissimilar"


RECIPES = {
    1: "keep the whole backbone, freeze all of it, train a new prediction layer",
    2: "keep the whole backbone, unfreeze its last layers, put a new prediction layer on top",
    3: "start from the pretrained weights and train everything, with a new prediction layer",
    4: "cut away the last, too specialised blocks and put a shallow classifier on what stays, frozen",
}


class Scenario(enum.Enum):
    """One of the four ways: its number in the textbook, and the answers to both questions."""

    LINEAR_PROBE = (1, Amount.LIMITED, Similarity.SIMILAR)
    PARTIAL_FINE_TUNE = (2, Amount.PLENTIFUL, Similarity.SIMILAR)
    FULL_FINE_TUNE = (3, Amount.PLENTIFUL, Similarity.DISSIMILAR)
    SHALLOW_FEATURES = (4, Amount.LIMITED, Similarity.DISSIMILAR)

    def __init__(self, number: int, amount: Amount, similarity: Similarity) -> None:
        self.id, self.amount, self.similarity, self.recipe = number, amount, similarity, RECIPES[number]

    @property
    def fine_tunes(self) -> bool:
        """Whether layers of the backbone train."""
        return self.amount is Amount.PLENTIFUL

    @classmethod
    def of(cls, amount: Amount, similarity: Similarity) -> "Scenario":
        """The scenario for these two answers."""
        return next(member for member in cls if (member.amount, member.similarity) == (amount, similarity))

    @classmethod
    def numbered(cls, number: int) -> "Scenario":
        """The scenario with that id, 1 to 4."""
        return next(member for member in cls if member.id == number)
