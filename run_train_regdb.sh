#!/bin/sh
# sh run_train_regdb.sh [METHOD] [flags]    trials 1 to 10, one after the other, then their table
# TRIALS="1 2 3" sh run_train_regdb.sh pgm --bn-groups 2 --name pgm-2gpu     some trials, other flags
# SEEDS="1 2 3" sh run_train_regdb.sh pgm      all trials with each seed, then the means over the seeds
# sh run_train_regdb.sh cmam --source data/Market-1501       trains a generator of its own for every trial
# METHOD is pclhd unless another is named first; --help lists all methods, METHOD --help its flags.
set -eu
set -f # TRIALS and SEEDS are words, not names of files
cd "$(dirname "$(readlink -f "$0")")"
. .ci/enter.sh
case ${1:--} in -*) ;; *) set -- --method "$@" ;; esac
# Without quotes: every trial, and every seed, is a word of its own.
exec python train_regdb.py --trial ${TRIALS:-1 2 3 4 5 6 7 8 9 10} ${SEEDS:+--seeds $SEEDS} "$@"
