#!/usr/bin/env bash
# What takes longer than tests/run.sh: formatting, another runtime's answers, clang, ASan and UBSan, arm64 under
# emulation, packages, a soak.
# usage: tests/checks.sh [format|peers|clang|asan|tsan|arm64|packages|soak|machine|fuzz ...]
# All but tsan, machine and fuzz when none is named: tsan is slow, machine boots a systemd, fuzz runs each fuzzer for FUZZ_SECONDS (600). The soak keeps
# an agent busy and switches its model for SOAK_SECONDS (300; an hour is 3600).
set -euo pipefail
cd "$(dirname "$0")/.."
./tests/support/dependencies.sh build test checks
command -v ccache >/dev/null && export CMAKE_C_COMPILER_LAUNCHER=ccache
mkdir -p build

build() {
    cmake --preset "$1" >"build/$1.log" 2>&1 || { cat "build/$1.log" >&2; return 1; }
    cmake --build --preset "$1" >"build/$1.log" 2>&1 || { grep -vE '^\[' "build/$1.log" | tail -n 60 >&2; return 1; }
}

check_format() {
    git ls-files '*.c' '*.h' | xargs clang-format --dry-run --Werror
}

check_peers() {
    local modules=$PWD/build/peers/node_modules
    if [ ! -d "$modules/onnxruntime-node" ]; then
        command -v npm >/dev/null || { echo "skipped: no npm"; return 0; }
        npm install --silent --ignore-scripts --prefix build/peers onnxruntime-node@1.30 >build/peers.log 2>&1 ||
            { echo "skipped: onnxruntime-node cannot be had here"; return 0; }
    fi
    build release
    LEGONET_NODE_MODULES=$modules ctest --preset release --tests-regex "export|peer"
}

check_clang() {
    build clang
}

check_asan() {
    build asan
    ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:allocator_may_return_null=1 \
        UBSAN_OPTIONS=print_stacktrace=1 ctest --preset asan --parallel 2 --label-exclude slow
}

# The agent's threads, engines, loader and loop: whatever shares memory.
check_tsan() {
    build tsan
    TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
        ctest --preset tsan --parallel 2 --label-exclude slow --tests-regex "test_agent_|test_service_|workers|fault_guard"
}

check_arm64() {
    ./tests/support/arm64-sysroot.sh build/arm64-sysroot
    build arm64
    # Without the data, which an emulator is too slow for, but for a few real images.
    env -u LEGONET_DATA ctest --preset arm64 --parallel 2 --label-exclude slow
    ctest --preset arm64 --tests-regex tool_cpus
}

check_packages() {
    ./tests/support/dependencies.sh python
    ./tests/support/arm64-sysroot.sh build/arm64-sysroot
    local preset package
    for preset in deb deb-arm64; do
        build "$preset"
        (cd "build/$preset" && cpack -G DEB >"../$preset.log" 2>&1) || { cat "build/$preset.log" >&2; return 1; }
        for package in "build/$preset"/packages/*.deb; do
            dpkg-deb --contents "$package" | awk -v p="${package##*/}" 'END { print p ": " NR " entries" }'
        done
    done
    tests/packages/install.sh build/deb/packages . build/fresh || [ $? = 77 ]
}

check_machine() {
    build deb
    (cd build/deb && cpack -G DEB >../deb.log 2>&1) || { cat build/deb.log >&2; return 1; }
    build release
    ctest --preset release --tests-regex systemd_machine --verbose
}

check_fuzz() {
    local program name failed=0
    build fuzz
    for program in build/fuzz/tests/fuzz/fuzz_*; do
        [ -x "$program" ] && [ -f "$program" ] || continue
        name=${program##*/}
        mkdir -p "build/fuzz/found/$name"
        "$program" -max_total_time="${FUZZ_SECONDS:-600}" -timeout=120 -artifact_prefix="build/fuzz/found/$name-" \
            "build/fuzz/found/$name" "tests/fuzz/corpus/$name" >"build/fuzz/found/$name.log" 2>&1 || failed=1
        echo "$name: $(find "build/fuzz/found/$name" -type f | wc -l) new inputs; $(tail -n 1 "build/fuzz/found/$name.log")"
    done
    return $failed
}

check_soak() {
    build release
    build/release/tests/agent/agent_soak "${SOAK_SECONDS:-300}"
}

[ $# -gt 0 ] || set -- format peers clang asan arm64 packages soak
for name in "$@"; do
    printf '\n== %s (%d s)\n' "$name" $SECONDS
    "check_$name"
done
