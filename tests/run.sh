#!/usr/bin/env bash
# Installs what it needs, builds, and runs all tests. LEGONET_DATA=DIR adds those that want real models and images.
# usage: tests/run.sh [ctest options]
set -euo pipefail
cd "$(dirname "$0")/.."
./tests/support/dependencies.sh build test
./tests/support/dependencies.sh python || echo "the Python client is not built or not tested"
command -v ccache >/dev/null && export CMAKE_C_COMPILER_LAUNCHER=ccache

mkdir -p build
cmake --preset release >build/configure.log 2>&1 || { cat build/configure.log >&2; exit 1; }
cmake --build build/release
[ -n "${LEGONET_DATA:-}" ] || echo "LEGONET_DATA is not set: tests that want real models and images will skip"
exec ctest --test-dir build/release --output-on-failure --parallel 2 "$@"
