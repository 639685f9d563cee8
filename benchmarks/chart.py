"""Bars as SVG, for the documents: each ratio beside what it must not exceed."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

ROW, BAR, LEFT, WIDTH = 34, 14, 300, 760


@dataclass(frozen=True)
class Bar:
    """A ratio of two functions' times.

    Attributes:
        label: what is compared.
        ratio: of the times: the median of the paired ratios.
        cpu_ratio: likewise, of the processor's time; not drawn.
        must: the most that it may be.
        aim: what it should be.

    """

    label: str
    ratio: float
    cpu_ratio: float
    must: float
    aim: float


def svg(bars: Sequence[Bar]) -> str:
    """Return a chart of *bars*, readable on light and on dark ground."""
    scale = (WIDTH - LEFT - 60) / max(1.3, *(max(it.ratio, it.must) for it in bars))
    height = ROW * len(bars) + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        '<g font-family="system-ui, sans-serif" font-size="13" fill="#777">',
        "<title>Time against each rival: shorter is faster</title>",
    ]
    for index, bar in enumerate(bars):
        y = 10 + ROW * index
        end = LEFT + bar.ratio * scale
        colour = "#2a7f62" if bar.ratio <= bar.must else "#b3261e"
        lines += [
            f'<text x="{LEFT - 10}" y="{y + 12}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{end + 8:.1f}" y="{y + 12}">{bar.ratio:.2f}</text>',
            *(
                f'<path d="M{LEFT + limit * scale:.1f} {y - 4}v{BAR + 8}" stroke="#777"'
                f' stroke-width="2"{dashes}/>'
                for limit, dashes in ((bar.must, ""), (bar.aim, ' stroke-dasharray="3 2"'))
            ),
        ]
    lines += [
        f'<text x="{LEFT}" y="{height - 10}">rival = 1.00; line: must, dashes: aim</text>',
        "</g></svg>",
        "",
    ]
    return "\n".join(lines)
