#!/usr/bin/env bash
# Ten minutes of a GPU: how fast, how much memory, and the longest training that fits.
#
#   ROOT=reid-data REFERENCE=../magnifiernet_reid benchmarks/gpu.sh
#
#   ROOT       data root with Market-1501 and its part masks; without it nothing is trained
#   REFERENCE  clone of github.com/NIRVANALAN/magnifiernet_reid; without it nothing is beside ours
#   MODEL      to train (magnifiernet_osnet_x1_0), from the weights START, if given, and by the
#              recipe of examples/train_market1501.py, with its TEACHER, if given
#   SIZE       of the images to train on (256x128)
#   MINUTES    for all (10)
#   OUT        folder to write (gpu); what is there goes on, a training with the epochs it was given
#   TINY=1     tries all of it on the CPU, with tiny sizes
set -euo pipefail
cd "$(dirname "$0")/.."

out=${OUT:-gpu} size=${SIZE:-256x128} model=${MODEL:-magnifiernet_osnet_x1_0} python=${PYTHON:-python}
end=$((SECONDS + ${MINUTES:-10} * 60))
mkdir -p "$out"
left() { echo $((end - SECONDS)); }
measure() { # what has been measured is not measured again
    local name=$1 most=$2
    shift 2
    [ -f "$out/$name.json" ] || try "$most" "$python" benchmarks/speed.py --device $device "$@" "${speed[@]}" --out "$out/$name"
}
try() { # a share of the time for a command, which may fail: what comes after it shall still run
    local most=$1
    shift
    timeout --signal=INT "$most" "$@" || echo "gpu.sh: ended with status $?: $*" >&2
}

device=cuda ours=(magnifiernet magnifiernet_bf16 magnifiernet_r18 magnifiernet_osnet_x0_25 magnifiernet_osnet_x1_0)
speed=(--sizes 256x128 384x192 --turns 3 --seconds 0.3 --eval-batches 1 64) compiled=magnifiernet_bf16 training=()
if [ -n "${TINY:-}" ]; then
    device=cpu size=32x32 model=magnifiernet_osnet_x0_25 ours=(magnifiernet_r18) compiled=
    speed=(--sizes 64x32 --turns 1 --seconds 0.1 --eval-batches 1 --train-batch 8) training=(--batch 8)
fi

# (a) Throughput and memory, in turns: ours, the reference implementation, torchreid's ResNet-50.
measure speed $(($(left) / 3)) --ours "${ours[@]}" --stock resnet50 ${REFERENCE:+--reference "$REFERENCE"}
if [ -n "$compiled" ]; then # translating takes minutes
    measure speed_compiled $(($(left) / 4)) --ours $compiled --ways compiled --stock
fi

# (b) The longest training that fits: one epoch says how long they take; weights are saved after each.
if [ -z "${ROOT:-}" ]; then
    echo "gpu.sh: no ROOT, so nothing was trained"
    exit
fi
train() {
    "$python" examples/train_market1501.py --root "$ROOT" --device $device --model "$model" \
        ${START:+--start "$START"} ${TEACHER:+--teacher "$TEACHER"} "${training[@]}" "$@"
}
if [ ! -f "$out/epochs" ]; then
    began=$SECONDS
    train --phases "$size:1" --out "$out/trial"
    start_up=$((SECONDS - began))
    seconds=$(tail -n 1 "$out/trial/train.csv" | sed 's/.*,//')
    if [ -f "$out/trial/teacher.pt" ]; then mkdir -p "$out/run" && cp "$out/trial/teacher.pt" "$out/run"; fi
    awk -v left="$(left)" -v start="$start_up" -v epoch="$seconds" \
        'BEGIN { n = int((left - start) * 0.95 / epoch); print n < 1 ? 1 : n }' >"$out/epochs"
fi
train --phases "$size:$(cat "$out/epochs")" --out "$out/run"
"$python" -m torchreid_magnifier evaluate --root "$ROOT" --dataset market1501 \
    --weights "$out/run/${model}_market1501.safetensors" || true
