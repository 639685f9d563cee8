"""Chooses the language of a page by ``Accept-Language`` (RFC 9110, section 12.5.4).

Devices also send locales (``fr_FR.UTF-8``), and weights that the RFC does not know (``.8``,
``0.5000``, ``0,8``).
"""

import re
from collections.abc import Sequence

# Each text matches either pattern in one way at most, so matching takes linear time.
_LANGUAGE = re.compile(r"\s*+([a-z]++|\*)(?![0-9])")
_WEIGHT = re.compile(r";\s*+q\s*+=\s*+([0-9]*\.?[0-9]+)")


def preferred_language(accept_language: str, offered: Sequence[str]) -> str:
    """Return the language of *offered* that *accept_language* prefers, or else the first.

    A range counts for its whole language, so that ``fr-CH`` means ``fr``. Of equal weights the
    first one wins. A weight that cannot be read counts as omitted.
    """
    weights: dict[str, float] = {}
    # A comma before a digit is a decimal one, because no language begins with a digit.
    for language_range in re.sub(",(?=[0-9])", ".", accept_language.lower()).split(","):
        if found := _LANGUAGE.match(language_range):
            weight = _WEIGHT.search(language_range)
            value = min(float(weight[1]), 1) if weight else 1
            weights[found[1]] = max(value, weights.get(found[1], 0))
    others = weights.get("*", 0)
    wanted = {name: weights.get(name, others) for name in (*weights, *offered) if name in offered}
    best = max(wanted, key=lambda name: wanted[name])
    return best if wanted[best] else offered[0]
