"""Chooses the language of a page by ``Accept-Language`` (RFC 9110, section 12.5.4)."""

import re
from collections.abc import Sequence

# Possessive quantifiers ("*+") prevent catastrophic backtracking on long runs of whitespace.
_LANGUAGE_RANGE = re.compile(
    r"\s*+([a-z]{1,8}|\*)(?:-[a-z0-9-]+)?\s*+(?:;\s*+q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?\s*+"
)


def preferred_language(accept_language: str, offered: Sequence[str]) -> str:
    """Return the language of *offered* that *accept_language* prefers, or else the first.

    A range counts for its whole language, so that ``fr-CH`` means ``fr``. Of equal weights the
    first one wins.
    """
    weights: dict[str, float] = {}
    for language_range in accept_language.lower().split(","):
        if found := _LANGUAGE_RANGE.fullmatch(language_range):
            weights[found[1]] = max(float(found[2] or 1), weights.get(found[1], 0))
    others = weights.get("*", 0)
    wanted = {name: weights.get(name, others) for name in (*weights, *offered) if name in offered}
    best = max(wanted, key=lambda name: wanted[name])
    return best if wanted[best] else offered[0]
