"""Augmentation, losses and memories ask the device of their images or features for nothing.

These lie on torch's meta device, which holds no values: reading one (``item``, a boolean index,
``nonzero``, ``unique``, a CPU index into a tensor of the device) is an error there.  Labels lie on
the CPU, as those of a batch do.
"""

import contextlib

import pytest
import torch

from clustercontrast.data.augment import TwinView, View, augment, augment_twins
from clustercontrast.engine.log import Meter
from clustercontrast.losses import mmd, neighbours, part_refinement
from clustercontrast.losses.adversarial import adversarial_loss, modality_loss
from clustercontrast.losses.alternate import alternate_contrast
from clustercontrast.losses.circle import circle_logits, smoothed_cross_entropy
from clustercontrast.losses.confidence import confidence_weighted_cross_entropy, self_mimic
from clustercontrast.losses.prototype_contrast import partner_contrast, unified_contrast
from clustercontrast.losses.prototype_distillation import SelfDistillation
from clustercontrast.losses.relation import probability_preservation, similarity_preservation
from clustercontrast.losses.triplet import batch_hard_triplet, soft_margin_triplet
from clustercontrast.memories.cluster import ClusterMemory, HybridMemory
from clustercontrast.memories.dynamic import DynamicMemory
from clustercontrast.memories.instance import InstanceMemory
from clustercontrast.memories.proxy import ProxyMemory

LABELS = torch.tensor([3, 1, 3, 0, 1, 3])
PARTLY = torch.tensor([-1, 1, 3, -1, 1, 3])
MEMORIES = {
    "sequential": lambda: ClusterMemory(rows(5), 0.05, 0.1),
    "hard": lambda: ClusterMemory(rows(5), 0.05, 0.1, "hard"),
    "smoothed": lambda: ClusterMemory(rows(150), 0.05, 0.1, smoothing=0.1),
    "not of unit length": lambda: ClusterMemory(rows(5), 0.05, 0.1, unit=False),
    "clean": lambda: ClusterMemory(rows(5), 0.05, 0.1, gradient="clean"),
    "hybrid": lambda: HybridMemory(rows(5), rows(5), 0.05, 0.1),
    "hybrid, two hardest": lambda: HybridMemory(rows(5), rows(5), 0.05, 0.1, update_k=2),
    "hybrid, from the hard row": lambda: HybridMemory(rows(5), rows(5), 0.05, 0.1, against="hard"),
    "hybrid, every query": lambda: HybridMemory(rows(5), rows(5), 0.05, 0.1, hard_update="every"),
    "dynamic": lambda: DynamicMemory(rows(10), 5, 0.05),
}
LOSSES = {
    "alternate": lambda f: alternate_contrast(
        0, (None, ClusterMemory(rows(5), 0.05, 0.1)), (f, None), (PARTLY, None)
    ),
    "alignment": lambda f: mmd.alignment(f, f, LABELS),
    "relations": neighbours.relation_contrast,
    "triplet": lambda f: batch_hard_triplet(f, LABELS, 0.3),
    "soft triplet": lambda f: soft_margin_triplet(f, LABELS),
    "circle": lambda f: smoothed_cross_entropy(circle_logits(f, LABELS), LABELS),
    "confidence": lambda f: confidence_weighted_cross_entropy(f, LABELS, f[:, 0].detach()),
    "mimic": lambda f: self_mimic(f, LABELS, f[:, 0].detach(), rows(5)),
    "modality": lambda f: modality_loss(f[:, :3], 2) + adversarial_loss(f[:, :3], 2),
    "probabilities": lambda f: probability_preservation(f, f.detach()),
    "similarities": lambda f: similarity_preservation(f, f.detach()),
    "unified": lambda f: unified_contrast(f, LABELS, rows(5), rows(5, 5) > 0, 0.05),
    "partners": lambda f: partner_contrast(f, LABELS, (rows(5), rows(5)), 0.05),
    "distillation": lambda f: SelfDistillation(0.05, 0.05)(f, LABELS, rows(5), (3, 2)),
    "separate distillation": lambda f: SelfDistillation(0.05, 0.05, is_separate=True)(
        f, LABELS, rows(5), (3, 2)
    ),
    "refined parts": lambda f: part_refinement.part_guided_loss(
        f, part_refinement.refined_targets(LABELS, f[None], f[:, :1].detach(), 0.5)
    ),
    "smoothed parts": lambda f: part_refinement.agreement_aware_smoothing(
        f[None], LABELS, f[:, :1].detach()
    ),
}


@pytest.fixture(autouse=True)
def _no_autocast(monkeypatch):
    """The meta device has none; it is switched off wherever it is named here."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


def rows(count, width=8):
    return torch.empty(count, width, device="meta")


def features():
    return rows(len(LABELS)).requires_grad_()


def test_the_meta_device_refuses_what_would_wait():
    for question in (
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.unique(),
        lambda x: x.tolist(),
    ):
        with pytest.raises((RuntimeError, NotImplementedError)):
            question(rows(3))


@pytest.mark.parametrize("channels", ["keep", "exchange", "adaptive_gray"])
def test_augmentation(channels):
    pixels = torch.empty(4, 32, 16, 3, dtype=torch.uint8, device="meta")
    images = augment(pixels, View(jitter=True, channels=channels), torch.Generator())
    assert images.device == torch.device("meta")
    twins = augment_twins((pixels, pixels), TwinView(padding=4), torch.Generator())
    assert all(kind.shape == images.shape for kind in twins)


@pytest.mark.parametrize("name", MEMORIES)
def test_memories(name):
    memory, f = MEMORIES[name](), features()
    memory(f, LABELS).backward()
    assert f.grad.device == memory.rows.device == torch.device("meta")


def test_rows_that_move_without_a_loss():
    memory = HybridMemory(rows(5), rows(5), 0.05, 0.1)
    memory.bank.move(features(), LABELS)
    assert memory.rows.device == torch.device("meta")


@pytest.mark.parametrize("raw", [True, False])
def test_memory_of_images(raw):
    memory, f = InstanceMemory(rows(20), raw=raw), features()
    near = neighbours.shared_neighbours(*[memory.rows_of(LABELS)] * 2, *[memory.rows] * 2)
    loss = neighbours.neighbour_contrast(memory.similarity(f), near)
    memory.update(f.detach(), LABELS)
    loss.backward()
    assert memory.rows.shape == (20, 8)


@pytest.mark.parametrize("update", ["batch_mean", "sequential"])
def test_proxies(update):
    memory = ProxyMemory(rows(5), 0.2, update)
    memory.update([(rows(6), LABELS), (rows(2), torch.tensor([4, 4]))])
    assert memory.rows.shape == (5, 8)


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    f = features()
    loss = LOSSES[name](f)
    loss.backward()
    assert f.grad.device == torch.device("meta")
    Meter().add({name: (1.0, loss)})
