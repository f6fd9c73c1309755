"""When things happen: the training loop, the pipeline of stages, checkpoints and logs."""
