#!/bin/sh
# usage: [PYTHON=...] tools/install.sh VENV LOCK; without PYTHON it takes VENV's own, the default or another able one
venv=$1 lock=$2
set -- "$venv/bin/python" python3 python3.14 python3.13 python3.12 python3.11
[ -z "${PYTHON:-}" ] || set -- "$PYTHON"
for python; do
  "$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
    exec "$python" "${0%/*}/install.py" "$venv" "$lock"
done
echo "error: not Python 3.11 or later with venv (Debian: apt install python3-venv): $*; name another by PYTHON=" >&2
exit 1
