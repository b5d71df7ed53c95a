#!/bin/sh
# Lets the avatar of a running session speak an audio file, as a stream: speech starts before the file is read to its end.
#
#   examples/speak.sh SESSION FILE             sends the file as it is (WAV, MP3, FLAC, Ogg)
#   COMMAND | examples/speak.sh SESSION -      sends raw PCM from standard input: 24 kHz, mono, 16 bit, little endian
#
# VISAGE_URL names the server (default http://127.0.0.1:8010), VISAGE_TOKEN its token. The page shows the ID of its session; the
# list of sessions is at GET /v1/sessions.
set -eu
[ $# = 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
url=${VISAGE_URL:-http://127.0.0.1:8010}/v1/sessions/$1/speech

case "$2" in
-) type='audio/pcm;rate=24000' ;;
*.wav) type=audio/wav ;;
*.mp3) type=audio/mpeg ;;
*.flac) type=audio/flac ;;
*.ogg | *.opus) type=audio/ogg ;;
*) echo "unknown type of $2: use .wav, .mp3, .flac, .ogg, .opus, or - for PCM" >&2; exit 2 ;;
esac

# -T sends without reading all of it first; from a pipe it uses chunked transfer encoding.
curl --fail-with-body --no-progress-meter -X POST -H "Content-Type: $type" \
    ${VISAGE_TOKEN:+-H "Authorization: Bearer $VISAGE_TOKEN"} -T "$2" "$url"
echo
