"""Paint attributes onto aligned faces, to look at them.

python benchmarks/edits_paint.py FACE.png --out painted/
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from padinv.reproduce.painted import ATTRIBUTES, MORE, paint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("padinv-out/painted"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in arguments.faces:
        face = Image.open(path).convert("RGB")
        for attribute in ATTRIBUTES + MORE:
            target = arguments.out / f"{path.stem}-{attribute.replace(' ', '-')}.png"
            paint(face, attribute).save(target)
            print(target)


if __name__ == "__main__":
    main()
