"""Networks, the emulation of data-parallel BatchNorm, and where weights come from."""
