#!/usr/bin/env bash
# bash test_regdb.sh logs/regdb/pclhd/seed1/ [flags]     both directions, every trial with its own model
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
if [[ -f .venv/bin/activate ]]; then source .venv/bin/activate; fi
exec python test_regdb.py "$@"
