"""united: a recipe of this repository, not of a paper.  Every part of it is a switch.

It composes what other methods brought: parts of the visible images (BMIL), clusters of both
modalities by a modality-aware distance, split into proxies (BMIL), and self-distillation over these
proxies (PoSeD).  Cameras and a momentum teacher can be added.  BMIL, PoSeD and "PoSeD with BMIL"
are points of its grid, as variants; docs/methods/united.md has the reason for each part.

Stage "intra" is dual contrastive learning (:mod:`clustercontrast.methods.dcl`).  In stage "united",
z is the unit feature of an image with proxy q, P its cluster's proxies, C and H their mean and hard
rows, τ and γ temperatures:

    L_A = w_i (L_V + L_I)                                        each modality's own contrast
    L_B = ½ Σ_modality [w_p J + w_d SD]                          a step of its own, after L_A's
    J   = -1/|P| Σ_{p ∈ P} log softmax_p(W z / τ)                over W = C and W = H, halved
    SD  = -Σ_j Q̄_j log softmax_j(C z / τ)                        over all proxies
    Q   = (1 - a) C_q Cᵀ + a t Cᵀ,  Q̄ = softmax(Q / γ) in each group, 1/G of the mass for each
    t   = z, or the momentum teacher's feature
"""

from collections.abc import Iterator
from functools import partial

from torch import nn

from clustercontrast.data.batches import Batch, StreamPlan
from clustercontrast.engine.stage import Terms
from clustercontrast.files import UserError
from clustercontrast.losses.prototype_distillation import SelfDistillation
from clustercontrast.methods import dcl
from clustercontrast.methods.clustering_stage import Pair
from clustercontrast.methods.joint_proxies import JointProxies, Streams
from clustercontrast.models.momentum import MomentumEncoder
from clustercontrast.processes import ranks


class United(JointProxies):
    """Own contrast; then multi-positive contrast and self-distillation over joint proxies."""

    name = "united"

    @property
    def starts_from(self) -> dict[str, str]:
        """Every network begins with the encoder of stage 1."""
        networks = ("encoder", "momentum_encoder") if self.has_teacher else ("encoder",)
        return dict.fromkeys(networks, "intra.encoder")

    @property
    def has_teacher(self) -> bool:
        """Whether a momentum encoder teaches."""
        return self.args.teacher == "ema"

    def setup(self) -> None:
        super().setup()
        a = self.args
        self.distillation = SelfDistillation(
            a.temp, a.teacher_temp, a.fusion, is_separate=a.distil == "separate"
        )
        if self.has_teacher:
            teacher = MomentumEncoder(self.encoder, a.ema_decay, a.teacher_statistics == "copied")
            self.momentum_encoder = self.add("momentum_encoder", teacher)
            self.retrieval = a.retrieval

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.clusterer)
        labels = self.pseudo_labels(features)  # part A
        means = self.centroids(features, labels)
        self.visible_memory, self.infrared_memory = self.build_memories(features, labels, means)
        self.use_labels(labels)
        if self.args.ties == "matches":
            self.match_clusters(features, labels, means)
            self.grade_labels(labels, self.maps)
            self.remember_matches(features, labels, means)
        else:
            self.grade_labels(labels)
            self.cluster_jointly(features)  # part B and all infrared images
        yield self.batches()
        self.export_labels(epoch)

    def plans(self) -> dict[str, StreamPlan]:
        """Streams of all labels in use; without the own contrast, of the joint clusters alone."""
        found = super().plans()
        if self.args.intra_weight or self.args.ties == "matches":
            return found
        return {name: plan for name, plan in found.items() if name.startswith("joint_")}

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_A; then L = L_B, a step of its own.  Matched clusters: L = L_A + L_B."""
        if self.args.ties == "matches":
            own = batch.visible, batch.infrared
            features = self.embedded(own)
            terms = self.intra_terms(features, own) | self.joint_terms(features, own, epoch)
            yield "encoder", terms
        else:
            if self.args.intra_weight:
                own = batch.visible, batch.infrared
                yield "encoder", self.intra_terms(self.embedded(own), own)
            if self.joint_memory is not None and self.has_joint_loss(epoch):
                joint = batch.joint_visible, batch.joint_infrared
                yield "encoder", self.joint_terms(self.embedded(joint), joint, epoch)
            elif self.args.teacher_statistics == "own":
                self.taught_by(own, epoch)  # its statistics move in every iteration
        if self.has_teacher:
            self.momentum_encoder.update(self.encoder)
            ranks.equalise(self.momentum_encoder.network.buffers())  # the first process has moved

    def embedded(self, streams: Streams) -> Pair:
        """Features (2B, d), (B, d) of a batch's images, by the weights as they are."""
        return self.encoder(*(stream.images for stream in streams))

    # --- losses ---

    def intra_terms(self, features: Pair, streams: Streams) -> Terms:
        """L_A = w_i (L_V + L_I)."""
        weight = self.args.intra_weight
        own = self.own_terms(features, tuple(stream.labels for stream in streams)) if weight else {}
        return {name: (weight, term) for name, (_, term) in own.items()}

    def joint_terms(self, features: Pair, streams: Streams, epoch: int) -> Terms:
        """L_B = ½ Σ_modality [w_p J + w_d SD].

        J moves the rows in its backward pass, also where its weight is 0.
        """
        a, (f_v, f_r), (q_v, q_r) = self.args, features, self.proxies_of(streams)
        w_v, w_r = self.contrast_weights(epoch)
        infrared = self.joint_memory(f_r, q_r)  # first, as in BMIL (MEM-1)
        terms = {
            "joint_infrared": (w_r / 2, infrared),
            "joint_visible": (w_v / 2, self.joint_memory(f_v, q_v)),
        }
        t_v, t_r = self.taught_by(streams, epoch)
        if not self.is_distilled(epoch):
            return terms
        c, _ = self.joint_memory.halves
        distil = partial(self.distillation, rows=c, groups=self.proxies.sizes)
        return terms | {
            "distil_infrared": (a.distil_weight / 2, distil(f_r, q_r, taught_by=t_r)),
            "distil_visible": (a.distil_weight / 2, distil(f_v, q_v, taught_by=t_v)),
        }

    def contrast_weights(self, epoch: int) -> tuple[float, float]:
        """w_p of visible and infrared images; by turns from the stage's first epoch, or always."""
        turn = (epoch - self.epochs[0]) % 2
        return tuple(
            0.0 if self.args.joint_alternate and side != turn else self.args.joint_weight
            for side in (0, 1)
        )

    def has_joint_loss(self, epoch: int) -> bool:
        """Whether L_B has a term in an epoch: self-distillation may begin later than the stage."""
        return bool(self.args.joint_weight) or self.is_distilled(epoch)

    def is_distilled(self, epoch: int) -> bool:
        """Whether L_B has the term SD in an epoch."""
        return self.args.distil != "none" and epoch - self.epochs[0] >= self.args.distil_from

    def taught_by(self, streams: Streams, epoch: int) -> Pair | tuple[None, None]:
        """Momentum features of the same views, without gradients.

        None where there is no teacher, or nothing asks for its features.
        """
        a = self.args
        if not self.has_teacher or a.distil == "none":
            return None, None
        images = (stream.images for stream in streams)
        if a.teacher_statistics == "own":
            return self.momentum_encoder(*images)  # in train mode: moves its statistics (PCLHD-7)
        if not (a.fusion and self.is_distilled(epoch)):
            return None, None
        with self.evaluating(self.momentum_encoder):
            return tuple(map(ranks.gathered, self.momentum_encoder(*images)))

    # --- what is clustered ---

    @property
    def clusterer(self) -> nn.Module:
        """The teacher, if there is one and ``--cluster-with`` says so."""
        is_teacher = self.has_teacher and self.args.cluster_with == "teacher"
        return self.momentum_encoder if is_teacher else self.encoder

    def cluster_jointly(self, features: Pair) -> None:
        """As BMIL; an epoch must have something to train on."""
        super().cluster_jointly(features)
        if self.joint_memory is None and not self.args.intra_weight:
            raise UserError(
                f"--intra-weight 0, and no joint clusters to train on {self.run.position}: change "
                f"--eps-joint (now {self.args.eps_joint}), or leave out --intra-weight; the epochs "
                "before are saved"
            )

    # --- flags that do not go together ---

    def check_flags(self) -> None:
        """Refuse, besides what proxies do, an idle teacher, and steps and epochs without a loss."""
        super().check_flags()
        self.check_teacher()
        self.check_losses()

    def check_teacher(self) -> None:
        """Refuse a momentum teacher that does nothing, and modalities that are not there."""
        a = self.args
        teaches = a.distil != "none" and a.fusion > 0
        is_used = teaches or a.cluster_with == "teacher" or a.retrieval == "momentum_encoder"
        if self.has_teacher and not is_used:
            raise UserError(
                "--teacher ema neither teaches, clusters nor is tested with these flags: leave it, "
                "--cluster-with online or --retrieval encoder out"
            )
        if a.distil == "separate" and a.ties == "clusters" and a.joint_memory == "hybrid":
            raise UserError(
                "--distil separate separates modalities, and --joint-memory hybrid has one row "
                "pair for both: say --distil unified"
            )

    def check_losses(self) -> None:
        """Refuse a joint step, or epochs, without any loss."""
        a = self.args
        if a.distil == "none":
            if not a.joint_weight:
                raise UserError(
                    "--joint-weight 0 with --distil none leaves the joint step without a loss: "
                    "keep one of them, or say --stages intra"
                )
            return
        if a.distil_from >= len(self.epochs):
            raise UserError(
                f"--distil-from {a.distil_from}, counted from the stage's first epoch, is beyond "
                f"its {len(self.epochs)} epochs: lower it, or say --distil none"
            )
        if a.distil_from and not a.joint_weight and not a.intra_weight:
            raise UserError(
                "--intra-weight 0 and --joint-weight 0 leave no loss before "
                f"--distil-from {a.distil_from}: leave one of the three out"
            )


STAGES = [dcl.Intra, United]
