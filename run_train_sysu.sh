#!/bin/sh
# sh run_train_sysu.sh [METHOD] [flags]     e.g.  sh run_train_sysu.sh pgm --eps 0.55 --name pgm-eps055
#                                           sh run_train_sysu.sh cmam --source data/Market-1501
# METHOD is pclhd unless another is named first; --help lists all methods, METHOD --help its flags.
set -eu
cd "$(dirname "$(readlink -f "$0")")"
. .ci/enter.sh
case ${1:--} in -*) ;; *) set -- --method "$@" ;; esac
exec python train_sysu.py "$@"
