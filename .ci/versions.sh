# Sourced by .ci/oldest.sh and .ci/newest.sh.

# Make an environment with pip's flags that follow its name, say what is in it, run the fast tests.
fast_tests() {
    folder=$1
    shift
    [ -d "$folder" ] || "${PYTHON:-python3}" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@" -r requirements.txt
    for extra in faiss onnx parquet tensorboard docs; do
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@" -e ".[$extra]" ||
            echo "no extra $extra to be had: its tests are skipped"
    done
    "$folder/bin/python" --version
    "$folder/bin/python" -m pip list --disable-pip-version-check
    OMP_NUM_THREADS=1 TORCHINDUCTOR_COMPILE_THREADS=1 "$folder/bin/python" -m pytest -m "not slow" \
        --numprocesses auto --dist loadfile --no-loadscope-reorder
}
