"""python -m clustercontrast.sweep: the command of :mod:`clustercontrast.commands.sweep`."""

from clustercontrast.commands.sweep import main

if __name__ == "__main__":
    main()
