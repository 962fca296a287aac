#!/usr/bin/env bash
# Makes a model like the built-in faces128, from photographs to the bundle in runtime/models/faces128.
#
#   recipes/faces128.sh DATA WEIGHTS RUNS
#
# DATA     folder with train.zip and val.zip: FairFace photographs (CC BY 4.0), adult, near frontal, aligned by five
#          landmarks to the template 'faces' (runtime/alignment/templates.py), 128 px
# WEIGHTS  folder with torchvision's squeezenet1_1.pth (losses) and a mobilefacenet.pt (held-out identity measure)
# RUNS     where the run folders go
#
# DEVICE=cuda trains on a GPU, with four times the batch; without it, everything runs on two cores, for days where a GPU
# takes a quarter of an hour. SCALE=10 divides every length by ten, for a trial. Every step resumes when repeated. The
# shipped model's own way is told in recipes/faces128_card.md.
set -euo pipefail
data=$1 weights=$2 runs=$3
padinv=${PADINV:-padinv} python=${PYTHON:-python} device=${DEVICE:-cpu} scale=${SCALE:-1}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
batch=16
[ "$device" = cpu ] || batch=64

generator() {
    $padinv train-generator --data "$data/train.zip" --template faces --resolution 128 \
        --channels 256,256,192,128,80,48 --z-dim 64 --mapping-layers 2 --mixed-precision bf16 --seed 1 \
        --backbone efficientnet-lite0 --lpips-weights "$weights/squeezenet1_1.pth" --device "$device" --batch $batch "$@"
}
encoder() {
    $padinv train --data "$data/train.zip" --val "$data/val.zip" --preset faces128 --template faces \
        --lpips-weights "$weights/squeezenet1_1.pth" --seed 1 --device "$device" --batch $batch "$@"
}

# A synthesis network that can draw these faces: an autoencoder, then with a discriminator beside it.
generator --out "$runs/g1" --images $((40000 / scale)) --reconstruct 3 --reconstruct-first $((40000 / scale))
generator --out "$runs/g2" --init "$runs/g1" --images $((280000 / scale)) --reconstruct 3 --lr-g 0.001 --lr-d 0.002

# Encoders with and without padding; the codes of the second span a better W than the generator's own mapping.
encoder --generator "$runs/g2/generator.safetensors" --out "$runs/pad1" --images $((300000 / scale))
encoder --generator "$runs/g2/generator.safetensors" --out "$runs/wplus1" --images $((300000 / scale)) --no-padding
$python recipes/span_latents.py span --generator "$runs/g2/generator.safetensors" --data "$data/train.zip" \
    --wplus "$runs/wplus1/encoder.safetensors" --encoder "$runs/pad1/encoder.safetensors" --out "$runs/span"

# A short adversarial training sharpens it. A fifth of that change keeps the faces natural.
generator --out "$runs/g3" --init "$runs/span/generator.safetensors" --images $((36000 / scale)) --lr-g 0.001 --lr-d 0.002 \
    --balance
$python recipes/span_latents.py mix --generator "$runs/span/generator.safetensors" \
    --fine-tuned "$runs/g3/generator.safetensors" --share 0.2 --out "$runs/mixed.safetensors"
# Samples that vary by a tenth more are nearer to photographs, by KID: 145 against 159 of 1,000 samples, and 152 at 1.2.
$python recipes/span_latents.py scale --generator "$runs/mixed.safetensors" --factor 1.1 --out "$runs/generator.safetensors"

# Both encoders adapt to the final generator.
adapt() {
    encoder --generator "$runs/generator.safetensors" --images $((15000 / scale)) --lr 0.0004 --warmup $((500 / scale)) \
        --per 1.0 --ema 0.99 --batch 16 "$@"
}
adapt --init "$runs/span/pad1.safetensors" --out "$runs/pad2"
adapt --init "$runs/span/wplus1.safetensors" --out "$runs/wplus2" --no-padding

# A spatial code on top of the first, which stays as it is.
encoder --generator "$runs/generator.safetensors" --init "$runs/pad2" --spatial 32 --out "$runs/spatial" \
    --images $((20000 / scale)) --batch 8 --warmup $((200 / scale)) --lr 0.0005 --per 1.6 --ema 0.99

$padinv export --generator "$runs/generator.safetensors" --encoder "$runs/spatial/encoder.safetensors" \
    --name faces128 --compact --card recipes/faces128_card.md --out runtime/models/faces128 --overwrite
$padinv export --generator "$runs/generator.safetensors" --encoder "$runs/wplus2/encoder.safetensors" \
    --name faces128-wplus --out "$runs/wplus-model" --overwrite

# The pictures of runtime/demo: the portraits, and samples of this generator. Then the gallery of directions.
$python recipes/make_demo_pictures.py --model runtime/models/faces128
$python recipes/directions.py runtime/models/faces128 --faces "$data" --weights "$weights"

# The figures of the card, README.md and docs/results.md.
$python benchmarks/generator_quality.py --faces "$data/train.zip" --model runtime/models/faces128
$python recipes/results_page.py runtime/models/faces128 --vs "$runs/wplus-model" --faces "$data/val.zip" \
    --labels "$data/labels.csv" --lpips "$weights/squeezenet1_1.pth" --identity "$weights/mobilefacenet.pt" \
    --work "$runs/results"
