#!/usr/bin/env bash
# pip installs the Python client from the tree, and what it installed can be imported. Without the network: the
# package's own dependencies and setuptools are those that are there.
# usage: python_install.sh PYTHON AGENT-FOLDER
set -euo pipefail
python=$1
for module in pip setuptools wheel google.protobuf numpy; do
    "$python" -c "import $module" 2>/dev/null || { echo "skipped: $python has no $module"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$2/python" "$2/proto" "$work" # pip builds where the sources are
"$python" -m pip --quiet --disable-pip-version-check --no-input install --no-index --no-build-isolation --no-deps \
    --target "$work/site" "$work/python" 2>&1 | grep -v 'as the .root. user' || true
cd "$work/site"
PYTHONPATH=$work/site "$python" - <<'END'
import legonet
from legonet import protocol
assert protocol.STATUS_NAMES[0] == "OK", protocol.STATUS_NAMES
try:
    legonet.Client("/nonexistent/socket")
    raise SystemExit("connected to nothing")
except legonet.errors.NotFoundError as error:
    assert "/nonexistent/socket" in str(error), error
END
echo "installed: $(cd "$work/site" && echo legonet-*)"
