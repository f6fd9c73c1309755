"""Test a run on SYSU-MM01: all-search and indoor-search, ten gallery draws, mean and deviation.

    python test_sysu.py logs/sysu/pclhd/seed1/             # last epoch, best on test, best without
    python test_sysu.py model_best.pth.tar                 # an official AGW checkpoint

The run's table, its JSON and Markdown forms and its curves are written into the run's folder.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports: no traceback
    from clustercontrast.commands.cli import test

    test("sysu")
