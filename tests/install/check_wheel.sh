#!/usr/bin/env bash
# Installs padinv as users do and runs it from an empty folder: the wheel, built from the sdist, and then a clone.
# usage: check_wheel.sh [WORK_FOLDER]      with PYTHON=python3.10 for another interpreter; needs a package index
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=${1:-$(mktemp -d)}
[ $# -gt 0 ] || trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONNOUSERSITE=1
unset PYTHONPATH

say() { echo "check_wheel: $*"; }

# What git tracks, and nothing that was built or run in the checkout.
mkdir -p "$work/clone"
git -C "$root" ls-files -z | (cd "$root" && tar --null --files-from=- --create) | tar --extract --directory "$work/clone"

"${PYTHON:-python3}" -m venv "$work/venv"
python="$work/venv/bin/python"
"$python" -m pip install --quiet build

say "building the sdist, and the wheel from it"
"$python" -m build --outdir "$work/dist" "$work/clone" >"$work/build.log" 2>&1 || { tail -30 "$work/build.log"; exit 1; }
sdist=$(echo "$work"/dist/padinv-*.tar.gz)
wheel=$(echo "$work"/dist/padinv-*.whl)
"$python" "$root/tests/install/check_archives.py" "$sdist" "$wheel" "$work/clone"

run_everything() { # $1: a name for messages
    local empty="$work/empty-$1" demo
    mkdir -p "$empty"
    cd "$empty"
    "$work/venv/bin/padinv" demo >demo.log 2>&1 || { cat demo.log; exit 1; }
    test -s padinv-out/demo/report.html
    demo=$("$python" -c "from padinv.runtime.demo_pictures import demo_folder; print(demo_folder())")
    cp "$demo/eileen-collins.png" "$demo/grace-hopper.png" .
    cp "$demo/synthetic-01-plain.png" before.png
    "$python" -c "
from PIL import Image
image = Image.open('before.png').convert('RGB')
image.paste((20, 20, 20), (10, 26, 54, 34))
image.save('after.png')"
    "$python" "$root/tests/install/example.py"
    for name in a.safetensors reconstructed.png blend.png edited.png halfway.png; do test -s "$name"; done
    padinv() { "$work/venv/bin/padinv" "$@" >command.log 2>&1 || { echo "padinv $* failed:"; cat command.log; exit 1; }; }
    padinv invert eileen-collins.png --paste-back --out inverted
    padinv blend eileen-collins.png grace-hopper.png --paste-back --out blended
    padinv custom-edit --pair before.png after.png --target eileen-collins.png --space padding --out edited
    padinv interpolate eileen-collins.png grace-hopper.png --out between
    padinv info inverted/eileen-collins.png.safetensors
    test -s inverted/eileen-collins.png.photo.png
    test -s "blended/eileen-collins.png--grace-hopper.png.photo.png"
    "$python" -m padinv --version
    say "$1: the demo, the Python example and five commands ran"
}

say "installing the wheel"
"$python" -m pip install --quiet "$wheel[cpu]"
"$python" -c "
import importlib.util
assert importlib.util.find_spec('torch') is None, 'the wheel must not bring torch'"
run_everything wheel

say "installing from a clone"
cd "$work/clone"
"$python" -m pip uninstall --quiet --yes padinv
"$python" -m pip install --quiet ".[cpu]"
"$python" -c "import padinv.runtime.model, padinv.cli.main"
run_everything clone
