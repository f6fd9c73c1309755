"""Verify RegDB where it lies and write its images, resized once, for training and testing.

    python prepare_regdb.py --data-dir data/RegDB

The dataset is expected in its official layout: Visible, Thermal and idx in DATA_DIR. One prepared
folder serves all ten trials.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports: no traceback
    from clustercontrast.commands.cli import prepare

    prepare("regdb")
