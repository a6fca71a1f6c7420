#!/usr/bin/env bash
# Runs the core's tests in an environment of their own: core_tests.sh PYTHON ENVIRONMENT [--lowest]
# PYTHON is a program or a version; a version that is not on this machine is named and left out.
# With --lowest, the package's dependencies have the lowest versions that pyproject.toml allows.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=$1 environment=$2 lowest=${3:-}

python=
for candidate in "$wanted" "python$wanted" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$wanted".*/bin/python; do
  # A name on the PATH need not run: pyenv puts there what is not chosen.
  if python=$("$candidate" -c 'import sys; print(sys.executable)' 2>/dev/null); then
    break
  fi
done
if [ -z "$python" ]; then
  echo "Python $wanted is not on this machine: the core's tests have not been run on it."
  exit 0
fi

installed=$environment/.installed
if ! [ "$installed" -nt pyproject.toml ]; then
  [ -x "$environment/bin/python" ] || "$python" -m venv "$environment"
  echo "Installing otel-budget into $environment ..."
  constraints=()
  if [ -n "$lowest" ]; then
    "$environment/bin/python" tests/lowest_versions.py >"$environment/constraints.txt"
    constraints=(--constraint "$environment/constraints.txt")
  fi
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
    ${constraints[@]+"${constraints[@]}"} --editable '.[cli,grpc,otlp,rules,test]'
  touch "$installed"
fi

echo "The core's tests on $("$environment/bin/python" --version)${lowest:+ with the lowest versions: \
$(paste -sd' ' "$environment/constraints.txt")}"
# Not the core: real programs, dashboards, examples, integrations, documentation; and the type
# checkers, which run once.
"$environment/bin/python" -m pytest --ignore=tests/backends --ignore=tests/dashboards \
  --ignore=tests/examples --ignore=tests/integrations --ignore=tests/documentation --ignore=tests/test_typing.py
