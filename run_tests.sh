#!/usr/bin/env bash
# bash run_tests.sh            all tests, in at most 35 minutes on 2 cores
# bash run_tests.sh --fast     without the slow-marked part, in at most 5
# Anything else is handed to pytest; GOLDEN_DIR names another set of golden vectors.
set -euo pipefail
cd "$(dirname "$0")"
source .ci/environment.sh
export OMP_NUM_THREADS=1 # one process per core instead: --numprocesses
if [[ ${1:-} == --fast ]]; then
    set -- -m "not slow" "${@:2}"
fi
ruff check .
exec python -m pytest --numprocesses auto --dist worksteal --durations=10 "$@"
