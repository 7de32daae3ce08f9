#!/usr/bin/env bash
# All rounds of the weights magnifiernet_osnet_x0_25_market1501, by train_market1501.py.
#
#   bash examples/train_market1501.sh reid-data osnet_x0_25_msmt17.pth \
#       person-reidentification-retail-0277.xml log/market1501
#
# About five hours of one core. Killed and started again, it goes on. The first three rounds, with
# the paper's GRU and bilinear region maps, came before the measurements that favour the defaults.
set -eu
if [ $# != 4 ]; then
    echo "expected ROOT START TEACHER OUT, found $# arguments: see the head of $0" >&2
    exit 2
fi
root=$1 start=$2 teacher=$3 out=$4
python=${PYTHON:-python} here=$(dirname "$0")

round() { # name, start, options …
    mkdir -p "$out/$1"
    if [ -f "$out/first/teacher.pt" ] && [ ! -f "$out/$1/teacher.pt" ]; then
        cp "$out/first/teacher.pt" "$out/$1/teacher.tmp" # the teacher's embeddings, computed once
        mv "$out/$1/teacher.tmp" "$out/$1/teacher.pt"
    fi
    "$python" "$here/train_market1501.py" --root "$root" --teacher "$teacher" \
        --out "$out/$1" --start "${@:2}"
}
mean() { # name, rounds …
    if [ ! -f "$out/$1/ema.pth" ]; then
        "$python" "$here/average_market1501.py" --root "$root" --out "$out/$1" "${@:2}"
    fi
}

paper=(--options "{fusion: gru, region_scaling: bilinear}")
round first "$start" "${paper[@]}"
round second "$out/first/ema.pth" "${paper[@]}" --phases 192x96:12,256x128:22 --lr 1e-3 --seed 2
round third "$out/second/ema.pth" "${paper[@]}" --phases 256x128:14 --lr 7e-4 --seed 3
mean of-two-and-three "$out/second/ema.pth" "$out/third/ema.pth"
round fourth "$out/of-two-and-three/ema.pth" --phases 192x96:6,256x128:16 --lr 1e-3 --seed 4
round fifth "$out/fourth/ema.pth" --phases 256x128:14 --lr 7e-4 --seed 5
mean result "$out/fourth/ema.pth" "$out/fifth/ema.pth"
