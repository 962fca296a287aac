#!/usr/bin/env bash
# Makes the built-in model faces64 again, from photographs to the bundle in runtime/models/faces64.
#
#   recipes/faces64.sh DATA WEIGHTS RUNS
#
# DATA     folder with train64.zip and val.zip: FairFace photographs (CC BY 4.0), adult, near frontal, aligned by five
#          landmarks to the template 'faces' (runtime/templates.py)
# WEIGHTS  folder with torchvision's squeezenet1_1.pth (losses) and a mobilefacenet.pt (held-out identity measure)
# RUNS     where the run folders go
#
# Times are of two cores of an AMD EPYC (Zen 4, avx512_bf16), one thread a run. Every step resumes when repeated.
set -euo pipefail
data=$1 weights=$2 runs=$3
padinv=${PADINV:-padinv}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

generator() {
    $padinv train-generator --data "$data/train64.zip" --features "$weights/squeezenet1_1.pth" --template faces \
        --mixed-precision bf16 --seed 1 "$@"
}
encoder() {
    $padinv train --generator "$runs/g2/generator.safetensors" --data "$data/train64.zip" --val "$data/val.zip" \
        --preset faces64 --lpips-weights "$weights/squeezenet1_1.pth" --seed 1 "$@"
}

# The generator: about an hour. The second part judges harder: at 5e-4 samples differed in colour more than in shape.
generator --out "$runs/g1" --images 48656
generator --out "$runs/g2" --init "$runs/g1" --lr-d 0.002 --images 69344

# The encoders, 20 minutes each: with padding, and the W+ only baseline of the comparison in the model card.
encoder --out "$runs/pad" --images 30000
encoder --out "$runs/wplus" --images 30000 --no-padding

# The shipped encoder goes on from the first.
encoder --out "$runs/pad2" --init "$runs/pad" --images 56000 --lr 0.0007

$padinv export --generator "$runs/g2/generator.safetensors" --encoder "$runs/pad2/encoder.safetensors" \
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
