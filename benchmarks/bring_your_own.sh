#!/bin/sh
# From another project's checkpoint to inverted and edited pictures: import, train 20 steps, export, invert, edit.
#
#   sh benchmarks/bring_your_own.sh OUT [CHECKPOINT...]
#
# CHECKPOINT: any file that `padinv import` reads; without one, a stand-in with random weights is made for every format.
# Pictures to train on and to invert: the folder $PICTURES, else the ones that ship with padinv. A real training takes
# hundreds of thousands of images and LPIPS (leave `--per 0` out); twenty steps only show that the way is open.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
out=${1:?usage: sh benchmarks/bring_your_own.sh OUT [CHECKPOINT...]}
shift
pictures=${PICTURES:-$here/runtime/demo}

first=$(find "$pictures" -name '*.png' -o -name '*.jpg' | sort | sed -n 1p)
second=$(find "$pictures" -name '*.png' -o -name '*.jpg' | sort | sed -n 2p)

if [ $# -eq 0 ]; then
    python "$here/benchmarks/example_checkpoints.py" "$out/checkpoints"
    set -- "$out/checkpoints"/*
fi

for checkpoint in "$@"; do
    name=$(basename "$checkpoint")
    to=$out/${name%.*}
    mkdir -p "$to"
    echo "== $name"

    padinv import "$checkpoint" --out "$to/generator.safetensors"

    if padinv info "$checkpoint" | grep -q "also holds an encoder"; then
        # The paper's own file: its encoder needs no training.
        padinv import "$checkpoint" --encoder --out "$to/encoder.safetensors"
        padinv export --generator "$to/generator.safetensors" --encoder "$to/encoder.safetensors" --out "$to/model"
    else
        padinv train --generator "$to/generator.safetensors" --data "$pictures" --out "$to/run" \
            --arch fast --steps 20 --batch 2 --per 0 --id 0 --adv 0
        padinv export "$to/run" --out "$to/model"
    fi

    padinv invert "$pictures" --model "$to/model" --out "$to/inverted"

    # The editing verbs, on two of the pictures; --target takes saved inversions as well.
    padinv blend "$first" "$second" --model "$to/model" --out "$to/blend"
    padinv interpolate "$first" "$second" --model "$to/model" --space padding --steps 5 --out "$to/interpolate"
    padinv custom-edit --pair "$first" "$second" --target "$to/inverted" --model "$to/model" --out "$to/custom-edit"
done
