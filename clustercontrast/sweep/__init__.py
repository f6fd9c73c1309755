"""The door of python -m clustercontrast.sweep; see :mod:`clustercontrast.commands.sweep`."""
