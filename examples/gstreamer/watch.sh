#!/bin/sh
# Watches a session with GStreamer, over WHEP.
#
#   examples/gstreamer/watch.sh ENDPOINT            in a window, with sound
#   examples/gstreamer/watch.sh ENDPOINT --count    counts frames and packets of sound, without a window
#
# ENDPOINT is http://SERVER:8010/whep/SESSION. VISAGE_TOKEN is the token of the server. Ctrl-C ends it and leaves the session.
#
# Needs GStreamer 1.22 or newer with its WebRTC, DTLS, SRTP and libav plugins, libnice's plugin, and whepsrc of
# gst-plugin-webrtchttp 0.15 (crates.io; Debian 12 does not have it). For ecdsa.c: cc and libssl-dev. SERVER must be an address
# of a network interface: libnice never uses the loopback interface, so start visage with --host 0.0.0.0.
set -eu
[ $# -ge 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cc -shared -fPIC -O1 -o "$folder/ecdsa.so" "$(dirname "$0")/ecdsa.c" -lcrypto -ldl

case "${2:-}" in
--count)
    show='identity silent=false ! fakesink sync=false'
    play=$show
    verbose=-v
    ;;
*)
    show='videoconvert ! autovideosink'
    play='audioconvert ! audioresample ! autoaudiosink'
    verbose=
    ;;
esac

# Without packetization-mode an offer means mode 0, which the server refuses. -e leaves with DELETE.
LD_PRELOAD=$folder/ecdsa.so gst-launch-1.0 -e $verbose \
    whepsrc name=whep whep-endpoint="$1" ${VISAGE_TOKEN:+auth-token="$VISAGE_TOKEN"} \
    video-caps='application/x-rtp,media=video,encoding-name=H264,payload=103,clock-rate=90000,packetization-mode=(string)1,profile-level-id=(string)42e01f' \
    whep.src_0 ! queue ! rtpopusdepay ! opusdec ! $play \
    whep.src_1 ! queue ! rtph264depay ! avdec_h264 ! $show
