#!/bin/sh
# usage: tools/make_venv.sh DIRECTORY
# Makes the virtual environment with the machine's Python, or keeps one that works and whose last installation ended.
set -eu
venv=$1

if [ -e "$venv/.unfinished" ]; then
  echo "The last installation into $venv was interrupted: starting it afresh (downloads are kept by pip)." >&2
elif "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  exit 0
fi

# The machine's default comes first: it is the one for which Debian's python3-venv is installed.
for python in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "error: $python can't make virtual environments; on Debian or Ubuntu: apt install python3-venv" >&2
    exit 1
  fi
  echo "Making $venv with $("$python" --version) ($(command -v "$python"))"
  exec "$python" -m venv --clear "$venv"
done
echo "error: no Python >= 3.11 among: ${PYTHON:-python3 python3.13 python3.12 python3.11}." \
  "Install one (Debian or Ubuntu: apt install python3 python3-venv) or name it: make install PYTHON=/path/to/python" >&2
exit 1
