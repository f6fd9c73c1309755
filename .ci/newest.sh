#!/bin/sh
# The fast tests on the newest versions that the package index has within the ranges of
# pyproject.toml, in an environment of their own.  PYTHON names the interpreter; 3.13 is the newest.
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."
. .ci/versions.sh
fast_tests .venv-newest --upgrade "$@"
