#!/usr/bin/env bash
# usage: benchmarks/gpu.sh [tests] [evaluation] [goldens] [official]
# All that needs a GPU, or only the steps that are named. On an H200 the tests took one minute, and a
# row of "official" half a minute. Needs the packages of requirements.lock; "official" also needs
# OFFICIAL="FOLDER ...", checkouts of the official repositories.
# Results go to benchmarks/results/; the exit code is 1 if anything failed.
# DEVICE=cpu tries the script on a machine without a GPU.
#
# usage: [MINUTES=10] [FILES=DATA/files] benchmarks/gpu.sh runs DATA [NAME ...]
# The runs of the papers that would give most trust, which take GPU hours to days: one piece of ten minutes, which goes on
# where the last one was stopped. The exit code is 3 as long as there is more to do:
# until benchmarks/gpu.sh runs DATA; [ $? -ne 3 ]; do :; done
# docs/papers/researcher.md says what each costs and what it would prove.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
device=${DEVICE:-cuda}

if [ "${1:-}" = runs ]; then
  data=${2:?name the data folder: benchmarks/gpu.sh runs DATA} files=${FILES:-$2/files} status=0
  shift 2
  end=$((SECONDS + 60 * ${MINUTES:-10}))
  while IFS=: read -r name call; do
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    [ $SECONDS -lt $end ] || exit 3
    echo "== $name"
    # upon SIGTERM a training saves its step; SIGKILL, two minutes later, loses the steps since the last checkpoint
    # shellcheck disable=SC2086 # several words
    timeout --foreground --kill-after 120 $((end - SECONDS)) "$python" -m papers.reproduce ${call//FILES/$files} \
      --data "$data" --out "build/gpu_runs/$name" --device "$device" </dev/null
    case $? in 0) ;; 124 | 137) exit 3 ;; *) status=1 ;; esac
  done <<'RUNS'
cat-seg-b:cat-seg-b
err-seg:err-seg-b --weights FILES/err-seg-b.pth
cat-seg-b-trained:cat-seg-b --train
serial:cat-seg-eva-b --train --encoder-weights FILES/declip-b.pt
parallel:pca-seg-b --train --encoder-weights FILES/declip-b.pt
pca-part-b:pca-part-b --train
RUNS
  exit "$status"
fi
pytest=("$python" -m pytest -q -p no:cacheprovider -p no:benchmark -o "addopts=--import-mode=importlib")
status=0
step() {
  echo "== $1"
  shift
  "$@" || { echo "FAILED: $*" && status=1; }
}

steps=" ${*:-tests evaluation goldens official} "
wants() { [[ $steps == *" $1 "* ]]; }

if wants tests; then
  step "the CPU's answers on the GPU" timeout 240 "${pytest[@]}" -n 4 tests/test_cuda.py
fi
if wants evaluation; then
  step "an evaluation" timeout 300 "$python" -m benchmarks.speed evaluation --device "$device"
fi
if wants goldens; then
  step "goldens on the CPU" timeout 240 "${pytest[@]}" -n 4 tests/networks/test_released_golden.py
fi
if wants official && [ -n "${OFFICIAL:-}" ]; then
  for dtype in float32 bfloat16; do
    # shellcheck disable=SC2086 # several folders
    step "beside the official code, $dtype" timeout 300 "$python" -m benchmarks.against_official --official $OFFICIAL \
      --device "$device" --dtype "$dtype" --rows network training --repeats 5
  done
fi
exit "$status"
