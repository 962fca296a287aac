#!/usr/bin/env bash
# Runs tests of the command line, the readers and the model with exactly the oldest versions that pyproject.toml promises.
# usage: check_oldest.sh [WORK_FOLDER]     needs python3.11 (or PYTHON=...) and a package index
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=${1:-$(mktemp -d)}
[ $# -gt 0 ] || trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONNOUSERSITE=1

"${PYTHON:-python3.11}" -m venv "$work/venv"
python="$work/venv/bin/python"
mapfile -t pins < <("$python" - "$root/pyproject.toml" <<'PY'
import sys, tomllib

project = tomllib.load(open(sys.argv[1], "rb"))["project"]
bounds = project["dependencies"] + project["optional-dependencies"]["cpu"]
print("\n".join(bound.replace(">=", "==") for bound in bounds))
PY
)
echo "check_oldest: ${pins[*]}"
# onnx builds the tests' tiny bundle; its own oldest version reads what numpy 1 writes.
"$python" -m pip install --quiet "${pins[@]}" 'pytest>=8' hypothesis 'onnx==1.16.*' 'protobuf<6'
cd "$root"
"$python" -m pytest -q -p no:cacheprovider \
    tests/cli/test_invert.py \
    tests/runtime/test_image_inputs.py tests/runtime/test_images.py tests/runtime/test_inversion.py \
    tests/runtime/test_model.py tests/runtime/test_shipped.py
