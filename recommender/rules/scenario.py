"""The four textbook ways of transfer learning, and the two questions that tell them apart."""

import enum
from dataclasses import dataclass


class Amount(enum.StrEnum):
    """How much data there is."""

    LIMITED = "limited"
    PLENTIFUL = "plentiful"


class Similarity(enum.StrEnum):
    """How like the source's pictures the target's are."""

    SIMILAR = "similar"
    DISSIMILAR = "dissimilar"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    id: int
    amount: Amount
    similarity: Similarity
    recipe: str


class Scenario(enum.Enum):
    """One of the four ways; the value's id is the textbook's number."""

    LINEAR_PROBE = _Facts(
        id=1,
        amount=Amount.LIMITED,
        similarity=Similarity.SIMILAR,
        recipe="keep the whole backbone, freeze all of it, train a new prediction layer",
    )
    PARTIAL_FINE_TUNE = _Facts(
        id=2,
        amount=Amount.PLENTIFUL,
        similarity=Similarity.SIMILAR,
        recipe="keep the whole backbone, unfreeze its last layers, put a new prediction layer on top",
    )
    FULL_FINE_TUNE = _Facts(
        id=3,
        amount=Amount.PLENTIFUL,
        similarity=Similarity.DISSIMILAR,
        recipe="start from the pretrained weights and train everything, with a new prediction layer",
    )
    SHALLOW_FEATURES = _Facts(
        id=4,
        amount=Amount.LIMITED,
        similarity=Similarity.DISSIMILAR,
        recipe="cut away the last, too specialised blocks and put a shallow classifier on what stays, frozen",
    )

    @property
    def id(self) -> int:
        return self.value.id

    @property
    def amount(self) -> Amount:
        return self.value.amount

    @property
    def similarity(self) -> Similarity:
        return self.value.similarity

    @property
    def recipe(self) -> str:
        return self.value.recipe

    @classmethod
    def of(cls, amount: Amount, similarity: Similarity) -> "Scenario":
        """The cell of the table at these two answers."""
        return next(member for member in cls if (member.amount, member.similarity) == (amount, similarity))

    @classmethod
    def numbered(cls, number: int) -> "Scenario":
        """The scenario with that id, 1 to 4."""
        return next(member for member in cls if member.id == number)
