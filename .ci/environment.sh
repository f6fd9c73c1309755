# Sourced by run_demo.sh and run_tests.sh: makes .venv on a fresh machine and enters it.
# PYTHON names another interpreter (3.10 to 3.13); constraints.txt pins what was tested.
if [ ! -f .venv/.complete ]; then
    echo "setting up .venv (a few minutes, once)"
    "${PYTHON:-python3}" -c 'import sys; assert (3, 10) <= sys.version_info[:2] <= (3, 13), \
        "Python 3.10 to 3.13 is needed: name one with PYTHON=..."'
    "${PYTHON:-python3}" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        -r requirements.txt -c constraints.txt
    # What few need: their tests are skipped without them.
    for extra in faiss-cpu "onnx onnxruntime onnxscript" pyarrow tensorboard pylint \
        "mkdocs-material mkdocstrings-python"; do
        .venv/bin/python -m pip install --quiet --disable-pip-version-check \
            $extra -c constraints.txt || echo "no $extra to be had: its tests are skipped"
    done
    # The command clustercontrast, for this folder.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e . ||
        echo "no command clustercontrast: say python -m clustercontrast instead"
    touch .venv/.complete
fi
. .venv/bin/activate
