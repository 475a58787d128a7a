#!/usr/bin/env bash
# Runs inside the fresh system; install.sh starts it. Prints "guest: all hold" at the end.
# usage: guest.sh DEPENDS      the packages' dependencies, separated by commas
set -euo pipefail
depends=$1
step() { printf '== %s (%d s)\n' "$*" $SECONDS; }
fail() {
    echo "FAILED: $*"
    exit 1
}
export LEGONET_SOCKET=/tmp/agent.sock LEGONET_MODELS=/tmp/models LEGONET=/usr/bin/legonet PYTHONDONTWRITEBYTECODE=1
pictures=/mnt/tree/agent/demo/pictures

step "pip installs the Python client from the tree"
python3 -m venv --system-site-packages /tmp/venv
(cd /tmp && /tmp/venv/bin/pip install --quiet --no-index --no-build-isolation /mnt/tree/agent/python)
[ "$(cd / && /tmp/venv/bin/python -c 'import legonet; print(legonet.__file__)')" = /tmp/venv/lib/python3.11/site-packages/legonet/__init__.py ] ||
    fail "pip's client is not the one that is imported"
python3 -c 'import legonet' 2>/dev/null && fail "there is a client before the package is installed"

step "dpkg installs the packages"
dpkg -i /mnt/packages/*.deb >/tmp/log 2>&1 || { cat /tmp/log; fail "they do not install"; }
[ -z "$(dpkg --audit)" ] || fail "$(dpkg --audit)"

step "the packages name what their programs need"
for file in /usr/bin/legonet /usr/bin/legonetd $(dpkg -L legonet | grep '\.so\.'); do
    [ -L "$file" ] && continue
    for library in $(readelf -d "$file" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p'); do
        path=$(ldd "$file" | awk -v name="$library" '$1 == name { print $3 == "" ? $1 : $3 }')
        case $path in
        /*) ;;
        *) [ "$library" = ld-linux-x86-64.so.2 ] && continue || fail "$file lacks $library" ;;
        esac
        owner=$(dpkg -S "$path" "$(realpath "$path")" 2>/dev/null | sed -n "1s/:.*//p") || true
        [[ ,$depends,legonet, == *,$owner,* ]] || fail "$file needs $library of '$owner', which the package does not name"
    done
done

step "the agent"
mkdir $LEGONET_MODELS
(cd /mnt/tree/agent/demo && legonet compress cifar10_resnet20.onnx -q --codec bricks --brick 1x1 --catalogue 16 --labels labels.txt \
    -o $LEGONET_MODELS/demo.lego)
legonetd --set socket.path=$LEGONET_SOCKET --set model_directory=$LEGONET_MODELS >/tmp/agent.log 2>&1 &
for _ in $(seq 300); do
    legonet status >/dev/null 2>&1 && break
    sleep 0.1
done
legonet infer --model demo $pictures/cat.png | grep -q 'cat$' || { cat /tmp/agent.log; fail "the cat is something else"; }

step "the examples in C and shell"
examples=/usr/share/doc/legonet/examples
cc $examples/classify.c $(pkg-config --cflags --libs legonet-client) -o /tmp/classify
/tmp/classify demo $pictures/ship.png | grep -q 'ship' || fail "classify"
cc $examples/../client/example.c $(pkg-config --cflags --libs legonet-client) -o /tmp/example
[ "$(/tmp/example demo | grep -c '^frame .*: class [0-9]')" = 30 ] || fail "example.c"
sh $examples/best.sh demo $pictures | grep -q "/dog.png	dog	" || fail "best.sh"

step "the Python client of the package, then pip's, by their README"
python3 -c 'import legonet; assert legonet.__file__.startswith("/usr/lib/python3/dist-packages/"), legonet.__file__'
for python in /usr/bin/python3 /tmp/venv/bin/python; do
    "$python" /mnt/tests/clients/python_readme.py /mnt/tree/agent/python/README.md || fail "$python"
done

step "remove and purge"
kill %1 && wait %1 || fail "the agent does not end well"
dpkg -P python3-legonet legonet-dev legonet >/dev/null
for path in /usr/bin/legonet /usr/lib/python3/dist-packages/legonet /usr/include/legonet /etc/legonet; do
    [ -e "$path" ] && fail "$path stays"
done
echo "guest: all hold"
