#!/usr/bin/env bash
# A GStreamer pipeline into the agent; skips where GStreamer's Python bindings or its test source are absent.
# usage: gstreamer.sh PYTHON EXAMPLE
set -euo pipefail
"$1" - <<'END' || { echo "skipped: no GStreamer with Python bindings"; exit 77; }
import gi
for name in ("Gst", "GstApp", "GstVideo", "GstAllocators"):
    gi.require_version(name, "1.0")
from gi.repository import Gst
import google.protobuf, numpy
Gst.init(None)
raise SystemExit(not (Gst.ElementFactory.find("videotestsrc") and Gst.ElementFactory.find("appsink")))
END
out=$("$1" "$2" demo 8 "videotestsrc num-buffers=8 ! video/x-raw,width=320,height=240")
echo "$out"
echo "$out" | grep -Eq '^frame [0-9]+: [a-z]+ '
echo "$out" | awk '/answered/ { exit !($1 > 0 && $1 + $3 <= 8) }'
