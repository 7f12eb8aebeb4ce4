#!/usr/bin/env bash
# Counts the instructions of the hot pure parts (crate micro) under callgrind, and compares them with the committed figures.
# A count does not depend on how busy the machine is, so this may fail a change where a timing could not.
#
# usage: scripts/instructions.sh           fails when a figure is off by more than 10 %, either way
#        scripts/instructions.sh --write   makes today's counts the figures
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

figures=micro/instructions.txt
within_percent=10
# A case runs both times from the start; the difference is what the iterations between cost, without preparing them.
few=1000 many=5000

fail() { echo "instructions.sh: $*" >&2; exit 1; }

case ${1-} in
  '' | --write) mode=${1-} ;;
  *) echo "usage: scripts/instructions.sh [--write]" >&2; exit 64 ;;
esac
[ "$(uname -m)" = x86_64 ] || fail "the figures are those of x86_64, this is $(uname -m)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo build --locked --release -p micro
program=target/release/rivermouth-micro

# What is in the environment must not count: neither its size nor what libraries read from it.
run() { env -i PATH="$PATH" valgrind --tool=callgrind --callgrind-out-file="$work/out" "$program" "$1" "$2" >"$work/log" 2>&1; }

instructions() {
  run "$1" "$2" || { cat "$work/log" >&2; fail "$1 does not run under valgrind"; }
  awk '$1 == "summary:" { print $2 }' "$work/out"
}

# What a figure depends on besides our code.
tools="$(rustc --version | cut -d' ' -f1,2), $(valgrind --version), $(uname -m)"

counted() {
  local name less more
  for name in $("$program"); do
    less=$(instructions "$name" $few)
    more=$(instructions "$name" $many)
    echo "$name $(((more - less) / (many - few)))"
  done
}
counted >"$work/counted"

if [ "$mode" = --write ]; then
  {
    echo "# Instructions of one iteration of each case of the crate micro: scripts/instructions.sh --write."
    echo "# Taken with $tools."
    cat "$work/counted"
  } >"$figures"
fi

# Columns of the table: the case, its figure, the count, the difference in percent, what is wrong with it.
awk -v within=$within_percent '
  FNR == NR { if ($1 !~ /^#/) figure[$1] = $2; next }
  FNR == 1 { printf "%-20s %10s %10s %8s\n", "case", "figure", "counted", "off by" }
  !($1 in figure) { wrong($1, "-", $2, "-", "has no figure"); next }
  {
    off = 100 * ($2 - figure[$1]) / figure[$1]
    text = sprintf("%+.1f %%", off)
    if (off > within) wrong($1, figure[$1], $2, text, "costs more: mend it, or commit the new figure and say why")
    else if (off < -within) wrong($1, figure[$1], $2, text, "costs less: commit the new figure")
    else printf "%-20s %10d %10d %8s\n", $1, figure[$1], $2, text
    delete figure[$1]
  }
  END {
    for (name in figure) wrong(name, figure[name], "-", "-", "is no case any more")
    exit bad
  }
  function wrong(name, was, is, off, why) {
    printf "%-20s %10s %10s %8s  %s\n", name, was, is, off, why
    bad = 1
  }
' "$figures" "$work/counted" || fail "off by more than $within_percent % from $figures (taken: $(sed -n 's/^# Taken with //p' "$figures" | tr -d '\n') now: $tools); scripts/instructions.sh --write makes the counts above the figures"
