"""ADCA's second stage: visible rows move towards their infrared partners, nothing else changes."""

import numpy as np
import pytest
import tiny_runs
import torch
import torch.nn.functional as F

from clustercontrast.association import choice
from clustercontrast.methods.adca import Aggregation


@pytest.fixture
def make(monkeypatch, tmp_path):
    tiny_runs.use_small_encoder(monkeypatch)
    return lambda *flags: tiny_runs.make_stage(Aggregation, "adca", tmp_path, *flags)


def means(features, y):
    return F.normalize(torch.stack([features[y == c].mean(0) for c in range(y.max() + 1)]))


def test_only_visible_rows_with_a_partner_move(make, monkeypatch):
    """λ old + (1 - λ) infrared, not normalised; infrared rows as they were."""
    pairs = np.array([[2, 0], [0, 3]])
    monkeypatch.setattr(choice, "instance_votes", lambda *_: pairs)
    stage = make("--aggregation-weight", "0.3")
    tiny_runs.open_epoch(stage)
    features = stage.extract(stage.encoder)
    v, r = (means(f, stage.labels[n]) for f, n in zip(features, stage.labels, strict=True))
    torch.testing.assert_close(stage.infrared_memory.rows, r)
    expected = v.clone()
    for a, b in pairs:
        expected[a] = 0.3 * v[a] + 0.7 * r[b]
    torch.testing.assert_close(stage.visible_memory.rows, expected)
    assert stage.visible_memory.rows[2].norm() < 1 - 1e-6
    assert stage.facts["aggregated"] == 2


def greedy_pairs(features, labels, threshold):
    """Votes and greedy choice, image pair by image pair."""
    similarity = (features[0] @ features[1].T).numpy()
    votes, best = {}, {}
    for i, j in zip(*np.nonzero(similarity >= threshold), strict=True):
        pair = int(labels[0][i]), int(labels[1][j])
        votes[pair] = votes.get(pair, 0) + 1
        best[pair] = max(best.get(pair, -1), similarity[i, j])
    taken = []
    for a, b in sorted(votes, key=lambda pair: (-votes[pair], -best[pair])):
        free = a not in {p[0] for p in taken} and b not in {p[1] for p in taken}
        if a >= 0 and b >= 0 and free:
            taken.append((a, b))
    return taken


def test_partners_are_those_of_the_features_of_the_epoch(make, monkeypatch):
    stage, seen = make(), []
    real = choice.instance_votes
    watched = lambda *args: seen.append(real(*args)) or seen[-1]  # noqa: E731
    monkeypatch.setattr(choice, "instance_votes", watched)
    tiny_runs.open_epoch(stage)
    features = stage.extract(stage.encoder)
    labels = stage.labels["visible"], stage.labels["infrared"]
    expected = greedy_pairs(features, labels, stage.args.vote_threshold)
    assert expected
    assert seen[0].tolist() == [list(pair) for pair in expected]


def test_no_similar_pair_moves_nothing(make):
    stage = make("--vote-threshold", "1.0")
    tiny_runs.open_epoch(stage)
    if stage.facts["aggregated"] == 0:
        v = means(stage.extract(stage.encoder)[0], stage.labels["visible"])
        torch.testing.assert_close(stage.visible_memory.rows, v)
    assert stage.facts["aggregated"] <= 2  # only images that look exactly alike


def test_the_losses_are_those_of_the_first_stage(make):
    stage = make()
    batch = next(tiny_runs.open_epoch(stage))
    rows = stage.visible_memory.rows.clone(), stage.infrared_memory.rows.clone()
    ((name, terms),) = stage.iteration(batch, 0)
    features = stage.encoder(batch.visible.images, batch.infrared.images)
    labels = batch.visible.labels, batch.infrared.labels
    assert name == "encoder"
    assert list(terms) == ["infrared", "visible"]
    for key, f, m, y in zip(("visible", "infrared"), features, rows, labels, strict=True):
        plain = F.cross_entropy(F.normalize(f) @ m.T / stage.args.temp, y)
        torch.testing.assert_close(terms[key][1], plain)
        assert terms[key][0] == 1.0
