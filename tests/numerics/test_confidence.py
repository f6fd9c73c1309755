"""MMM's final losses and confidences against the official code, by hand and as properties."""

import golden_set
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clustercontrast.clustering.confidence import class_prototypes, clean_probability
from clustercontrast.losses.confidence import confidence_weighted_cross_entropy, self_mimic
from clustercontrast.losses.mmd import alignment, mmd
from clustercontrast.losses.triplet import batch_hard_triplet

ELEMENTS = golden_set.load("mmm/loss_elements.npz")
FINAL, GMM = "mmm/final_losses.npz", "mmm/gmm_confidence.npz"


def cases(kind):
    return sorted({name.split("_")[0] for name in ELEMENTS if name.startswith(kind)})


@pytest.mark.parametrize("case", cases("mmd"))
def test_mmd_is_the_official_one(case):
    source = torch.from_numpy(ELEMENTS[f"{case}_source"]).requires_grad_()
    loss = mmd(source, torch.from_numpy(ELEMENTS[f"{case}_target"]))
    loss.backward()
    assert loss.item() == pytest.approx(float(ELEMENTS[f"{case}_loss"]), rel=1e-9)
    np.testing.assert_allclose(source.grad, ELEMENTS[f"{case}_grad_source"], atol=1e-9)


@pytest.mark.parametrize("case", cases("tri"))
def test_triplet_is_the_official_one(case):
    x = torch.from_numpy(ELEMENTS[f"{case}_x"]).requires_grad_()
    y = torch.from_numpy(ELEMENTS[f"{case}_y"])
    margin = golden_set.entry_b("mmm/loss_elements.npz")["params"]["margin"]
    loss = batch_hard_triplet(x, y, margin)
    loss.backward()
    assert loss.item() == pytest.approx(float(ELEMENTS[f"{case}_loss"]), rel=1e-9)
    np.testing.assert_allclose(x.grad, ELEMENTS[f"{case}_grad"], atol=1e-9)


def test_mmd_of_the_specification():
    """mmm.md 3.6: un-normalised rows sin(...) of the generator, phases 1.0 and 0.3: 0.57952."""
    source, target = torch.randn(4, 3).double(), torch.randn(4, 3).double()
    assert mmd(source, source).item() == pytest.approx(0, abs=1e-12)
    assert mmd(source, target).item() == pytest.approx(mmd(target, source).item())
    assert mmd(source, target + 5).item() > mmd(source, source + 0.1).item()


def final_batch(vectors, facts, epoch_pass, number):
    """Features, logits, labels and weights [RGB-1; RGB-2; IR] of a recorded batch."""
    y = vectors[f"labels_{number}"]
    tags = (("mmm_rgb", "rgb1", 0.5), ("mmm_rgb", "rgb2", 0.7), ("mmm_ir", "ir", 0.5))
    rows = [
        golden_set.fill_b().family_vectors(
            family, f"mmm/p{epoch_pass}/b{number}/{view}", y, 2048, facts["salt"], noise,
            absolute=True,
        )
        for family, view, noise in tags
    ]  # fmt: skip
    features = torch.from_numpy(np.concatenate(rows)).double()
    logits = torch.from_numpy(vectors[f"logits_p{epoch_pass}_b{number}"])
    weights = [torch.from_numpy(vectors[f"w{view}_{number}"]) for view in range(3)]
    return features, logits, torch.from_numpy(y), weights


def official_terms(features, logits, y, weights, prototypes, facts):
    """The terms of the released code, by its names, from ours."""
    views = features.split(len(y))
    mimic = [
        facts["sm_w"] * self_mimic(g, y, w, p)
        for g, w, p in zip(views, weights, prototypes, strict=True)
    ]
    return {
        "loss_id": confidence_weighted_cross_entropy(logits, y.repeat(3), torch.cat(weights)),
        "loss_tri": batch_hard_triplet(features, y.repeat(3), facts["margin"]),
        "loss_SM_rgb": (mimic[0] + mimic[1]) / 2,
        "loss_SM_ir": mimic[2],
        "MD": facts["md_w"] * sum(alignment(view, views[2], y) for view in views[:2]),
    }


def test_final_losses_gradients_and_prototypes():
    """Two calls: the first from prototypes of zeros, the second from what the first left."""
    vectors, facts = golden_set.load(FINAL), golden_set.entry_b(FINAL)["params"]
    names = ("rgb1", "rgb2", "ir")
    prototypes = [torch.zeros(facts["n_class"], 2048, dtype=torch.float64) for _ in names]
    for tag in ("zero", "nonzero"):
        for number in range(facts["batches"]):
            check_batch(vectors, facts, prototypes, tag, number)
        parts = [final_batch(vectors, facts, 1, number) for number in range(facts["batches"])]
        for view, name in enumerate(names):
            g = torch.cat([f.split(len(y))[view] for f, _, y, _ in parts])
            y = torch.cat([y for _, _, y, _ in parts])
            w = torch.cat([weights[view] for *_, weights in parts])
            prototypes[view] = class_prototypes(g, y, w, prototypes[view])
            compare_rows(prototypes[view], vectors[f"proto_{name}_after_{tag}"])


def check_batch(vectors, facts, prototypes, tag, number):
    features, logits, y, weights = final_batch(vectors, facts, 0, number)
    features.requires_grad_()
    logits.requires_grad_()
    terms = official_terms(features, logits, y, weights, prototypes, facts)
    expected = dict(zip(facts["term_names"], vectors[f"terms_{tag}"][number], strict=True))
    for name in ("loss_id", "loss_tri", "loss_SM_rgb", "loss_SM_ir"):
        assert terms[name].item() == pytest.approx(expected[name], rel=1e-9), name
    discrepancy = expected["loss_MD_rgb"] + expected["loss_MD_ir"]
    assert terms["MD"].item() == pytest.approx(discrepancy, rel=1e-9)
    total = sum(terms.values())
    assert total.item() == pytest.approx(expected["loss_total"], rel=1e-9)
    total.backward()
    recorded = vectors[f"grad_logits_{tag}_b{number}"]
    np.testing.assert_allclose(logits.grad, recorded, rtol=1e-8, atol=1e-12)
    compare_rows(features.grad, vectors[f"grad_feat_checksum_{tag}_b{number}"])


def compare_rows(rows, checksums):
    for row, expected in zip(rows, checksums, strict=True):
        got = golden_set.fill().checksum(row.numpy())
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-8 * max(expected[1], 1e-6))


def test_confidences_are_the_official_ones():
    """Unvisited images keep the loss -1 upstream and take part in the fit (MMM-7)."""
    vectors = golden_set.load(GMM)
    for view, modality in (("rgb1", "rgb"), ("ir", "ir")):
        visited = vectors[f"visited_{modality}"]
        logits = torch.from_numpy(vectors[f"logits_{view}"])[visited]
        y = torch.from_numpy(vectors[f"labels_{modality}"])[visited]
        loss = F.cross_entropy(logits, y, reduction="none")
        np.testing.assert_allclose(loss, vectors[f"raw_loss_{view}"][visited], atol=1e-9)
    visible = clean_probability([vectors["raw_loss_rgb1"], vectors["raw_loss_rgb2"]])
    (infrared,) = clean_probability([vectors["raw_loss_ir"]])
    for got, name in zip((*visible, infrared), ("rgb1", "rgb2", "ir"), strict=True):
        np.testing.assert_allclose(got, vectors[f"conf_{name}"], atol=1e-3)


def test_small_losses_are_trusted():
    generator = np.random.default_rng(0)
    clean, noisy = generator.normal(0.2, 0.05, 80), generator.normal(3, 0.3, 20)
    (got,) = clean_probability([np.concatenate([clean, noisy])])
    assert got[:80].min() > 0.95
    assert got[80:].max() < 0.05


@pytest.mark.parametrize("losses", [np.zeros(0), np.array([2.0]), np.full(5, 0.7)])
def test_nothing_to_tell_apart_is_trusted(losses):
    (got,) = clean_probability([losses])
    assert got.tolist() == [1.0] * len(losses)


def test_triplet_by_hand():
    """Points 0, 1 of class 0 and 3 of class 1 on a line, margin 0.5.

    Point 0: 1 - 3 + 0.5 < 0; point 1: 1 - 2 + 0.5 < 0; point 3: 0 - 2 + 0.5 < 0; with margin 1.5
    the terms are 0, 0.5 and 0.
    """
    x, y = torch.tensor([[0.0], [1.0], [3.0]]).double(), torch.tensor([0, 0, 1])
    assert batch_hard_triplet(x, y, 0.5).item() == 0
    assert batch_hard_triplet(x, y, 1.5).item() == pytest.approx(0.5 / 3, abs=1e-5)
    assert batch_hard_triplet(x, torch.zeros(3), 0.5).item() == 0


def test_alignment_moves_each_side_towards_the_other_held_fixed():
    v, r = (torch.randn(6, 3).requires_grad_() for _ in "vr")
    labels = torch.tensor([0, 0, 0, 2, 2, 2])
    expected = sum(
        mmd(v[rows], r[rows].detach()) + mmd(r[rows], v[rows].detach())
        for rows in (slice(0, 3), slice(3, 6))
    )
    torch.testing.assert_close(alignment(v, r, labels), expected / 2)


def test_classes_not_seen_keep_their_prototype():
    before = torch.full((3, 2), 7.0)
    features, labels = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 1])
    after = class_prototypes(features, labels, torch.tensor([1.0, 0.5]), before)
    assert after.tolist() == [[7, 7], [1.25, 2.0], [7, 7]]
