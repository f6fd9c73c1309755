"""PCA, or PCAL (IEEE TIFS 2025, doi:10.1109/TIFS.2025.3527356).

Progressive Cross-modal Association Learning for Unsupervised Visible-Infrared Person
Re-Identification.  No clusters are matched: what ties the modalities is learnt step by step.

Stage "intra" contrasts each modality with its own memory, V and I, and adds

* TAL, triple-modal adversarial learning: a classifier D tells visible images V, their exchanged
  views G and infrared images I apart, and from epoch 25 on the encoder makes all of them look like
  G: L = L_V + L_I + λ L_adv with λ = 1, then 0.1 in stage "invariant".

Stage "invariant" adds

* CNE, cross-modal neighbour expansion: both modalities are clustered together by a Jaccard distance
  whose query expansion weighs the visible and the infrared neighbours of an image alike;
* MCL, modality-invariant contrastive learning: a joint memory of these clusters, with batches and
  an optimiser step of its own in every iteration.

Only the paper's abstract was among the sources: what is here is what the released code does.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import torch
from scipy.sparse import csr_array

from clustercontrast.clustering.jaccard import jaccard
from clustercontrast.data.batches import Batch
from clustercontrast.engine.schedules import step_decay
from clustercontrast.engine.stage import Terms
from clustercontrast.losses.adversarial import adversarial_loss, modality_accuracy, modality_loss
from clustercontrast.methods.clustering_stage import ClusteringStage, Pair
from clustercontrast.methods.clusters import neighbour_search
from clustercontrast.models import weights
from clustercontrast.models.modality_classifier import ModalityClassifier


class Adversarial(ClusteringStage):
    """Dual contrastive learning, with triple-modal adversarial learning from a later epoch on."""

    name = "intra"
    companions: ClassVar = ("modality_classifier",)

    def setup(self) -> None:
        super().setup()
        a = self.args
        self.modality_classifier = self.add(
            "modality_classifier", ModalityClassifier(self.encoder.width)
        )
        sgd = torch.optim.SGD(
            self.modality_classifier.parameters(),
            a.modality_lr,
            momentum=0.9,
            weight_decay=a.weight_decay,
            nesterov=True,
            fused=True,
        )
        self.optimise("modality_classifier", sgd, step_decay(a.step_size))

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)
        labels = self.pseudo_labels(features)
        means = self.centroids(features, labels)
        self.visible_memory, self.infrared_memory = self.build_memories(features, labels, means)
        self.use_labels(labels)
        self.grade_labels(labels)
        if self.args.log_association:  # upstream does it and uses nothing of it (PCA-5)
            self.grade_joint_labels(self.joint_labels(features))
        yield self.batches()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_V + L_I + L_adv; a step of the classifier on L_mod beside it."""
        features = self.encoder(batch.visible.images, batch.infrared.images)  # [V; G], I
        labels = batch.visible.labels, batch.infrared.labels
        yield from self.adversarial_steps(features, labels, epoch)

    # --- TAL ---

    def adversarial_steps(
        self, features: Pair, labels: Pair, epoch: int
    ) -> Iterator[tuple[str, Terms]]:
        """Steps of encoder and classifier: first the encoder, later the classifier."""
        terms = self.own_terms(features, labels)  # L_I, L_V
        if not self.args.tal:
            yield "encoder", terms
        elif epoch < self.args.adversarial_from:
            yield "encoder", terms
            yield "modality_classifier", self.modality_terms(features)
        else:
            yield "modality_classifier", self.modality_terms(features)
            yield "encoder", terms | self.adversarial_term(features)

    def modality_terms(self, features: Pair) -> Terms:
        """L_mod, which trains the classifier alone, and its accuracy for the log."""
        logits, infrared = self.modality_classifier(torch.cat(features).detach()), len(features[1])
        return {
            "modality": (1.0, modality_loss(logits, infrared)),
            "modality_accuracy": (0.0, modality_accuracy(logits, infrared)),
        }

    def adversarial_term(self, features: Pair) -> Terms:
        """L_adv of the classifier just stepped.

        What it leaves in the classifier's gradients is dropped by the classifier's next step.
        """
        logits = self.modality_classifier(torch.cat(features))
        loss = adversarial_loss(logits, len(features[1]))
        return {"adversarial": (self.args.adversarial_weight, loss)}


class Invariant(Adversarial):
    """Modality-invariant contrast on joint clusters, by a second step in every iteration."""

    name = "invariant"
    starts_from: ClassVar = {
        "encoder": "intra.encoder",
        "modality_classifier": "intra.modality_classifier",
    }

    def setup(self) -> None:
        super().setup()
        if Path(self.args.start_from).is_file():
            self.start_classifier(Path(self.args.start_from))

    def start_classifier(self, path: Path) -> None:
        """Weights of the classifier from the file that the encoder starts from, if it has any."""
        state = weights.networks(path).get("modality_classifier")
        if state is not None:
            weights.load(self.modality_classifier, state, str(path))
        origin = "random weights: there are none in" if state is None else "from"
        self.run.log.say(f"{self.name}.modality_classifier: {origin} {path}")

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)
        labels = self.pseudo_labels(features)
        means = self.centroids(features, labels)
        self.visible_memory, self.infrared_memory = self.build_memories(features, labels, means)
        self.use_labels(labels)
        self.grade_labels(labels)
        if self.args.mcl:
            self.cluster_jointly(features)
        if epoch == self.epochs[0] and self.args.start_competes:
            self.run.rate_start(self)
        yield self.batches()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_V + L_I + 0.1 L_adv, L_mod of the classifier; then L_joint, a step of its own."""
        features = self.encoder(batch.visible.images, batch.infrared.images)  # [V; G], I
        labels = batch.visible.labels, batch.infrared.labels
        yield from self.adversarial_steps(features, labels, epoch)
        if self.joint_memory is not None:
            yield "encoder", self.joint_terms(batch)  # MCL

    def joint_distances(self, features: Pair) -> csr_array:
        """CNE; without it, the plain Jaccard distance of both modalities together."""
        if self.args.cne:
            return super().joint_distances(features)
        a, search = self.args, neighbour_search(self)
        return jaccard(torch.cat(features), a.joint_k1, a.joint_k2, a.eps_joint, search)


STAGES = [Adversarial, Invariant]
