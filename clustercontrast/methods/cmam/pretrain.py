"""Stage 2 of CMAM-UDA: RGB-gray asymmetric mutual learning on the source.

See docs/methods/cmam.md#pretraining.

M_joint reads visible images (j1) and their fakes (j2), M_gray the fakes alone (g2).  M_gray learns
from M_joint's visible branch (Eq. 11, 12) and keeps what a fake can show of it; M_joint's fake
branch learns from M_gray (Eq. 13, 14).  Teachers receive no gradient, so that M_joint's visible
branch keeps what only visible images show.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from clustercontrast.data.batches import Batch, TwinPlan, twin_batches
from clustercontrast.data.sampler import ClassBatches
from clustercontrast.engine.schedules import Schedule, warm_flat_cosine
from clustercontrast.engine.stage import Terms
from clustercontrast.files import UserError
from clustercontrast.methods.cmam.auxiliary_labels import FILE, load_labels
from clustercontrast.methods.cmam.mutual import (
    CosineClassifier,
    Mutual,
    Relation,
    Seen,
    View,
    streams_of,
)
from clustercontrast.methods.cmam.stand_ins import PRETRAINING
from clustercontrast.processes import ranks

SIGHT = {  # --pair -> views in the paper's order
    "rgb-gray": (("joint", "visible"), ("joint", "fake"), ("gray", "fake")),
    "rgb-rgb": (("joint", "visible"), ("gray", "visible")),
    "gray-gray": (("joint", "fake"), ("gray", "fake")),
}


class Pretrain(Mutual):
    """Identification of the source's clusters, and asymmetric preservation of relations."""

    name, stand_ins = "pretrain", PRETRAINING

    def setup(self) -> None:
        self.views = [view for view in SIGHT[self.args.pair] if view[0] in self.names]
        self.relations = relations(self.args.relation_mode, self.views)
        self.source_labels = self._source_labels()
        self.setup_networks()
        classes = self.source_labels.max() + 1
        self.classifiers = nn.ModuleDict(  # C_j1, C_j2, C_g
            {"_".join(v): CosineClassifier(classes, self.networks[v[0]].width) for v in self.views}
        )
        self.add("classifiers", self.classifiers)
        self.optimise_with_adam(self._schedule(), self.classifiers)

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        a = self.args
        self.step = (epoch - self.epochs[0]) * self.iterations
        self.is_second_phase = epoch >= self._second_phase
        if epoch == self._second_phase and a.fresh_optimiser:
            self.optimisers["both"].optimiser.state.clear()
        labels = (self.source_labels,)
        people = a.batch_size // a.num_instances
        sampler = ClassBatches(labels, people, a.num_instances, self.batch_seed())
        plan = TwinPlan(self._arrays(), self.source_labels)
        self.facts = {"source": {"clusters": int(self.source_labels.max() + 1)}}
        yield twin_batches([plan], sampler, self.twin_view(), self.run.generator, self.iterations)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L_pre^CMAM = λ_PP L_PP^sel + λ_SP L_SP^sel + L_PID of every view (Eq. 15)."""
        self.freeze_trunk(self.step)
        seen = self.see(batch, self.views)
        terms = self.identification(seen, batch)  # Eq. 2, 21
        terms |= self.preservation(seen, self.relations, self.is_second_phase)  # Eq. 11-14
        yield "both", terms | pair_agreement(seen) | self.exponents()
        self.step += 1

    def cosines(self, view: View, features: torch.Tensor) -> torch.Tensor:
        return self.classifiers["_".join(view)](features)

    # --- set-up ---

    @property
    def images_of_a_pass(self) -> int:
        """Source images with a label."""
        return np.count_nonzero(self.source_labels >= 0)

    @property
    def _second_phase(self) -> int:
        """First epoch of phase 2."""
        return self.epochs[0] + self.args.phase_one

    def _schedule(self) -> Schedule:
        """Warm-up, constant, cosine, in each of the two phases."""
        a, second, iters = self.args, self._second_phase, self.iterations
        lengths = a.phase_one * iters, (a.epochs - a.phase_one) * iters
        shape = a.warm_iterations, a.first_lr / a.lr, a.flat_iterations
        first, later = (
            warm_flat_cosine(iters, *shape, total, a.last_lr / a.lr) if total > 0 else None
            for total in lengths
        )

        def factor(epoch: int, iteration: int) -> float:
            if epoch < second:
                return first(epoch - self.epochs[0], iteration)
            return later(epoch - second, iteration)

        return factor

    def _source_labels(self) -> np.ndarray:
        """(N,) labels of the source images, -1 for those that are not used."""
        path = self.data.places["auxiliary"] / "auxiliary" / FILE
        labels = ranks.first(lambda: load_labels(path, self.data.source.index))
        if labels.max(initial=-1) < 1:
            raise UserError(f"{path} has fewer than two clusters: at least two are needed")
        return labels

    def _arrays(self) -> dict[str, object]:
        """The source's images by stream."""
        streams = list(streams_of(self.views))
        arrays = {"visible": self.data.source} if "visible" in streams else {}
        if "fake" in streams:
            rows = np.flatnonzero(self.source_labels >= 0)
            arrays["fake"] = self.fakes("source", self.data.source, rows)
        return arrays


def relations(mode: str, views: list[View]) -> list[Relation]:
    """Who learns from whom.

    Args:
        mode: "selective" – CMAM, Eq. 11-14; "symmetric" – both sides learn, no stop-gradient (deep
            mutual learning; Table IV); "symmetric-visible" – the same of M_gray and M_joint's
            first view alone; "single" – M_joint's two branches, Eq. 3-4; "none".
        views: of the networks that there are.
    """
    visible, fake = ("joint", "visible"), ("joint", "fake")
    if mode == "none":
        return []
    if mode == "single":
        return [Relation("joint", visible, fake, False)] if {visible, fake} <= set(views) else []
    teachers = [view for view in views if view[0] == "joint"]
    gray = next((view for view in views if view[0] == "gray"), None)
    if gray is None or not teachers:
        return []
    if mode == "symmetric-visible":
        teachers = teachers[:1]
    if mode.startswith("symmetric"):
        return [Relation("_".join(view), view, gray, False) for view in teachers]
    if {visible, fake} <= set(views):
        return [Relation("to_gray", gray, visible, True), Relation("to_joint", fake, gray, True)]
    return [Relation("to_gray", gray, teachers[0], True)]


def pair_agreement(seen: dict[View, Seen]) -> Terms:
    """For the log alone: how alike an image and its fake are to M_joint (weight 0)."""
    visible, fake = seen.get(("joint", "visible")), seen.get(("joint", "fake"))
    if visible is None or fake is None:
        return {}
    with torch.no_grad():
        cosine = F.cosine_similarity(visible.features, fake.features).mean()
        agreeing = visible.logits.argmax(1) == fake.logits.argmax(1)
    return {"pair_cosine": (0.0, cosine), "pair_agreement": (0.0, agreeing.float().mean())}
