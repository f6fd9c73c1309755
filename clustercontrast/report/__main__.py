"""python -m clustercontrast.report: the command of :mod:`clustercontrast.commands.report`."""

from clustercontrast.commands.report import main

if __name__ == "__main__":
    main()
