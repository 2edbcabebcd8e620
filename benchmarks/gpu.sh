#!/usr/bin/env bash
# All that wants a GPU, in one call: the CUDA tests, then the benchmark. From the repository's root, with the packages of
# requirements.lock in the environment; results go to benchmarks/results/.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}"
status=0
python3 -m pytest -q -p no:cacheprovider -o addopts="--import-mode=importlib" tests/test_cuda.py || status=1
python3 -m benchmarks.gpu_speed "$@" || status=1
exit "$status"
