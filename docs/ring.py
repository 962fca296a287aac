"""Draw docs/pictures/ring.svg: a feature map, its ring in the public order, and the 3x3 window that reads it."""

from __future__ import annotations

from pathlib import Path

R, CELL, GAP = 6, 26, 3
COLOURS = {"top": "#2f6fde", "bottom": "#1f9d74", "left": "#d9822b", "right": "#b03a8f"}


def cell(row: int, column: int, fill: str, label: str = "", opacity: float = 1.0) -> str:
    x, y = 20 + column * (CELL + GAP), 48 + row * (CELL + GAP)
    text = (
        f'<text x="{x + CELL / 2}" y="{y + CELL / 2 + 4}" text-anchor="middle" fill="#fff" '
        f'font-size="10">{label}</text>'
        if label
        else ""
    )
    return f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" rx="3" fill="{fill}" opacity="{opacity}"/>{text}'


def side(row: int, column: int) -> tuple[str, int] | None:
    """The part of the ring that a position belongs to, and its index in the ring."""
    if row == 0:
        return "top", column
    if row == R + 1:
        return "bottom", R + 2 + column
    if column == 0:
        return "left", 2 * (R + 2) + row - 1
    if column == R + 1:
        return "right", 2 * (R + 2) + R + row - 1
    return None


def main() -> None:
    parts = []
    for row in range(R + 2):
        for column in range(R + 2):
            found = side(row, column)
            parts.append(
                cell(row, column, "#c9ced6") if found is None else cell(row, column, COLOURS[found[0]], str(found[1]))
            )
    size = 20 + (R + 2) * (CELL + GAP)
    x, y, window = 20, 48, 3 * (CELL + GAP) - GAP
    parts.append(
        f'<rect x="{x - 2}" y="{y - 2}" width="{window + 4}" height="{window + 4}" fill="none" stroke="#111" '
        'stroke-width="2.5" rx="4"/>'
    )
    legend = [
        ("#c9ced6", f"feature map, {R} x {R}, scaled by the style"),
        (COLOURS["top"], f"top row, r + 2 = {R + 2} values"),
        (COLOURS["bottom"], "bottom row, r + 2 values"),
        (COLOURS["left"], f"left column, r = {R} values, top to bottom"),
        (COLOURS["right"], "right column, r values"),
    ]
    for k, (colour, text) in enumerate(legend):
        ly = 70 + 30 * k
        parts.append(f'<rect x="{size + 30}" y="{ly}" width="16" height="16" rx="3" fill="{colour}"/>')
        parts.append(f'<text x="{size + 56}" y="{ly + 13}" font-size="14" fill="#333">{text}</text>')
    parts.append(
        f'<text x="{size + 30}" y="{70 + 30 * len(legend) + 20}" font-size="14" fill="#333">'
        "The 3 x 3 convolution reads the ring where</text>"
        f'<text x="{size + 30}" y="{70 + 30 * len(legend) + 40}" font-size="14" fill="#333">'
        "StyleGAN2 has zeros. The ring is not scaled.</text>"
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size + 400} {60 + (R + 2) * (CELL + GAP)}" '
        'font-family="system-ui, sans-serif" role="img" aria-label="The ring around a feature map">'
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="20" y="30" font-size="16" font-weight="600" fill="#111">pad_{R}: one ring of 4r + 4 = {4 * R + 4} '
        f"values per channel</text>{''.join(parts)}</svg>\n"
    )
    (Path(__file__).parent / "pictures" / "ring.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
