"""Checks that an sdist holds every tracked file, and a wheel every module, data file and licence.

usage: check_archives.py SDIST WHEEL CLONE
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

# Files of the repository that people who build or test padinv from its sdist do not need.
NOT_IN_SDIST = (".gitignore", ".ci/", ".github/", ".pre-commit-config.yaml")
LICENCES = ("LICENSE", "NOTICE", "runtime/alignment/centerface/LICENSE", "padinv/losses/data/LICENSE-lpips.txt")
# Where the repository's folders lie in an installed package.
PLACES = {"padinv/": "padinv/", "cli/": "padinv/cli/", "export/": "padinv/export/", "runtime/": "padinv/runtime/"}


def missing_from_sdist(sdist: Path, clone: Path) -> list[str]:
    """Files of the clone that the sdist lacks."""
    with tarfile.open(sdist) as archive:
        inside = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    wanted = {path.relative_to(clone).as_posix() for path in clone.rglob("*") if path.is_file()}
    generated = ("build/", "padinv.egg-info/")
    return sorted(
        name for name in wanted - inside if not name.startswith((*NOT_IN_SDIST, *generated)) and ".egg-info" not in name
    )


def missing_from_wheel(wheel: Path, clone: Path) -> list[str]:
    """Modules and data files of the four folders, and licences, that the wheel lacks."""
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    lacking = []
    for folder, place in PLACES.items():
        for path in (clone / folder).rglob("*"):
            name = place + path.relative_to(clone / folder).as_posix()
            if path.is_file() and "__pycache__" not in name and name not in inside:
                lacking.append(name)
    (info,) = {name.split("/")[0] for name in inside if ".dist-info/" in name}
    lacking += [f"the licence {name}" for name in LICENCES if f"{info}/licenses/{name}" not in inside]
    return sorted(lacking)


def main() -> int:
    sdist, wheel, clone = map(Path, sys.argv[1:4])
    lacking = [f"{sdist.name} lacks {name}" for name in missing_from_sdist(sdist, clone)]
    lacking += [f"{wheel.name} lacks {name}" for name in missing_from_wheel(wheel, clone)]
    for sentence in lacking:
        print(f"check_archives: {sentence}", file=sys.stderr)
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
