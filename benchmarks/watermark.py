"""Does an invisible watermark of a package survive JPEG 75 and half-size resampling?

    pip install --no-deps invisible-watermark blind-watermark && pip install opencv-python-headless PyWavelets
    python benchmarks/watermark.py [--write benchmarks/results/watermark.md]

A watermark of 32 bits is put into squares of 128 px (the demo pictures) and into photographs (of scikit-image). It
passes where all bits come back from at least 99 % of the pictures after each attack, and where the picture without a
watermark does not seem to hold it. Packages that fetch their weights from elsewhere cannot be used by padinv, and are
not tried.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from padinv.runtime.benchmark.machine import this_machine
from padinv.runtime.demo_pictures import demo_folder

BITS = np.random.default_rng(7).integers(0, 2, 32)
NEEDED = 0.99
Embed = Callable[[np.ndarray], np.ndarray]
Read = Callable[[np.ndarray], np.ndarray]


def _of_invisible_watermark(method: str) -> tuple[Embed, Read]:
    from imwatermark import WatermarkDecoder, WatermarkEncoder

    encoder, decoder = WatermarkEncoder(), WatermarkDecoder("bits", 32)
    encoder.set_watermark("bits", BITS.tolist())
    if method == "rivaGan":
        encoder.loadModel()
        decoder.loadModel()

    def embed(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(encoder.encode(np.ascontiguousarray(pixels[..., ::-1]), method))[..., ::-1].astype(np.uint8)

    def read(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(decoder.decode(np.ascontiguousarray(pixels[..., ::-1]), method)).astype(int)

    return embed, read


def _of_blind_watermark() -> tuple[Embed, Read]:
    from blind_watermark import WaterMark, bw_notes

    bw_notes.close()

    def embed(pixels: np.ndarray) -> np.ndarray:
        mark = WaterMark(password_img=1, password_wm=1)
        mark.read_img(img=np.ascontiguousarray(pixels[..., ::-1]))
        mark.read_wm(BITS.astype(bool), mode="bit")
        return np.clip(np.rint(mark.embed()), 0, 255)[..., ::-1].astype(np.uint8)

    def read(pixels: np.ndarray) -> np.ndarray:
        mark = WaterMark(password_img=1, password_wm=1)
        found = mark.extract(embed_img=np.ascontiguousarray(pixels[..., ::-1]), wm_shape=32, mode="bit")
        return (np.asarray(found) > 0.5).astype(int)

    return embed, read


def candidates() -> dict[str, tuple[Embed, Read]]:
    """Label -> how to embed and to read."""
    label = f"invisible-watermark {version('invisible-watermark')}"
    made = {f"{label}, {method}": _of_invisible_watermark(method) for method in ("dwtDct", "dwtDctSvd", "rivaGan")}
    return {**made, f"blind-watermark {version('blind-watermark')}": _of_blind_watermark()}


def jpeg(pixels: np.ndarray) -> np.ndarray:
    """Saved as JPEG with quality 75 and opened again."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def half(pixels: np.ndarray) -> np.ndarray:
    """Half as wide and half as high."""
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS))


def half_and_back(pixels: np.ndarray) -> np.ndarray:
    """Half the size, and enlarged to the size it had, which the reader would have to know."""
    image = Image.fromarray(half(pixels))
    return np.asarray(image.resize((pixels.shape[1], pixels.shape[0]), Image.Resampling.BICUBIC))


ATTACKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "unchanged": lambda pixels: pixels,
    "JPEG 75": jpeg,
    "half size": half,
    "half size and back": half_and_back,
}


def pictures() -> dict[str, list[np.ndarray]]:
    """Squares of 128 px, and photographs of 300 to 700 px."""
    import skimage.data

    names = sorted(demo_folder().glob("*.png"))[:16]
    squares = [Image.open(path).convert("RGB").resize((128, 128)) for path in names]
    photographs = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    large = [np.asarray(Image.fromarray(one).resize((704, 528), Image.Resampling.LANCZOS)) for one in photographs]
    return {"128 px": [np.asarray(one) for one in squares], "photographs of 704 x 528": large}


def survived(read: Read, pixels: np.ndarray) -> tuple[bool, float]:
    """Whether all bits came back, and the share of those that did; nothing where the reader fails."""
    try:
        share = float((read(pixels) == BITS).mean())
    except Exception:  # packages fail in their own ways on pictures that are too small for them
        return False, 0.0
    return share == 1.0, share


def measured(embed: Embed, read: Read, group: list[np.ndarray]) -> dict[str, Any]:
    """Share of pictures that come through each attack, the mean share of bits, PSNR, and false alarms."""
    found: dict[str, Any] = {}
    try:
        marked = [embed(pixels) for pixels in group]
    except Exception as error:
        return {"failed": " ".join(str(error).split())[:80] or type(error).__name__}
    errors = [np.mean((a.astype(float) - b) ** 2) for a, b in zip(marked, group, strict=True)]
    found["psnr"] = float(np.mean([10 * np.log10(255**2 / max(error, 1e-9)) for error in errors]))
    for name, attack in ATTACKS.items():
        results = [survived(read, attack(pixels)) for pixels in marked]
        found[name] = (np.mean([whole for whole, _ in results]), np.mean([share for _, share in results]))
    found["false"] = sum(survived(read, pixels)[0] for pixels in group)
    return found


def passes(found: dict[str, Any]) -> bool:
    """Whether a group comes through JPEG and half-size resampling (either reading of it), without false alarms."""
    if "failed" in found or found["false"]:
        return False
    return bool(found["JPEG 75"][0] >= NEEDED and max(found["half size"][0], found["half size and back"][0]) >= NEEDED)


def rows(label: str, group: str, found: dict[str, Any]) -> str:
    """A line of the table."""
    if "failed" in found:
        return f"| {label} | {group} | fails: {found['failed']} | | | | | no |"
    cells = " | ".join(f"{found[name][0]:.0%} ({found[name][1]:.0%})" for name in ATTACKS)
    return f"| {label} | {group} | {found['psnr']:.1f} dB | {cells} | {'yes' if passes(found) else 'no'} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path, help="file of the result")
    options = parser.parse_args()
    groups, lines, passed = pictures(), [], {}
    for label, (embed, read) in candidates().items():
        found = {name: measured(embed, read, group) for name, group in groups.items()}
        lines += [rows(label, name, one) for name, one in found.items()]
        passed[label] = all(passes(one) for one in found.values())
    whole = [label for label, good in passed.items() if good]
    counts = ", ".join(f"{len(group)} at {name}" for name, group in groups.items())
    text = "\n".join([
        "# Invisible watermarks",
        "",
        f"Written by `benchmarks/watermark.py`: a watermark of 32 bits, {counts}.",
        "",
        *(f"- {line}" for line in this_machine().lines()),
        "",
        "Each cell is the share of pictures whose 32 bits all come back, and in brackets the share of bits.",
        "",
        f"| package, method | pictures | PSNR | {' | '.join(ATTACKS)} | passes |",
        "|---|---|---|---|---|---|---|---|",
        *lines,
        "",
        f"A method passes with {NEEDED:.0%} of the pictures after JPEG 75 and after half-size resampling, at both\n"
        "sizes.",
        f"Those that pass: {', '.join(whole) or 'none'}.",
        "",
    ])  # fmt: skip
    sys.stdout.write(text)
    if options.write is not None:
        options.write.write_text(text)


if __name__ == "__main__":
    main()
