"""Prototype memories: rows that queries are contrasted with, rewritten during backpropagation.

Common to all (common.md 4): M holds unit rows, z = f / ‖f‖ is the normalised query, τ the
temperature, μ the momentum, **the weight of the old row**.  Logits are z Mᵀ / τ.  No gradient
reaches M; its rows are updated inside the backward pass, after the gradient of that call is formed.

Order matters (quirk MEM-1): with several calls on one memory in one loss, autograd runs the call
made last first; earlier calls then form their gradient with the rows it has already rewritten,
while their soft-max still comes from the forward pass.  ``gradient="upstream"`` keeps that, as
every official run had it; ``"clean"`` uses the rows of the forward pass and writes the updates of a
backward pass afterwards, in the order of the calls.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

Update = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, "Momentum"], torch.Tensor]
Groups = Sequence[tuple[torch.Tensor, torch.Tensor]]


class Momentum:
    """μ and 1 - μ as upstream rounds them: a tensor of the default dtype, or a Python float."""

    def __init__(self, momentum: float, is_tensor: bool = True) -> None:
        old = torch.tensor(momentum, dtype=None if is_tensor else torch.float64)
        self.old, self.new = old.item(), (1 - old).item()

    def blend(self, rows: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        """norm(μ rows + (1 - μ) queries), row by row."""
        mixed = self.old * rows + self.new * queries
        return mixed / mixed.norm(dim=1, keepdim=True)


class ClusterMemory:
    """One row per cluster: ClusterContrast's memory (PGM, ADCA; PCLHD Eq. 1-5).

    Args:
        centroids: (C, d) cluster means; stored as unit rows.
        temperature: τ.
        momentum: μ, weight of the old row.
        update: "sequential" – every sample in batch order, renormalised each time – or "hard" –
            once per cluster, with its sample least similar to the row.
        gradient: "upstream" or "clean", see the module's docstring.
        smoothing: label smoothing ε (0: plain cross-entropy).

    Calling the memory with features (B, d), not normalised, and labels (B,) int64 gives the loss.
    """

    def __init__(
        self,
        centroids: torch.Tensor,
        temperature: float,
        momentum: float,
        update: str = "sequential",
        gradient: str = "upstream",
        smoothing: float = 0.0,
    ) -> None:
        self.temperature = temperature
        self.smoothing = smoothing
        self.bank = RowBank(F.normalize(centroids), UPDATES[update], Momentum(momentum), gradient)

    @property
    def rows(self) -> torch.Tensor:
        """(C, d) unit rows as they stand."""
        return self.bank.rows

    @rows.setter
    def rows(self, rows: torch.Tensor) -> None:
        """Overwrite the rows, as they are (ADCA blends them without normalising)."""
        self.bank.rows = rows

    def __call__(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """-log softmax(z Mᵀ / τ) at the labels, mean over the batch (Eq. 3-4)."""
        logits = self.bank.similarity(features, labels) / self.temperature
        return cross_entropy(logits, labels, self.smoothing)


class HybridMemory:
    """Two rows per cluster: its centroid cm and its hard prototype hm (PCLHD Eq. 11-15).

    Per cluster in the batch, with the rows as they stand: cm moves to the mean of the cluster's
    queries, hm to the query least similar to cm as it was before.  The loss is

        λ CE(hard) + (1 - λ) max(CE(centroid) - hinge, 0)

    with λ = 0.5 and hinge = 0.2 in the released code, where the hinge acts on the mean over the
    batch.  ``centroid_weight=0`` leaves the hard prototypes alone (the paper's Eq. 23).

    Args:
        centroids: (C, d) cluster means, the centroid half.
        hard: (C, d) initial hard prototypes; the centroids themselves in the released code.
        temperature: τ.
        momentum: μ (paper: α), weight of the old row.
        hard_weight: λ, weight of the hard half.
        centroid_weight: weight of the centroid half.
        hinge: centroid losses below it give no gradient.
        gradient: "upstream" or "clean".
        smoothing: label smoothing ε of both halves.
    """

    def __init__(
        self,
        centroids: torch.Tensor,
        hard: torch.Tensor,
        temperature: float,
        momentum: float,
        hard_weight: float = 0.5,
        centroid_weight: float = 0.5,
        hinge: float = 0.2,
        gradient: str = "upstream",
        smoothing: float = 0.0,
    ) -> None:
        self.temperature = temperature
        self.hard_weight, self.centroid_weight, self.hinge = hard_weight, centroid_weight, hinge
        self.smoothing = smoothing
        rows = F.normalize(torch.cat([centroids, hard]))
        self.bank = RowBank(rows, hybrid_update, Momentum(momentum), gradient)

    @property
    def rows(self) -> torch.Tensor:
        """(2C, d) unit rows: centroids, then hard prototypes."""
        return self.bank.rows

    def __call__(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The hybrid loss; see the class."""
        logits = self.bank.similarity(features, labels) / self.temperature
        centroid, hard = (cross_entropy(x, labels, self.smoothing) for x in logits.chunk(2, dim=1))
        return self.hard_weight * hard + self.centroid_weight * (centroid - self.hinge).clamp(min=0)


class DynamicMemory:
    """M random members per cluster, fixed through the epoch (PCLHD Eq. 17-22).

    Row k + j C is draw j of cluster k.  For a query, the prototype of its own cluster is the draw
    farthest from it, that of every other cluster the nearest draw (Eq. 19); the loss is the
    cross-entropy over the C prototypes (Eq. 20-21).  In the released code queries come from the
    momentum encoder without a graph, so the loss is a constant (quirk PCLHD-1).

    Args:
        instances: (M C, d) features of the drawn members in the order above.
        clusters: C.
        temperature: τ.
    """

    def __init__(self, instances: torch.Tensor, clusters: int, temperature: float) -> None:
        self.rows = F.normalize(instances)
        self.clusters = clusters
        self.temperature = temperature

    def __call__(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """L_DPCL of features (B, d) with labels (B,)."""
        with _full_precision(features):
            logits = F.normalize(_wide(features)) @ self.rows.T / self.temperature
        draws = logits.view(len(logits), -1, self.clusters)  # (B, M, C)
        own = F.one_hot(labels, self.clusters).bool()
        prototypes = torch.where(own, draws.amin(1), draws.amax(1))  # Eq. 19
        return F.cross_entropy(prototypes, labels)

    @torch.no_grad()
    def refresh(self, features: torch.Tensor, labels: torch.Tensor, draws: torch.Tensor) -> None:
        """Replace the rows of the clusters in a batch by batch features, without any momentum.

        The released class holds this update but never reaches it (pclhd.md 3.4).

        Args:
            features: (B, d).
            labels: (B,) int64.
            draws: (U, M) positions in the batch, one row per distinct label, from ``draw_members``.
        """
        instances = F.normalize(features.to(self.rows.dtype))[draws]
        rows = labels[draws[:, 0], None] + self.clusters * torch.arange(draws.shape[1]).to(labels)
        self.rows[rows] = instances


class InstanceMemory:
    """One row per image of a modality, outliers included: SDCL's instance memory (sdcl.md 3.4).

    Rows move between the forward and the backward pass, by ``update``; gradients are formed with
    the rows as they stand in backward, as upstream (quirk SDCL-2), or as they stood in forward.

    Args:
        features: (N, d), stored as unit rows.
        temperature: τ.
        momentum: weight of the old row.
        raw: blend a unit row with a feature that is not normalised, as upstream: with neck outputs
            of norm 28 the feature outweighs the row (quirk SDCL-1).
        gradient: "upstream" or "clean", see the module's docstring.
    """

    def __init__(
        self,
        features: torch.Tensor,
        temperature: float = 0.05,
        momentum: float = 0.9,
        raw: bool = True,
        gradient: str = "upstream",
    ) -> None:
        self.rows = F.normalize(features)
        self.temperature, self.raw, self.gradient = temperature, raw, gradient
        self.momentum = Momentum(momentum, is_tensor=False)

    def similarity(self, features: torch.Tensor) -> torch.Tensor:
        """Similarities z Mᵀ / τ of features (B, d), not normalised, with every row: (B, N)."""
        with _full_precision(features):
            unit = F.normalize(_wide(features))
            return _InstanceSimilarity.apply(unit, self) / self.temperature

    @torch.no_grad()
    def update(self, features: torch.Tensor, indices: torch.Tensor) -> None:
        """M_i <- norm(μ M_i + (1 - μ) f) for every feature (B, d) in batch order, i its image."""
        f = _wide(features) if self.raw else F.normalize(_wide(features))
        self.rows = sequential_update(self.rows, f, indices, self.momentum)


class _InstanceSimilarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, memory):
        ctx.memory, ctx.rows = memory, memory.rows if memory.gradient == "clean" else None
        return queries @ memory.rows.T

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return gradient @ (ctx.memory.rows if ctx.rows is None else ctx.rows), None


class RowBank:
    """The rows of a memory and the autograd node that reads and rewrites them."""

    def __init__(
        self, rows: torch.Tensor, update: Update, momentum: Momentum, gradient: str
    ) -> None:
        self._rows = rows
        self._update, self._momentum = update, momentum
        self._clean = gradient == "clean"
        self._calls = 0
        self._waiting: list[tuple[int, torch.Tensor, torch.Tensor]] = []

    @property
    def rows(self) -> torch.Tensor:
        """Rows with every finished backward pass written."""
        for _, queries, labels in sorted(self._waiting, key=lambda item: item[0]):
            self._rows = self._update(self._rows, queries, labels, self._momentum)
        self._waiting.clear()
        return self._rows

    @rows.setter
    def rows(self, rows: torch.Tensor) -> None:
        self._waiting.clear()
        self._rows = rows

    def similarity(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Similarities z Mᵀ of queries (B, d) whose rows, ``labels``, backward will rewrite."""
        with _full_precision(features):
            self._calls += 1
            return _Similarity.apply(F.normalize(_wide(features)), labels, self, self._calls)

    def gradient_rows(self, forward_rows: torch.Tensor) -> torch.Tensor:
        """Rows that a gradient is formed with: those present now, or those of its forward."""
        return forward_rows if self._clean else self._rows

    def observe(self, call: int, queries: torch.Tensor, labels: torch.Tensor) -> None:
        """Take the queries of a call whose gradient is formed."""
        if self._clean:
            self._waiting.append((call, queries, labels))
        else:
            self._rows = self._update(self._rows, queries, labels, self._momentum)


class _Similarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, labels, bank, call):
        ctx.bank, ctx.call, ctx.rows = bank, call, bank.rows
        ctx.save_for_backward(queries, labels)
        return queries @ ctx.rows.T

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        queries, labels = ctx.saved_tensors
        result = gradient @ ctx.bank.gradient_rows(ctx.rows)
        ctx.bank.observe(ctx.call, queries, labels)
        return result, None, None, None


def sequential_update(
    rows: torch.Tensor, queries: torch.Tensor, labels: torch.Tensor, momentum: Momentum
) -> torch.Tensor:
    """For every sample in batch order: M_y <- norm(μ M_y + (1 - μ) z) (common.md 4, class CM).

    Vectorised: the first sample of every cluster at once, then the second ones, and so on.
    """
    rows = rows.clone()
    order = labels.argsort(stable=True)
    clusters, counts = labels[order].unique_consecutive(return_counts=True)
    first = counts.cumsum(0) - counts
    for turn in range(int(counts.max())):
        present = counts > turn
        now = clusters[present]
        rows[now] = momentum.blend(rows[now], queries[order[first[present] + turn]])
    return rows


def hard_update(
    rows: torch.Tensor, queries: torch.Tensor, labels: torch.Tensor, momentum: Momentum
) -> torch.Tensor:
    """Once per cluster, with its query least similar to the old row (CM_Hard of PGM, ADCA)."""
    rows = rows.clone()
    clusters, hardest = _hardest(rows, queries, labels)
    rows[clusters] = momentum.blend(rows[clusters], queries[hardest])
    return rows


def hybrid_update(
    rows: torch.Tensor, queries: torch.Tensor, labels: torch.Tensor, momentum: Momentum
) -> torch.Tensor:
    """Centroid rows move to the cluster's batch mean, hard rows to its hardest query (Eq. 14-15).

    The hardest query is judged against the centroid row before its own update.
    """
    rows = rows.clone()
    half = len(rows) // 2
    clusters, hardest = _hardest(rows, queries, labels)
    members = (labels == clusters[:, None]).to(queries.dtype)  # (U, B)
    means = members @ queries / members.sum(1, keepdim=True)
    rows[clusters] = momentum.blend(rows[clusters], means)
    rows[half + clusters] = momentum.blend(rows[half + clusters], queries[hardest])
    return rows


UPDATES: dict[str, Update] = {"sequential": sequential_update, "hard": hard_update}


def _hardest(
    rows: torch.Tensor, queries: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Distinct labels (U,) and, for each, its query least similar to the row; the first on ties."""
    similarity = (queries * rows[labels]).sum(1)
    order = similarity.argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]
    clusters, counts = labels[order].unique_consecutive(return_counts=True)
    return clusters, order[counts.cumsum(0) - counts]


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0
) -> torch.Tensor:
    """Cross-entropy, or its smoothed form of pclhd.md 3.3.

    With smoothing ε the target keeps 1 - ε and the C // 50 most probable clusters share ε; all
    clusters share it when C // 50 is at most 1.
    """
    top = logits.shape[1] // 50
    if smoothing == 0 or top <= 1:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    log_probability = logits.log_softmax(1)
    likely = log_probability.detach().topk(top, dim=1).indices
    own = log_probability.gather(1, labels[:, None]).squeeze(1)
    shared = log_probability.gather(1, likely).mean(1)
    return -((1 - smoothing) * own + smoothing * shared).mean()


def draw_members(labels: torch.Tensor, number: int, generator: torch.Generator) -> torch.Tensor:
    """Draw members of every cluster with replacement (PCLHD Eq. 17-18: X_i).

    Args:
        labels: (N,) int64 on the CPU, -1 for outliers.
        number: draws per cluster, M.
        generator: source of the draws.

    Returns:
        (C, M) int64 positions in ``labels``, clusters ascending.
    """
    order = labels.argsort(stable=True)[int((labels < 0).sum()) :]
    counts = labels[order].unique_consecutive(return_counts=True)[1]
    chance = torch.rand(len(counts), number, generator=generator)
    within = (chance * counts[:, None]).long()
    return order[(counts.cumsum(0) - counts)[:, None] + within]


def instance_rows(features: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """Features (N, d) of the drawn members (C, M) in the dynamic memory's order, (M C, d)."""
    return features[members.T.reshape(-1)]


def _wide(features: torch.Tensor) -> torch.Tensor:
    """Half-precision features in float32: memories are kept and updated in full precision."""
    return features if features.dtype == torch.float64 else features.float()


def _full_precision(features: torch.Tensor) -> torch.autocast:
    return torch.autocast(features.device.type, enabled=False)


class ProxyMemory:
    """One proxy per class, shared by both modalities of a model (CMAM V-B; cmam.md 7.3).

    Unlike the memories above it moves when told to, after the optimiser's step.

    Args:
        proxies: (C, d) class means, stored as unit rows; a class without images may be 0.
        momentum: μ, weight of the old row (A18).
        update: "batch_mean" – one step per class, to the mean of the modalities' means – or
            "sequential" – one step per sample, in the order given (A17).
    """

    def __init__(self, proxies: torch.Tensor, momentum: float, update: str = "batch_mean") -> None:
        self.rows = F.normalize(_wide(proxies.detach()))
        self._momentum = Momentum(momentum, is_tensor=False)
        self._moved = PROXY_UPDATES[update]

    def cosines(self, features: torch.Tensor) -> torch.Tensor:
        """Cosines (B, C) of features (B, d), not normalised; no gradient reaches the rows."""
        with _full_precision(features):
            return F.normalize(_wide(features)) @ self.rows.T

    @torch.no_grad()
    def update(self, groups: Groups) -> None:
        """Move the rows of the classes of a batch: v_c <- norm(μ v_c + (1 - μ) u_c).

        Args:
            groups: features (n, d), not normalised, and labels (n,) int64 of every modality.
        """
        with _full_precision(self.rows):
            groups = [(F.normalize(_wide(features)), labels) for features, labels in groups]
            self.rows = self._moved(self.rows, groups, self._momentum)


def batch_mean_update(rows: torch.Tensor, groups: Groups, momentum: Momentum) -> torch.Tensor:
    """One step per class to u_c, the mean of the means of the groups that have the class.

    Args:
        rows: (C, d) unit rows; not written.
        groups: unit features (n, d) and labels (n,) of every modality; their order is of no matter.
        momentum: μ.

    Returns:
        (C, d); rows of other classes as they were.
    """
    clusters = torch.cat([labels for _, labels in groups]).unique()
    means = torch.zeros_like(rows[clusters])
    present = torch.zeros_like(means[:, :1])
    for queries, labels in groups:
        members = (labels == clusters[:, None]).to(queries.dtype)  # (U, n)
        counts = members.sum(1, keepdim=True)
        means += members @ queries / counts.clamp(min=1)
        present += counts > 0
    rows = rows.clone()
    rows[clusters] = momentum.blend(rows[clusters], means / present)
    return rows


def one_by_one_update(rows: torch.Tensor, groups: Groups, momentum: Momentum) -> torch.Tensor:
    """One step per sample, group after group: ``sequential_update`` of all of them."""
    queries, labels = map(torch.cat, zip(*groups, strict=True))
    return sequential_update(rows, queries, labels, momentum)


PROXY_UPDATES = {"batch_mean": batch_mean_update, "sequential": one_by_one_update}
