"""Draws each ratio as a bar beside its limit, in SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

ROW, BAR, LEFT, WIDTH = 34, 14, 300, 760


@dataclass(frozen=True)
class Result:
    """A ratio of the times of two functions.

    Attributes:
        label: the two functions.
        ratio: the median ratio of the times.
        cpu_ratio: the ratio of the processor times.
        limit: the highest ratio allowed; None: no limit.
        ratios: the ratio of the times in each round.

    """

    label: str
    ratio: float
    cpu_ratio: float
    limit: float | None
    ratios: Sequence[float]

    @property
    def is_met(self) -> bool:
        """Whether the ratio is within its limit, if it has one."""
        return self.limit is None or round(self.ratio, 2) <= self.limit


def svg(results: Sequence[Result]) -> str:
    """Return a chart of *results*, readable on a light and on a dark background."""
    scale = (WIDTH - LEFT - 60) / max(1.3, *(max(each.ratio, each.limit or 0) for each in results))
    height = ROW * len(results) + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        '<g font-family="system-ui, sans-serif" font-size="13" fill="#777">',
        "<title>Time against each rival: shorter is faster</title>",
    ]
    for index, result in enumerate(results):
        y = 10 + ROW * index
        end = LEFT + result.ratio * scale
        limit = LEFT + (result.limit or 0) * scale
        colour = "#2a7f62" if result.is_met else "#b3261e"
        lines += [
            f'<text x="{LEFT - 10}" y="{y + 12}" text-anchor="end">{escape(result.label)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{max(end, limit) + 8:.1f}" y="{y + 12}">{result.ratio:.2f}</text>',
            f'<path d="M{limit:.1f} {y - 4}v{BAR + 8}" stroke="#777" stroke-width="2"/>',
        ]
    lines += [
        f'<text x="{LEFT}" y="{height - 10}">the rival is 1.00; the line is the limit</text>',
        "</g></svg>",
        "",
    ]
    return "\n".join(lines)
