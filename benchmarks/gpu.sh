#!/bin/sh
# First contact with a GPU: in ten minutes on one H100 or H200, what docs/benchmarks.md leaves open.
#
#   bash benchmarks/gpu.sh                  # results in gpu-results/, then the tables of the docs
#   SIZE=tiny bash benchmarks/gpu.sh        # the same steps in small, on a CPU too
#
# OUT names another folder, BUDGET other seconds in all, PATIENCE a factor of every step's own limit,
# DOCS another file of tables, RUN what takes the place of python. Every row is written at once; the
# budget cuts off the end, where what matters least stands. The exit code is the number of steps that
# failed.
set -u # not -e: a step that fails costs its own row
cd "$(dirname "$(readlink -f "$0")")/.."
. .ci/enter.sh
size=${SIZE:-full} out=${OUT:-gpu-results} budget=${BUDGET:-600}
run=${RUN:-python}
patience=${PATIENCE:-1} failed=0 began=$(date +%s)
mkdir -p "$out"
docs=${DOCS:-docs/benchmarks.md}
if [ "$size" = tiny ] && [ -z "${DOCS:-}" ]; then # figures of toys stay out of the documentation
    docs=$out/benchmarks.md
    cp docs/benchmarks.md "$docs"
fi

spent() {
    echo $(($(date +%s) - began))
}

# step NAME SECONDS ARGUMENTS...: one program within its time, or what is left of the budget.
step() {
    name=$1 limit=$(($2 * patience))
    shift 2
    left=$((budget - $(spent)))
    if [ "$left" -lt 5 ]; then
        echo "* $name: left out, the budget of $budget s is spent"
        return
    fi
    [ "$limit" -lt "$left" ] || limit=$left
    echo "* $name (at most $limit s, $(spent) s so far)"
    timeout -k 10 "$limit" $run "$@" >"$out/$name.log" 2>&1
    code=$?
    tail -n 4 "$out/$name.log"
    case $code in
    0) ;;
    124) echo "* $name: cut off after $limit s, what it had measured is kept" ;;
    *) failed=$((failed + 1)) && echo "* $name: failed with $code, see $out/$name.log" ;;
    esac
}

# measure NAME SECONDS BENCHMARK ARGUMENTS...: a benchmark whose rows go to NAME.json.
measure() {
    name=$1 limit=$2 benchmark=$3
    shift 3
    step "$name" "$limit" -m "benchmarks.$benchmark" --json "$out/$name.json" "$@"
}

tests=gpu steps="" few="" drawn="" searched="" extracted=""
if [ "$size" = tiny ]; then
    tests="gpu and not slow"
    steps="--flags --height 64 --width 32 --depth 10 -b 16 --batch-visible 16 --num-instances 4"
    few="--steps 1"
    drawn="--unet-width 32 --sampling-steps 2 --batch 2 --training-batch 2 --steps 1"
    searched="--sizes 500 --dim 64"
    extracted="--images 32 --size 64 32 --depth 10 --batches 16"
fi
vit=${steps:+--flags --height 64 --width 32 --depth 2 --vit-width 64 -b 16 --batch-visible 16 --num-instances 4}

measure machine 30 machine
step tests 150 -m pytest -m "$tests" tests/gpu tests/methods/test_trajectories.py tests/numerics tests/data \
    -q --junitxml="$out/tests.xml"
measure steps-pclhd 150 step --methods pclhd --precisions fp32 tf32 bf16 --recompute $few $steps
measure generation 60 generation $drawn
measure neighbours 60 neighbours $searched
measure extraction 45 extraction $extracted
measure epoch 90 epoch --size "$size"
measure steps-pgm 60 step --methods pgm --precisions tf32 bf16 $few $steps
measure steps-sdcl 60 step --methods sdcl --precisions tf32 bf16 $few $vit
measure steps-layout 60 step --methods pclhd --precisions tf32 bf16 --channels-last on off $few $steps
measure steps-compile 90 step --methods pclhd --precisions bf16 --compile $few $steps
measure profile 60 profile --size "$size"

python -m benchmarks.tables "$out" --docs "$docs" || failed=$((failed + 1))
echo "* done in $(spent) s, $failed steps failed: $out, $docs"
exit "$failed"
