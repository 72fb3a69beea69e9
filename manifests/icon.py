"""The icon: a play sign on a strip of video. `python -m manifests.icon` draws it again."""

from PIL import Image, ImageDraw

from manifests import facts

SIZE, FINE = 512, 4
TOP, BOTTOM = (38, 20, 92), (214, 64, 110)


def draw() -> Image.Image:
    """Return it, 512 by 512."""
    side = SIZE * FINE
    ground = Image.new("RGB", (1, side))
    for y in range(side):
        part = y / side
        ground.putpixel((0, y), tuple(round(a + (b - a) * part) for a, b in zip(TOP, BOTTOM, strict=True)))
    card = ground.resize((side, side)).convert("RGBA")
    pen = ImageDraw.Draw(card)
    hole, margin = side // 16, side // 14
    for step in range(6):
        y = margin + step * (side - 2 * margin - hole) // 5
        for x in (margin, side - margin - hole):
            pen.rounded_rectangle((x, y, x + hole, y + hole), hole // 4, fill=(255, 255, 255, 90))
    left, right, middle = side * 0.37, side * 0.70, side / 2
    pen.polygon([(left, side * 0.29), (left, side * 0.71), (right, middle)], fill="white")
    shape = Image.new("L", (side, side), 0)
    ImageDraw.Draw(shape).rounded_rectangle((0, 0, side - 1, side - 1), side // 5, fill=255)
    card.putalpha(shape)
    return card.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    draw().save(facts.MANIFESTS / "mcpb" / "icon.png", optimize=True)
