#!/bin/sh
# sh run_tests.sh            all tests, in about 35 minutes on 2 cores
# sh run_tests.sh --fast     without the slow-marked part, in about 5
# Anything else is handed to pytest; GOLDEN_DIR names another set of golden vectors.
set -eu
cd "$(dirname "$(readlink -f "$0")")"
. .ci/environment.sh
# One process per core instead: --numprocesses.
export OMP_NUM_THREADS=1 TORCHINDUCTOR_COMPILE_THREADS=1
if [ "${1:-}" = --fast ]; then
    shift
    set -- -m "not slow" "$@"
fi
# Tests of pages look at them in headless Chromium, those of LaTeX tables compile a paper; they are
# skipped where there is neither, and a fresh container gets both here.
fetch() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing $* for the tests"
        { apt-get update && apt-get install -y --no-install-recommends "$@"; } >/dev/null 2>&1 ||
            echo "no $1 to be had: its tests are skipped"
    fi
}
have() { for name; do command -v "$name" >/dev/null && return; done; return 1; }
have chromium chromium-browser google-chrome || fetch chromium
have pdflatex || fetch texlive-latex-base texlive-latex-recommended lmodern
ruff check .
# A file goes to one process, which makes what its tests share once; tests/conftest.py sorts them.
exec python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder --durations=10 "$@"
