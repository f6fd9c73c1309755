"""Test a run on RegDB: both directions, every trial with its own model, mean and deviation.

    python test_regdb.py logs/regdb/pclhd/seed1/           # all its trials
    python test_regdb.py logs/regdb/pclhd/seed1/trial3/    # one of them
    python test_regdb.py model_best.pth.tar --trial 3      # an official AGW checkpoint

A model is refused on any trial but its own: it was trained on identities of the others' test parts.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports: no traceback
    from clustercontrast.commands.cli import test

    test("regdb")
