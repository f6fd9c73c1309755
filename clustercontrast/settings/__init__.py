"""What can be set: flags, their defaults, and how a command line is read."""
