"""Contact sheets: screenshots side by side, for review."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

GAP = 16
CAPTION = 24
TITLE = 40


def compose(path: Path, title: str, pictures: Sequence[tuple[str, Path]], columns: int) -> None:
    """Write *pictures*, each under its caption, to *path*, *columns* in a row.

    Pictures wider than 640 pixels are shown at half size.
    """
    shots = []
    for caption, file in pictures:
        with Image.open(file) as image:
            scale = 0.5 if image.width > 640 else 1
            shots.append((caption, image.convert("RGB").reduce(round(1 / scale))))
    width = max(shot.width for _, shot in shots) + GAP
    height = max(shot.height for _, shot in shots) + GAP + CAPTION
    rows = ceil(len(shots) / columns)
    sheet = Image.new("RGB", (width * columns + GAP, height * rows + TITLE + GAP), "#8a8f98")
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 10), title, "white", ImageFont.load_default(22))
    for index, (caption, shot) in enumerate(shots):
        left = GAP + index % columns * width
        top = TITLE + GAP + index // columns * height
        draw.text((left, top), caption, "white", ImageFont.load_default(15))
        sheet.paste(shot, (left, top + CAPTION))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
