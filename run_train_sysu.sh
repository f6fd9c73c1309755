#!/bin/sh
# sh run_train_sysu.sh [METHOD] [flags]     e.g.  sh run_train_sysu.sh pgm --eps 0.55 --name pgm-eps055
#                                           sh run_train_sysu.sh cmam --source data/Market-1501
# SEEDS="1 2 3" sh run_train_sysu.sh pgm       a run for each seed, one after the other, then their means
# METHOD is pclhd unless another is named first; --help lists all methods, METHOD --help its flags.
set -eu
set -f # SEEDS are words, not names of files
cd "$(dirname "$(readlink -f "$0")")"
. .ci/enter.sh
case ${1:--} in -*) ;; *) set -- --method "$@" ;; esac
# Without quotes: every seed is a word of its own.
exec python train_sysu.py ${SEEDS:+--seeds $SEEDS} "$@"
