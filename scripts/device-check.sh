#!/bin/sh
# Runs the GPU checks on a machine with a GPU, from a tree that was built elsewhere, without network, compiler or installation.
# Requires bun in PATH, build/librocmforge-{cpu,nvidia}.so (or amd), and node_modules/@huggingface/jinja for the steps from reload on.
set -u
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
Usage: scripts/device-check.sh [-b BACKEND] [-m MODEL.gguf] [-t SECONDS] [STEP …]

Steps, which run in this order by default:
  devices     the devices that the backend finds
  suite       the kernel suite and the golden models, only on this backend
  memcheck    a few small cases under compute-sanitizer, if it is installed (NVIDIA)
  racecheck   the same cases under its race detector
  impossible  a context of impossible size fails, and the next context works
  together    ten threads, then ten processes open the device at the same time
  reload      loads and unloads a model 50 times (MODEL, or a tiny one)
  isolation   compares 32 requests that run alone and together, bit for bit, also for a tiny model with a small cache (needs MODEL)
  greedy      compares the greedy text of ten prompts with the CPU's (needs MODEL)
  bench       tokens per second of a model of 8B shape in four formats

  -b BACKEND  nvidia (default) or amd
  -m MODEL    a small model for reload, isolation and greedy
  -t SECONDS  time limit of each step (default: 300)

Prints one line per step; the full output is in $OUT/device-check.log, or build/device-check.log without OUT.
END
}

backend=nvidia model='' limit=300
while getopts b:m:t:h option; do
  case $option in
    b) backend=$OPTARG ;;
    m) model=$OPTARG ;;
    t) limit=$OPTARG ;;
    h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- devices suite memcheck racecheck impossible together reload isolation greedy bench

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
export ROCMFORGE_TEST_BACKENDS="$backend"

# Small cases of each kernel family for the sanitizers, which slow kernels down a hundred times.
cases='^(MATMUL, (Q4_0|Q4_K|Q6_K|Q8_0|F16|MXFP4) .* (2|17) × (96|256|33) × 33( |,|$)'
cases="$cases|MATMUL_SWIGLU, (Q4_0|F16) .* 17 × (32|33) × 33( |,|\$)|MATMUL, several weights.* (1|17) rows"
cases="$cases|ATTENTION \\[.* (1|17) rows after 37, 9:3 heads of 64|ATTENTION, window .* window 17|ATTENTION_DENSE \\[.* 17 × 67, 9:3 heads of 80"
cases="$cases|SAMPLE.* (20 alternatives of 1000|an output draws alone|best allowed of 1000)"
cases="$cases|(RMS_NORM|SOFTMAX|EMBED|ROPE_STORE|SWIGLU|ADD|SCALE|GATHER|CAUSAL_MASK|ROPE) \\[.* 17( ×| rows,) )"

sanitize() {
  tool=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -n 1)
  [ -n "$tool" ] || { echo "compute-sanitizer is not installed here"; return 77; }
  "$tool" --tool "$1" --error-exitcode 9 --print-limit 20 bun test tests/kernels --timeout 280000 -t "$cases"
}

suite() {
  for file in tests/kernels/*.test.ts tests/models/golden-logits.test.ts tests/models/mixed-formats.test.ts; do
    echo "$file"
  done |
    xargs -P "$(nproc)" -I FILE sh -c \
      'bun test "./$1" --timeout 120000 >"$2/$(basename "$1").log" 2>&1 || echo "exit code $? of $1" >>"$2/failed"' sh FILE "$work"
  cat "$work"/*.test.ts.log | grep -v '^(pass)'
  grep -h '^kernel suite on' "$work"/*.log | sort | uniq -c
  total() { cat "$work"/*.test.ts.log | awk -v word="$1" '$2 == word && NF == 2 { n += $1 } END { print n + 0 }'; }
  [ ! -e "$work/failed" ] || cat "$work/failed"
  echo "$(total pass) passed, $(total fail) failed, $(total skip) skipped"
  [ ! -e "$work/failed" ]
}

step() {
  case $1 in
    devices | together | impossible) bun "tests/device/$1.ts" "$backend" ;;
    reload) bun tests/device/reload.ts "$backend" "$model" 50 ;;
    isolation)
      bun test ./tests/unit/engine/isolation.test.ts --timeout 60000 || return 1
      [ -n "$model" ] || { echo "needs -m MODEL.gguf"; return 77; }
      bun tests/device/isolation.ts "$backend" "$model"
      ;;
    greedy)
      [ -n "$model" ] || { echo "needs -m MODEL.gguf"; return 77; }
      bun tests/device/greedy.ts "$backend" "$model"
      ;;
    suite) suite ;;
    memcheck | racecheck) sanitize "$1" ;;
    bench) bun tests/bench/gpu.ts --device "$backend" ;;
    *) echo "unknown step $1"; return 2 ;;
  esac
}

# `timeout` cannot run shell functions, so the script calls itself for each step.
if [ -n "${DEVICE_CHECK_STEP:-}" ]; then
  step "$DEVICE_CHECK_STEP"
  exit
fi
mkdir -p "${OUT:-build}" || exit 2
log=${OUT:-build}/device-check.log
: >"$log"
failed=0
for name in "$@"; do
  started=$(date +%s)
  echo "== $name" >>"$log"
  DEVICE_CHECK_STEP=$name timeout -k 10 "$limit" sh scripts/device-check.sh -b "$backend" -m "$model" >"$work/step.log" 2>&1
  code=$?
  cat "$work/step.log" >>"$log"
  case $code in
    0) verdict='ok  ' ;;
    77) verdict='none' ;;
    *) verdict='FAIL' failed=1 ;;
  esac
  why=''
  [ $code -ne 124 ] && [ $code -ne 137 ] || why=" (stopped after $limit s)"
  printf '%s %4d s %s%s\n' "$verdict" $(($(date +%s) - started)) "$name" "$why"
  case $name in
    suite | memcheck | racecheck) tail -n 3 "$work/step.log" ;;
    *) cat "$work/step.log" ;;
  esac | sed 's/^/       /'
done
exit $failed
