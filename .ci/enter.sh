# Sourced by the scripts that train and test: enters .venv if there is one.
if [ -f .venv/bin/activate ]; then . .venv/bin/activate; fi
