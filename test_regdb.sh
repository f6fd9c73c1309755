#!/bin/sh
# sh test_regdb.sh [RUN] [flags]     both directions, every trial with its own model
# RUN is a run's folder, such as logs/regdb/pclhd/seed1/; without it, the newest finished run of pclhd.
set -eu
cd "$(dirname "$(readlink -f "$0")")"
. .ci/enter.sh
exec python test_regdb.py "$@"
