"""python -m clustercontrast.sweep: the command of :mod:`clustercontrast.commands.sweep`."""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports: no traceback
    from clustercontrast.commands.sweep import main

    main()
