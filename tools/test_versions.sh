#!/bin/sh
# usage: [PYTHON=python3] [RESOLUTION=lowest-torch|lowest-direct|highest|locked] tools/test_versions.sh [ARGUMENT ...]
# Runs the tests with another Python, or with other versions of the dependencies than .venv has: the lowest or the newest
# that pyproject.toml allows, or the locked ones. Before that, the base labels an image in an environment of its own,
# because what only tests and extras need may ask for newer versions of the base's dependencies.
#
# Both environments, build/versions/PYTHON-RESOLUTION and the same with -base, are kept for the next call, until
# pyproject.toml or the lock changes. `make clean` deletes them.
#
# lowest-torch is lowest-direct without exporting, which needs a newer PyTorch than all else. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} resolution=${RESOLUTION:-lowest-direct}

fail() {
  echo "error: $*" >&2
  exit 1
}
case $resolution in
  highest | lowest-direct) extras=all ;;
  lowest-torch) extras="torch train data serve geo video batch" ;;
  locked) extras= ;;
  *) fail "RESOLUTION is '$resolution'; choose lowest-torch, lowest-direct, highest or locked" ;;
esac
# sys.executable is the interpreter itself where the command is a script that looks for it, as pyenv's are.
found=$("$python" -c 'import platform, sys; print(platform.python_version(), sys.executable)') ||
  fail "'$python' doesn't run; name an installed Python: make test-versions PYTHON=/path/to/python"
uv=.venv/bin/uv
[ -x "$uv" ] || uv=$(command -v uv) || fail "uv is missing; run 'make install', which brings it, or 'pip install uv'"
export UV_PYTHON_DOWNLOADS=never UV_LINK_MODE="${UV_LINK_MODE:-hardlink}" UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}"

# usage: environment DIRECTORY INSTALL-OPTION ...; nothing is compiled: old sources need old compilers
environment() {
  venv=$1
  shift
  if [ "$venv/.installed" -nt pyproject.toml ] && [ "$venv/.installed" -nt requirements.lock ]; then
    return
  fi
  echo "Installing $resolution versions for Python ${found%% *} into $venv"
  "$uv" venv --quiet --clear --python "${found#* }" "$venv"
  "$uv" pip install --quiet --python "$venv" --only-binary :all: "$@"
  "$uv" pip install --quiet --python "$venv" --no-deps --editable . --editable annotate
  "$uv" pip freeze --quiet --python "$venv" >"$venv/versions.txt"
  touch "$venv/.installed"
}

whole=build/versions/${found%% *}-$resolution
if [ "$resolution" = locked ]; then
  environment "$whole-base" --require-hashes --no-deps --requirement requirements-light.lock
  environment "$whole" --require-hashes --no-deps --requirement requirements.lock
else
  rule=$resolution
  [ "$rule" != lowest-torch ] || rule=lowest-direct
  environment "$whole-base" --resolution "$rule" --requirement pyproject.toml
  # shellcheck disable=SC2046,SC2086 # each extra is two words
  environment "$whole" --resolution "$rule" --group build $(printf -- '--extra %s ' $extras dev) \
    --requirement pyproject.toml
fi

"$whole-base/bin/segvoc" segment samples/chelsea.jpg --words "cat, wall" --out "$whole-base/out"
echo "Python ${found%% *}, $resolution versions: $whole/versions.txt"
exec "$whole/bin/python" -m pytest "$@"
