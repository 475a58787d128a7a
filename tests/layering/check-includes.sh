#!/usr/bin/env bash
# Fails where a file includes what its layer may not see, or is larger than a file may be.
# usage: check-includes.sh SOURCE-DIR
set -euo pipefail
cd "$1"
broken=0

complain() {
    echo "$1"
    broken=1
}

# may <folder> <folders it may include, as an extended regular expression>
may() {
    [ -d "$1" ] || return 0
    local line
    while IFS= read -r line; do
        complain "layering: $line"
    done < <(grep -rnE --include='*.[ch]' --include='*.def' \
        '^ *# *include "(codec|agent|kernels-arm|kernels-x86|tests)/' "$1" |
        grep -vE "include \"($2)/" || true)
}

may codec/base 'codec/base'
may codec/kernels 'codec/(base|kernels)'
may kernels-arm 'codec/(base|kernels)|kernels-arm'
may kernels-x86 'codec/(base|kernels)|kernels-x86'
may codec/graph 'codec/(base|kernels|graph)'
may codec/format 'codec/(base|kernels|graph|format)'
may codec/sign 'codec/(base|kernels|graph|format|sign)'
may codec/import 'codec/(base|kernels|graph|format|import)'
may codec/encode 'codec/(base|kernels|graph|format|encode)'
may agent/runtime 'codec/(base|kernels|graph|format)|agent/runtime'
may agent/picture 'codec/(base|kernels|graph|format)|agent/picture'
may agent/results 'codec/(base|graph)|agent/results'
may agent/proto 'codec/base|agent/proto'
may agent/client 'codec/(base|graph|format)|agent/(picture|proto|client)'
may agent/service 'codec/(base|kernels|graph|format|sign)|agent/(runtime|picture|results|proto|service)'
may agent/cli 'codec/(base|kernels|graph|format|sign|import|encode)|agent/(runtime|picture|results|proto|client|cli)'

may agent/examples 'codec/(base|kernels|graph|format)|agent/(runtime|picture|client|examples)'

# only <header pattern> <folders that may include it>
only() {
    local line
    while IFS= read -r line; do
        complain "library: $line"
    done < <(grep -rnE --include='*.[ch]' "^ *# *include [<\"]($1)[>\"]" codec agent kernels-* |
        grep -vE "^($2)/" || true)
}

only 'uv\.h' 'agent/service'
only 'yaml\.h' 'agent/service'
only 'systemd/.*' 'agent/service'
only 'curses\.h' 'agent/cli'
only 'zlib\.h' 'agent/service'
only 'sodium\.h' 'codec/sign'
only '(open_inference|legonet)\.pb-c\.h' 'agent/(proto|service|client)'

while IFS= read -r line; do
    complain "longer than 600 lines: $line"
done < <(find codec agent kernels-* tests -name '*.[ch]' -print0 | xargs -0 wc -l |
    awk '$2 != "total" && $1 > 600')

[ "$broken" = 0 ] && echo "layering holds"
exit "$broken"
