#!/usr/bin/env bash
# On a build machine without a GPU: packs what the other scripts need for a machine that has a GPU but no compiler
# and no network: programs, TensorRT for RTX and NVRTC, split into parts. Copy target/gpu-packed there, in several steps
# if necessary, then run tests/gpu/unpack.sh: the scripts find everything in target/gpu.
#
# usage: tests/gpu/pack.sh [size of a part in MiB, default 40]
set -euo pipefail
cd "$(dirname "$0")/../.."
part=${1:-40}
features=cuda,tensorrt-rtx
out=$PWD/target/gpu-whole packed=$PWD/target/gpu-packed
rm -rf "$out" "$packed"
mkdir -p "$out/programs" "$out/tensorrt-rtx" "$out/nvrtc" "$packed"

# tested PACKAGE NAME: builds a test and copies its executable.
tested() {
    local built
    built=$(cargo test --release -p "$1" --features "$features" --test "$2" --no-run --message-format=json |
        sed -n "s/.*\"executable\":\"\([^\"]*\/$2-[0-9a-f]*\)\".*/\1/p" | tail -1)
    cp "$built" "$out/programs/$2"
}
tested visage-kernels cuda
tested visage-kernels kernels
tested visage backend
cargo build --release --features "$features"
cp target/release/visage "$out/programs/visage"
strip "$out"/programs/*

# package NAME==VERSION INTO FILES: extracts libraries from a Python package.
package() {
    local folder=target/gpu-wheels/$1
    [ -d "$folder" ] || { mkdir -p "$folder.part" && pip3 download --quiet --no-deps --dest "$folder.part" "$1" && mv "$folder.part" "$folder"; }
    python3 -m zipfile -e "$folder"/*.whl "$folder/whole"
    cp "$folder"/whole/$3 "$out/$2"
    rm -r "$folder/whole"
}
package tensorrt-rtx-cu13-libs==1.7.1.116 tensorrt-rtx 'tensorrt_rtx_libs/*.so*'
package nvidia-cuda-nvrtc-cu12==12.9.86 nvrtc 'nvidia/cuda_nvrtc/lib/libnvrtc*.so.12*'
rm -f "$out"/nvrtc/*.alt.*

for what in programs tensorrt-rtx nvrtc; do
    tar -C "$out" -c "$what" | xz --x86 --lzma2=preset=9e,dict=256MiB | split -b "${part}M" - "$packed/$what.tar.xz."
done
rm -r "$out"
ls -l "$packed"
