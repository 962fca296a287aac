#!/usr/bin/env bash
# Makes a model like the built-in faces64, from photographs to the bundle in runtime/models/faces64.
#
#   recipes/faces64.sh DATA WEIGHTS RUNS
#
# DATA     folder with train64.zip and val.zip: FairFace photographs (CC BY 4.0), adult, near frontal, aligned by five
#          landmarks to the template 'faces' (runtime/alignment/templates.py)
# WEIGHTS  folder with torchvision's squeezenet1_1.pth (losses) and a mobilefacenet.pt (held-out identity measure)
# RUNS     where the run folders go
#
# Four hours on two cores of an AMD EPYC (Zen 5, avx512_bf16). Every step resumes when repeated. The shipped
# generator took a longer way to the same place, which its card tells (recipes/faces64_card.md).
set -euo pipefail
data=$1 weights=$2 runs=$3
padinv=${PADINV:-padinv}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}

generator() {
    $padinv train-generator --data "$data/train64.zip" --features "$weights/squeezenet1_1.pth" --template faces \
        --z-dim 64 --reconstruct 3 --mixed-precision bf16 --seed 1 "$@"
}
encoder_settings=(--generator "$runs/g2/generator.safetensors" --data "$data/train64.zip" --val "$data/val.zip"
    --preset faces64 --lpips-weights "$weights/squeezenet1_1.pth" --seed 1)

# The generator: an autoencoder alone, which learns where a face's parts belong (95 images a second); then with a
# discriminator, which makes it sharp (55 images a second).
generator --out "$runs/g1" --images 150000 --reconstruct-first 150000 --batch 32 --lr-g 0.0015
generator --out "$runs/g2" --init "$runs/g1" --images 252000 --lr-g 0.001 --lr-d 0.002

# The two encoders of the card's comparison, with the paper's weight of the latent regularisation.
$padinv train "${encoder_settings[@]}" --out "$runs/pad" --images 30000 --reg 0.003
$padinv train "${encoder_settings[@]}" --out "$runs/wplus" --images 30000 --reg 0.003 --no-padding

# The shipped encoder, for the most part in two processes, one a core. It ends without regularisation: with it, another
# 190,000 images brought MSE to 0.0102, and blends that moved three quarters as far towards A.
train_on() {
    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m padinv.cli.main train "${encoder_settings[@]}" \
        --batch 12 --lr 0.001 --warmup 2000 "$@"
}
$padinv train "${encoder_settings[@]}" --out "$runs/pad1" --images 9000 --reg 0
train_on --out "$runs/pad2" --init "$runs/pad1" --images 63000
train_on --out "$runs/pad3" --init "$runs/pad2" --images 60000 --reg 0

# An encoder without padding, longer than that, for the tables of docs/editing.md; in one process.
train_wplus() {
    OMP_NUM_THREADS=1 $padinv train "${encoder_settings[@]}" --no-padding --out "$@"
}
train_wplus "$runs/wplus1" --images 9000 --reg 0
train_wplus "$runs/wplus2" --init "$runs/wplus1" --images 63000 --batch 12 --lr 0.001 --warmup 2000
train_wplus "$runs/wplus3" --init "$runs/wplus2" --images 85000 --batch 12 --lr 0.001 --warmup 2000

$padinv export --generator "$runs/g2/generator.safetensors" --encoder "$runs/pad3/encoder.safetensors" \
    --name faces64 --compact --card recipes/faces64_card.md --out runtime/models/faces64 --overwrite

# The pictures of runtime/demo: the portraits, and samples of this generator.
python recipes/make_demo_pictures.py --model runtime/models/faces64

# The figures of the card.
measure() {
    $padinv eval "$@" --data "$data/val.zip" --lpips-weights "squeeze=$weights/squeezenet1_1.pth" \
        --identity-weights "$weights/mobilefacenet.pt"
}
measure "$runs/pad" --vs "$runs/wplus" --out "$runs/eval-same-length"
measure runtime/models/faces64 --out "$runs/eval-faces64"

# The tables of docs/editing.md; they need a bundle of the long W+ only encoder.
$padinv export --generator "$runs/g2/generator.safetensors" --encoder "$runs/wplus3/encoder.safetensors" \
    --name faces64-wplus --out "$runs/wplus-model" --overwrite
faces=(--faces "$data/val.zip")
measure "$runs/wplus-model" --out "$runs/eval-wplus-long"
python benchmarks/edits_painted.py "${faces[@]}" --wplus "$runs/wplus-model"
python benchmarks/edits_painted.py "${faces[@]}" --first 400 --pairs 20
python benchmarks/edits_table3.py "${faces[@]}"
python benchmarks/edits_blend.py "${faces[@]}" --wplus "$runs/wplus-model" --lpips "$weights/squeezenet1_1.pth"
python benchmarks/edits_speed.py
