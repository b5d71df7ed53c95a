#!/usr/bin/env bash
# On the machine with the GPU: extracts the parts that tests/gpu/pack.sh made.
#
# usage: tests/gpu/unpack.sh [FOLDER of the parts, default target/gpu-packed]
set -euo pipefail
cd "$(dirname "$0")/../.."
packed=${1:-target/gpu-packed}
mkdir -p target/gpu
for what in programs tensorrt-rtx nvrtc; do
    [ ! -e "$packed/$what.tar.xz.aa" ] || cat "$packed/$what".tar.xz.* | xz -d | tar -x -C target/gpu
done
ls -l target/gpu/*
