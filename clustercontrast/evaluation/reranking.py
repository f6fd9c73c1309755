"""k-reciprocal re-ranking: a gallery sorted by what query and image have for neighbours, too.

Zhong, Zheng, Cao, Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017.
The Jaccard distance is that of the clustering; what differs from the paper and from its released
code are the rows RERANK of docs/divergences.md.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch

from clustercontrast.clustering.jaccard import compare, encodings
from clustercontrast.clustering.neighbours import nearest


@dataclass(frozen=True)
class Parameters:
    """Values of :class:`Reranking`, whose defaults they share.

    Attributes:
        k1: neighbours of the reciprocal test.
        k2: images that the query expansion averages.
        weight: of the original distance (λ).
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    @property
    def label(self) -> str:
        """What stands behind the name of every model whose answers are re-ranked."""
        return f"re-ranked, k1 {self.k1}, k2 {self.k2}, λ {self.weight:g}"

    def similarity(self, queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        """(Q, G) float32 re-ranked distances of unit rows (Q, d) and (G, d), negated."""
        rows = torch.from_numpy(queries), torch.from_numpy(gallery)
        return -Reranking(*rows, **asdict(self)).distances(slice(None))


class Reranking:
    """d* = (1 − weight) d_J + weight d of every query and gallery image (Eq. 12).

    d_J is the Jaccard distance of the k-reciprocal encodings, over the union of queries and
    gallery; 1 where two encodings have nothing in common.  d is the squared Euclidean distance,
    divided by its largest value over the union for every query.  The union's neighbours are
    searched exactly, (Q + G)² products in blocks; no matrix of that size is kept.

    Args:
        queries: (Q, d) unit rows.
        gallery: (G, d) unit rows.
        k1: neighbours of the reciprocal test, besides the image itself; at most Q + G − 1 are used.
        k2: images that the query expansion averages, the image itself included; 1 switches it off.
        weight: of the original distance (λ), in [0, 1]; with 1 the ranking is the plain one.

    Raises:
        ValueError: k1 or k2 below 1, k2 > k1, a weight outside [0, 1], no query, no gallery, rows
            of two lengths, or non-finite rows.
    """

    def __init__(
        self,
        queries: torch.Tensor,
        gallery: torch.Tensor,
        k1: int = 20,
        k2: int = 6,
        weight: float = 0.3,
    ) -> None:
        if not (1 <= k2 <= k1 and 0 <= weight <= 1):
            raise ValueError(
                f"k1 is {k1}, k2 is {k2}, the weight is {weight}: expected 1 ≤ k2 ≤ k1 and a "
                "weight in [0, 1]"
            )
        if not (len(queries) and len(gallery)):
            raise ValueError("queries and gallery need one image each at least")
        self._weight = weight
        self._count = len(queries)
        self._union = torch.cat([queries, gallery]).detach().float()
        k1 = min(k1, len(self._union) - 1)
        encoding = encodings(self._union, nearest(self._union, k1 + 1), k1, min(k2, k1 + 1))
        self._jaccard = compare(encoding, first=self._count)[:, self._count :]

    def distances(self, rows: slice) -> np.ndarray:
        """Re-ranked distances of some queries to the whole gallery.

        Args:
            rows: which queries.

        Returns:
            (n, G) float32 in [0, 1]; smaller is more alike.
        """
        jaccard = self._jaccard[rows].tocoo()
        distances = np.ones(jaccard.shape, dtype=np.float32)
        distances[jaccard.row, jaccard.col] = jaccard.data
        return (1 - self._weight) * distances + self._weight * self._original(rows)

    def _original(self, rows: slice) -> np.ndarray:
        """(n, G) squared Euclidean distances of unit rows, over the largest of every query."""
        queries = self._union[: self._count][rows]
        distances = (2 - 2 * (queries @ self._union.T)).clamp_(min=0)
        largest = distances.amax(dim=1, keepdim=True).clamp_(min=torch.finfo(torch.float32).tiny)
        return (distances / largest)[:, self._count :].cpu().numpy()
