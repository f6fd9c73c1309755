"""MMM's final losses and confidences against the official code, by hand and as properties."""

import golden_set
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.clustering.confidence import class_prototypes, clean_probability
from clustercontrast.losses.confidence import confidence_weighted_cross_entropy, self_mimic
from clustercontrast.losses.mmd import alignment
from clustercontrast.losses.triplet import batch_hard_triplet

FINAL, GMM = "mmm/final_losses.npz", "mmm/gmm_confidence.npz"


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


def test_classes_not_seen_keep_their_prototype():
    before = torch.full((3, 2), 7.0)
    features, labels = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 1])
    after = class_prototypes(features, labels, torch.tensor([1.0, 0.5]), before)
    assert after.tolist() == [[7, 7], [1.25, 2.0], [7, 7]]


def random_batch(seed, size=9, width=4, classes=3):
    """Features, labels, weights and prototypes in float64."""
    generator = np.random.default_rng(seed)
    arrays = (
        generator.standard_normal((size, width)),
        generator.integers(0, classes, size),
        generator.random(size),
        generator.standard_normal((classes, width)),
    )
    return tuple(map(torch.from_numpy, arrays))


@settings(max_examples=20)
@given(st.integers(0, 99), st.integers(1, 12))
def test_weighted_losses_against_plain_loops(seed, size):
    g, y, w, rows = random_batch(seed, size)
    entropy, mimic = 0.0, 0.0
    for feature, label, weight in zip(g.tolist(), y.tolist(), w.tolist(), strict=True):
        entropy += weight * (np.log(np.sum(np.exp(feature))) - feature[label]) / size
        apart = [abs(a - b) for a, b in zip(feature, rows[label].tolist(), strict=True)]
        mimic += weight * sum(apart) / len(apart) / size
    assert confidence_weighted_cross_entropy(g, y, w).item() == pytest.approx(entropy, rel=1e-12)
    assert self_mimic(g, y, w, rows).item() == pytest.approx(mimic, rel=1e-12)


def test_weights_are_not_divided_by_their_sum():
    g, y, w, rows = random_batch(0)
    plain = F.cross_entropy(g, y)
    torch.testing.assert_close(confidence_weighted_cross_entropy(g, y, torch.ones_like(w)), plain)
    half = torch.full_like(w, 0.5)
    torch.testing.assert_close(confidence_weighted_cross_entropy(g, y, half), plain / 2)
    assert confidence_weighted_cross_entropy(g, y, 0 * w).item() == 0
    assert self_mimic(g, y, 0 * w, rows).item() == 0
    assert self_mimic(rows[y], y, w, rows).item() == 0


def test_prototypes_get_no_gradient():
    g, y, w, rows = random_batch(0)
    g.requires_grad_()
    rows.requires_grad_()
    self_mimic(g, y, w, rows).backward()
    assert rows.grad is None
    expected = w[:, None] * torch.sign(g.detach() - rows.detach()[y]) / g.numel()
    torch.testing.assert_close(g.grad, expected)


@settings(max_examples=20)
@given(st.integers(0, 99), st.integers(0, 12))
def test_prototypes_against_plain_loops(seed, size):
    g, y, w, before = random_batch(seed, size)
    expected = before.clone()
    for c in range(len(before)):
        own = [
            weight * feature for feature, label, weight in zip(g, y, w, strict=True) if label == c
        ]
        if own:
            expected[c] = sum(own) / len(own)
    torch.testing.assert_close(class_prototypes(g, y, w, before), expected)


@settings(max_examples=20)
@given(st.integers(0, 99), st.floats(0.01, 100), st.floats(-10, 10))
def test_confidences_do_not_depend_on_the_scale_of_a_view(seed, scale, shift):
    """Each view is scaled by its own minimum and maximum before the common fit."""
    generator = np.random.default_rng(seed)
    views = [np.append(generator.normal(0, 0.1, 20), generator.normal(2, 0.2, 7)) for _ in "ab"]
    plain = clean_probability(views)
    scaled = clean_probability([views[0], views[1] * scale + shift])
    for before, after in zip(plain, scaled, strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)
        assert np.all((after >= 0) & (after <= 1))


def test_confidences_leave_the_global_random_state_alone():
    keys, position = np.random.get_state()[1:3]  # noqa: NPY002
    before = keys.copy()
    clean_probability([np.linspace(0, 1, 9) ** 3])
    after, position_after = np.random.get_state()[1:3]  # noqa: NPY002
    np.testing.assert_array_equal(after, before)
    assert position_after == position
