"""stub"""

from typing import Any


def verdict_sentence(c: Any) -> str:
    return f"{c.verdict} {c.regret}"
