"""A simulated CUDA device: torch takes its tensors for cuda:0, their values live on the CPU.

    cd tests && python -m simulated report.json ../train_sysu.py --method pgm --device cuda ...
    cd tests && python -m simulated report.json -m pytest gpu

What is real: dispatch keys, autocast lists, autograd and its threads, foreach and fused optimisers,
page-locked memory; every operation is checked for a CUDA kernel. What a CUDA device would refuse is
refused here, what it would wait for is counted, by phase of the run and place in the package.

What it cannot see: values and speed of CUDA kernels, cuDNN (switched off), fused attention (the
plain one runs), races, fragmentation, memory inside a kernel. Say "simulated" with its figures.

    runtime/      stand-in for the CUDA runtime and driver, in C++
    toolchain.py  builds it, or says why it cannot
    device.py     the tensors and the dispatch of their operations
    rules.py      what a CUDA device refuses and what it waits for
    memory.py     bytes that tensors hold, and torch.cuda's answers about them
    records.py    what happened, by phase and place
    phases.py     the engine's places: refresh, steps, tick, evaluation, saving
    __main__.py   any Python program on the device, then a report
    launch.py     the same for tests, which do not wait for imports
    forking.py    the process that their programs are forked from
"""
