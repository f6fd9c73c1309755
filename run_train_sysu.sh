#!/usr/bin/env bash
# bash run_train_sysu.sh [METHOD] [flags]     e.g.  bash run_train_sysu.sh pgm --eps 0.55 --name pgm-eps055
#                                             bash run_train_sysu.sh cmam --source data/Market-1501
# METHOD is pclhd unless another is named first; --help lists all methods, METHOD --help its flags.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
if [[ -f .venv/bin/activate ]]; then source .venv/bin/activate; fi
method=pclhd
if [[ $# -gt 0 && $1 != -* ]]; then method=$1; shift; fi
exec python train_sysu.py --method "$method" "$@"
