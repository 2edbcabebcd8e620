#!/usr/bin/env bash
# usage: benchmarks/gpu.sh [gpu_speed's options, such as --presets tiny --repeats 2]
# All that needs a GPU, in less than ten minutes: CUDA tests, goldens, speed.
# Needs the packages of requirements.lock. Results go to benchmarks/results/; the exit code is 1 if anything failed.
# DEVICE=cpu tries the script on a machine without a GPU (no speed is measured then).
#
# usage: benchmarks/gpu.sh runs --data ROOT [gpu_runs' options, such as --minutes 10 --only cat-seg-b]
# The runs of the papers that would give most trust, which take GPU hours to days: one piece of ten minutes. The exit code
# is 3 as long as there is more to do: until benchmarks/gpu.sh runs --data ROOT; [ $? -ne 3 ]; do :; done
# docs/papers/gpu_plan.md says what each costs and what it would prove.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
device=${DEVICE:-cuda}
if [ "${1:-}" = runs ]; then
  shift
  exec "$python" -m benchmarks.gpu_runs --device "$device" "$@"
fi
pytest=("$python" -m pytest -q -p no:cacheprovider -o "addopts=--import-mode=importlib")
status=0
step() {
  echo "== $1"
  shift
  "$@" || { echo "FAILED: $*" && status=1; }
}

step "the CPU's answers on the GPU" timeout 180 "${pytest[@]}" tests/test_cuda.py
step "goldens" timeout 180 "${pytest[@]}" tests/networks -k "golden and compact"
if [ "$device" = cuda ]; then
  step "speed" timeout 240 "$python" -m benchmarks.gpu_speed "$@"
fi
exit "$status"
