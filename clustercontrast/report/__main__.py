"""python -m clustercontrast.report: the command of :mod:`clustercontrast.commands.report`."""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports: no traceback
    from clustercontrast.commands.report import main

    main()
