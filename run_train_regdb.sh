#!/usr/bin/env bash
# bash run_train_regdb.sh [METHOD] [flags]    trials 1 to 10, one after the other, then their table
# TRIALS="1 2 3" bash run_train_regdb.sh pgm --bn-groups 2 --name pgm-2gpu     some trials, other flags
# bash run_train_regdb.sh cmam --source data/Market-1501       trains a generator of its own for every trial
# METHOD is pclhd unless another is named first; --help lists all methods, METHOD --help its flags.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
if [[ -f .venv/bin/activate ]]; then source .venv/bin/activate; fi
method=pclhd
if [[ $# -gt 0 && $1 != -* ]]; then method=$1; shift; fi
read -ra trials <<<"${TRIALS:-1 2 3 4 5 6 7 8 9 10}"
exec python train_regdb.py --method "$method" --trial "${trials[@]}" "$@"
