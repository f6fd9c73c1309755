#!/usr/bin/env bash
# bash test_sysu.sh logs/sysu/pclhd/seed1/ [flags]     all-search and indoor-search, ten gallery draws
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
if [[ -f .venv/bin/activate ]]; then source .venv/bin/activate; fi
exec python test_sysu.py "$@"
