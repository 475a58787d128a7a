#!/usr/bin/env bash
# Keys, signatures and what verify says of them; with minisign's own keys where it is installed.
set -euo pipefail
. "$(dirname "$0")/common.sh" "$@"

# refuses WORDS COMMAND...: it fails and says so
refuses() {
    local words=$1 said
    shift
    said=$("$legonet" "$@" 2>&1 >/dev/null) && fail "$* succeeds"
    grep -qF -- "$words" <<<"$said" || fail "$*: \"$said\" does not say \"$words\""
}

"$legonet" compress "$demo/cifar10_resnet20.onnx" --codec bricks --brick 1x1 --catalogue 16 -q -o "$work/m.lego" >/dev/null
public=$("$legonet" keygen "$work/a") || fail keygen
[ "$public" = "$(sed -n 2p "$work/a.pub")" ] || fail "keygen does not print the public key"
[ "$(stat -c %a "$work/a.key")" = 600 ] || fail "the secret key is open to others"
refuses 'exists' keygen "$work/a"
"$legonet" keygen "$work/b" >/dev/null || fail keygen

refuses 'it is not signed' verify "$work/m.lego" --key "$work/a.pub"
refuses '--key is needed' sign "$work/m.lego"
refuses 'no secret key' sign "$work/m.lego" --key "$work/a.pub"
"$legonet" sign "$work/m.lego" --key "$work/a.key" -o "$work/signed.lego" >/dev/null || fail sign
[ $(($(stat -c %s "$work/signed.lego") - $(stat -c %s "$work/m.lego"))) -le 256 ] || fail "a signature is large"
"$legonet" verify "$work/signed.lego" --key "$work/b.pub" --key "$public" | grep -q 'signature: good; self-test: passed' || fail "verify of a signed file"
"$legonet" verify "$work/signed.lego" | grep -q 'signature: by [0-9A-F]\{16\};' || fail "verify without keys"
refuses 'which was not given' verify "$work/signed.lego" --key "$work/b.pub"
refuses 'no public key' verify "$work/signed.lego" --key "${public/RW/XX}"
"$legonet" run "$work/signed.lego" --input "$demo/pictures/cat.png" >/dev/null || fail "run of a signed file"

"$legonet" sign "$work/signed.lego" --key "$work/b.key" >/dev/null || fail "signing again"
"$legonet" verify "$work/signed.lego" --key "$work/b.pub" >/dev/null || fail "verify after signing again"
refuses 'which was not given' verify "$work/signed.lego" --key "$work/a.pub"

if command -v minisign >/dev/null; then
    minisign -G -W -p "$work/m.pub" -s "$work/m.key" >/dev/null || fail "minisign -G"
    "$legonet" sign "$work/m.lego" --key "$work/m.key" >/dev/null || fail "sign with minisign's key"
    "$legonet" verify "$work/m.lego" --key "$work/m.pub" >/dev/null || fail "verify with minisign's key"
    echo text >"$work/text"
    minisign -S -s "$work/a.key" -m "$work/text" >/dev/null && minisign -V -p "$work/a.pub" -m "$work/text" >/dev/null ||
        fail "minisign does not take our keys"
fi
