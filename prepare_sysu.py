"""Verify SYSU-MM01 where it lies and write its images, resized once, for training and testing.

    python prepare_sysu.py --data-dir data/SYSU-MM01

The dataset is expected in its official layout: cam1 ... cam6 and exp/ in DATA_DIR.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports: no traceback
    from clustercontrast.commands.cli import prepare

    prepare("sysu")
