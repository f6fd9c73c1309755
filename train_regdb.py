"""Train a method on RegDB, trial by trial, then test each model on the identities of its own trial.

    python train_regdb.py --method pclhd --trial 1 2 3     # three models and their table
    python train_regdb.py --method pclhd --help            # every flag with PCLHD's default
    python train_regdb.py --method pgm --bn-groups 2 --name pgm-2gpu --trial 5   # an ablation

The method: clustercontrast/methods/<method>.py.  Its flags and defaults: clustercontrast/settings,
recipes/<method>.py, recipes/common.py and flags.py.  The same command skips
finished trials and resumes one that was interrupted.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports: no traceback
    from clustercontrast.commands.cli import train

    train("regdb")
