#!/bin/sh
# usage: tools/install_locked.sh VENV LOCK
# Installs the locked versions into a virtual environment. One pip unpacks on one core: here one takes PyTorch with its
# libraries, which are three quarters of all bytes, another takes the rest, which is compiled meanwhile. Then all cores
# compile what is left.
set -eu
venv=$1 lock=$2
scratch=$(mktemp -d)
trap 'kill "${torch:-}" 2>/dev/null || true; rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM # what runs in the background isn't interrupted by itself

# A package is a line at the left margin, and the indented lines that follow it.
awk -v out="$scratch" '/^[^ #]/ { part = /^(cuda|nvidia|torch|triton)/ ? "torch" : "rest" } { print > (out "/" part) }' \
  part=rest "$lock"
half() {
  exec "$venv/bin/python" -m pip install --no-compile --require-hashes --no-deps --only-binary :all: -r "$scratch/$1"
}

# Modules that hardly anyone imports are left to their first import. Some packages bring files for other Pythons, which
# can't be compiled: that is no failure.
rare='/(tests?|moto|cvat_sdk|torch/(_inductor|testing)|ray/(dashboard|llm|rllib|serve|train|tune))/'
compile_modules() {
  "$venv/bin/python" -m compileall -qq --workers "$1" -x "$rare" "$venv/lib" || true
}

half torch &
torch=$!
(half rest) >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; exit 1; }
compile_modules 1
wait "$torch"
tail -n 1 "$scratch/log"
echo "Compiling the modules on all cores: pip takes one"
compile_modules 0
