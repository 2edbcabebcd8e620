#!/bin/sh
# usage: tools/install.sh VENV LOCK
# Runs tools/install.py with a Python that can make virtual environments: PYTHON if that is set, else the one of a VENV
# that is installed, else the machine's default (Debian's python3-venv is for that one), else another.
venv=$1 lock=$2

run_with() {
  "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
    exec "$1" "${0%/*}/install.py" "$venv" "$lock"
}

if [ -n "${PYTHON:-}" ]; then
  run_with "$PYTHON"
  echo "error: PYTHON=$PYTHON isn't Python 3.11 or later with venv and ensurepip" >&2
else
  names="python3 python3.14 python3.13 python3.12 python3.11"
  [ ! -e "$venv/.installed" ] || run_with "$venv/bin/python"
  for python in $names; do run_with "$python"; done
  echo "error: none of $names is Python 3.11 or later with venv and ensurepip: install one (Debian or Ubuntu:" \
    "apt install python3 python3-venv) or name one (PYTHON=/path/to/python)" >&2
fi
exit 1
