# Helpers of the scripts beside it. Sets: legonet (function), demo, work.
program=$(realpath "$1")
demo=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

legonet() {
    # shellcheck disable=SC2086  # the emulator is a command with options
    ${LEGO_EMULATOR:-} "$program" "$@"
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# json FILE KEY: one value of a JSON object.
json() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"
}

# within VALUE LOW HIGH
within() {
    awk -v v="$1" -v a="$2" -v b="$3" 'BEGIN { exit !(v >= a && v <= b) }'
}
