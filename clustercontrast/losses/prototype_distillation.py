"""Self-distillation by prototypes: a feature learns how alike its prototype is to all others.

PoSeD Eq. 7-10.  M (C, d) are centroids of both modalities, visible ones first, f a unit feature of
cluster u, M_u its row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from clustercontrast.losses.placing import beside
from clustercontrast.losses.prototype_contrast import similarity


def teacher(
    similarity_of_prototypes: torch.Tensor,
    similarity_of_features: torch.Tensor,
    groups: Sequence[int],
    fusion: float,
    temperature: float,
) -> torch.Tensor:
    """Q̄ (B, C), which sums to 1, the same share in every group (Eq. 7-9).

        Q = (1 - fusion) M_u Mᵀ + fusion f Mᵀ;  Q̄ = [softmax(Q_v / γ); softmax(Q_r / γ)] / sum

    Args:
        similarity_of_prototypes: M_u Mᵀ, (B, C).
        similarity_of_features: f Mᵀ, (B, C).
        groups: how many columns are normalised together; an empty group has no share.
        fusion: weight of the feature's own similarity.
        temperature: γ.
    """
    q = (1 - fusion) * similarity_of_prototypes + fusion * similarity_of_features  # Eq. 7
    parts = [part.softmax(1) for part in (q / temperature).split(list(groups), 1)]  # Eq. 8
    q = torch.cat(parts, 1)
    return q / q.sum(1, keepdim=True)  # Eq. 9


def prototype_similarity(rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """M_u Mᵀ (B, C) of labels u (B,) int64, at best on the CPU, in the precision of the rows."""
    with torch.autocast(rows.device.type, enabled=False):
        return rows[beside(labels, rows)] @ rows.T


def distil(logits: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """-Σ_j Q̄_j log softmax_j(logits), mean over the batch; both (B, C) (Eq. 10)."""
    return -(q * logits.log_softmax(1)).sum(1).mean()


@dataclass(frozen=True)
class SelfDistillation:
    """L_sd of features of either modality, with the settings that Eq. 7-10 leave or name.

    Attributes:
        temperature: τ of the student.
        teacher_temperature: γ.
        fusion: weight of the feature's own similarity (Eq. 7); 0: that of prototypes alone.
        is_separate: a softmax for every modality on both sides, and their losses added, in place
            of one softmax of the student over both modalities.
        is_grouped: the teacher's softmax is made for either modality; else over all rows at once.
        has_gradient: the teacher is differentiated through the feature's own similarity, too.
    """

    temperature: float
    teacher_temperature: float
    fusion: float = 0.5
    is_separate: bool = False
    is_grouped: bool = True
    has_gradient: bool = False

    def __call__(
        self,
        features: torch.Tensor,
        labels: torch.Tensor,
        rows: torch.Tensor,
        groups: Sequence[int],
        taught_by: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """L_sd; the rows stay as they are and carry no gradient.

        Args:
            features: f, (B, d), not normalised.
            labels: (B,) int64 row u of every feature, at best on the CPU.
            rows: M, (C, d), those of a group side by side.
            groups: how many rows every group has: of the modalities, visible first.
            taught_by: (B, d) features of another network in the place of f in Eq. 7.
        """
        student = similarity(features, rows)  # f Mᵀ
        seen = student if taught_by is None else similarity(taught_by, rows)
        seen = seen if self.has_gradient else seen.detach()
        known = prototype_similarity(rows, labels)
        if not self.is_separate:
            return self._part(known, seen, student, groups if self.is_grouped else (len(rows),))
        parts = zip(*(x.split(list(groups), 1) for x in (known, seen, student)), strict=True)
        sized = ((part, part[0].shape[1]) for part in parts)
        return sum(self._part(*part, (size,)) for part, size in sized if size)

    def targets(
        self,
        features: torch.Tensor,
        labels: torch.Tensor,
        rows: torch.Tensor,
        groups: Sequence[int],
    ) -> torch.Tensor:
        """Q̄ (B, C) of features (B, d) that are taught by themselves; arguments as in a call."""
        known, seen = prototype_similarity(rows, labels), similarity(features, rows)
        groups = groups if self.is_grouped else (len(rows),)
        return teacher(known, seen, groups, self.fusion, self.teacher_temperature)

    def _part(
        self,
        known: torch.Tensor,
        seen: torch.Tensor,
        student: torch.Tensor,
        groups: Sequence[int],
    ) -> torch.Tensor:
        q = teacher(known, seen, groups, self.fusion, self.teacher_temperature)
        return distil(student / self.temperature, q)

    def likely(self, rows: torch.Tensor, groups: Sequence[int], count: int = 2) -> torch.Tensor:
        """Rows (C, count) int64 with the greatest Q̄ of every row, as if it were a feature."""
        q = self.targets(rows, torch.arange(len(rows)), rows, groups)
        return q.topk(min(count, len(rows)), dim=1).indices
