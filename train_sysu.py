"""Train a method on SYSU-MM01, then test it in all-search and indoor-search.

    python train_sysu.py --method pclhd                    # both stages, then both searches
    python train_sysu.py --method pclhd --help             # every flag with PCLHD's default
    python train_sysu.py --method pclhd --no-joint-branch --name no-joint        # an ablation
    python train_sysu.py --method pgm --stages cross       # second stage, the first being done

The method: clustercontrast/methods/<method>.py.  Its flags and defaults: clustercontrast/settings,
recipes/<method>.py, recipes/common.py and flags.py.  The same command resumes an
interrupted run.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports: no traceback
    from clustercontrast.commands.cli import train

    train("sysu")
