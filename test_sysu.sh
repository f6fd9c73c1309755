#!/bin/sh
# sh test_sysu.sh [RUN] [flags]     all-search and indoor-search, ten gallery draws
# RUN is a run's folder, such as logs/sysu/pclhd/seed1/; without it, the newest finished run of pclhd.
set -eu
cd "$(dirname "$(readlink -f "$0")")"
. .ci/enter.sh
exec python test_sysu.py "$@"
