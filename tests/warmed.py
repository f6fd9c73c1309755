"""For servers that processes are forked from: numba, and what it has compiled, is loaded.

A short training takes half a second; the first use of numba in a process takes a whole one.
"""

import torch

from clustercontrast.clustering.jaccard import balanced_jaccard, jaccard

torch.set_num_threads(1)  # OpenMP's threads would not be there after a fork
ROWS = torch.eye(8)
jaccard(ROWS, 3, 2)
balanced_jaccard(ROWS, ROWS, 3, 2)
