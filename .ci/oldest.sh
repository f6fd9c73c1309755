#!/bin/sh
# The fast tests on the oldest versions that pyproject.toml allows, in an environment of their own.
# PYTHON names the interpreter; 3.10 is the oldest one.
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."
. .ci/versions.sh
grep -o '"[A-Za-z][A-Za-z0-9-]*>=[0-9.]*' pyproject.toml | tr -d '"' | sed 's/>=/==/' |
    grep -v hatchling >.venv-oldest.txt
fast_tests .venv-oldest -c .venv-oldest.txt "$@"
