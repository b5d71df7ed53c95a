#!/bin/sh
# Makes a pack of one's own from the built-in one: one avatar, a new name, another colour. Run it from a checkout:
#
#   examples/custom-pack/make.sh my-pack
#   visage serve --pack my-pack
#
# A pack is a folder: pack.toml (name, model, avatars, networks), SHA256SUMS (the files that belong to it), and one folder per avatar
# with avatar.toml. A drawn avatar (kind = "drawn") consists of rig.json and SVG layers. Any SVG editor changes a layer; the rig
# stays as it is as long as the parts keep their places.
set -eu
[ $# = 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
built_in=$(cd "$(dirname "$0")/../.." && pwd)/engines/packs/portrait
[ ! -e "$1" ] || { echo "$1 exists already" >&2; exit 1; }
mkdir -p "$1/avatars" "$1/mouth"
cp "$built_in/mouth/mouth.onnx" "$built_in/mouth/mouth.json" "$built_in/mouth/NOTICE.md" "$1/mouth/"
cp -R "$built_in/avatars/finn" "$1/avatars/robin"
cd "$1"

# The network that opens the mouth is the built-in one; the pack names it as the built-in pack does.
sed -e 's/^name = .*/name = "my-pack"/' -e 's/^title = .*/title = "My pack"/' -e 's/^avatars = .*/avatars = ["robin"]/' \
    "$built_in/pack.toml" > pack.toml
sed -i -e 's/^title = .*/title = "Robin"/' -e 's/^background = .*/background = "#d8d2ea"/' avatars/robin/avatar.toml
# Another colour of the scarf, in each of its layers.
sed -i -e 's/#177476/#4d2f87/g' -e 's/#23958f/#6b45b0/g' -e 's/#37b5a6/#8a63cf/g' -e 's/#4cc9b8/#a683e2/g' \
    avatars/robin/layers/scarf.svg avatars/robin/layers/scarf_end.svg avatars/robin/layers/knot.svg

# Run this again after each change: visage refuses a pack whose files differ from the list.
find . -type f ! -name SHA256SUMS | sed 's|^\./||' | LC_ALL=C sort | xargs sha256sum > SHA256SUMS
