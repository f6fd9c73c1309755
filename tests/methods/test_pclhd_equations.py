"""PCLHD's equations as the paper prints them, on numbers computed by hand.

The functions are those of ``--variant paper``; two dimensions and a temperature of 1 keep every
figure within reach of a pocket calculator.  Eq. 5, 8-10, 12, 13 and 23 are sums, repetitions or
proofs; test_pclhd.py holds Eq. 23.
"""

from math import exp, log

import pytest
import torch

from clustercontrast.clustering.centroids import centroids, farthest_members
from clustercontrast.memories.cluster import ClusterMemory, HybridMemory
from clustercontrast.memories.dynamic import DynamicMemory, draw_members, instance_rows
from clustercontrast.models.momentum import MomentumEncoder

TAU, ALPHA, BETA = 1.0, 0.1, 0.9
FEATURES = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
LABELS = torch.tensor([0, 0, 1])
CM = torch.tensor([[0.8, 0.4], [0.0, 1.0]])
HM = torch.eye(2)


def softplus(x):
    return log(1 + exp(x))


def hybrid(**more):
    paper = {"hard_weight": 1.0, "centroid_weight": 0.0, "hinge": 0.0, "gradient": "clean"}
    paper |= {"unit": False, "hard_update": "every"}
    return HybridMemory(CM, HM, TAU, ALPHA, **(paper | more))


def test_equations_1_and_2_are_the_means_of_the_clusters():
    torch.testing.assert_close(centroids(FEATURES, LABELS), CM)
    memory = ClusterMemory(centroids(FEATURES, LABELS), TAU, ALPHA, unit=False)
    torch.testing.assert_close(memory.rows, CM)  # stored as they are


def test_equations_3_and_4_average_over_the_members_and_then_over_the_clusters():
    """Logits: (1, 0) 0.8 and 0; (0.6, 0.8) 0.8 and 0.8; (0, 1) 0.4 and 1.  A batch of as many
    members of every cluster has the printed average as its mean."""
    printed = ((softplus(-0.8) + softplus(0)) / 2 + softplus(-0.6)) / 2
    memory = ClusterMemory(CM, TAU, ALPHA, unit=False)
    loss = memory(FEATURES[[0, 1, 2, 2]], LABELS[[0, 1, 2, 2]])
    assert loss.item() == pytest.approx(printed)


def test_equations_6_and_7_take_the_member_farthest_from_the_mean():
    """The mean of (1, 0), (0.6, 0.8), (0.8, 0.6) is (0.8, 0.467): 0.51, 0.39 and 0.13 away."""
    features = torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.8, 0.6]])
    labels = torch.zeros(3, dtype=torch.int64)
    hard = farthest_members(features, labels, centroids(features, labels))
    torch.testing.assert_close(hard, torch.tensor([[1.0, 0.0]]))


def test_equation_11_contrasts_with_the_hard_prototypes_alone():
    """(0.6, 0.8) of cluster 0 has the logits 0.6 and 0.8, (0, 1) of cluster 1 0 and 1."""
    loss = hybrid()(FEATURES[[1, 2]], LABELS[[1, 2]])
    assert loss.item() == pytest.approx((softplus(0.2) + softplus(-1)) / 2)


def test_equations_14_and_15_move_a_prototype_to_every_sample_in_turn():
    """0.1 (1, 0) + 0.9 (0.6, 0.8) = (0.64, 0.72); 0.1 of that + 0.9 (0, 1) = (0.064, 0.972)."""
    memory = hybrid()
    queries = torch.tensor([[0.6, 0.8], [0.0, 1.0]], requires_grad=True)
    memory(queries, torch.tensor([0, 0])).backward()
    torch.testing.assert_close(memory.rows[2], torch.tensor([0.064, 0.972]))
    torch.testing.assert_close(memory.rows[3], HM[1])  # no sample, no move


def test_the_rows_of_an_iteration_are_those_of_the_one_before():
    """t - 1 in Eq. 14-15: a second call of the same iteration sees the rows before the first."""
    memory = hybrid()
    queries = torch.tensor([[0.6, 0.8]], requires_grad=True)
    label = torch.tensor([0])
    losses = [memory(queries, label), memory(queries, label)]
    sum(losses).backward()
    share = 1 / (1 + exp(0.2))  # of hm_0; its logit is 0.6, that of hm_1 0.8
    unit = queries.detach()[0]
    raw = 2 * ((share - 1) * HM[0] + (1 - share) * HM[1])
    torch.testing.assert_close(queries.grad[0], raw - (raw @ unit) * unit)


def test_equation_16_averages_the_encoders():
    online = torch.nn.Linear(1, 1, bias=False)
    online.weight.data.fill_(2.0)
    momentum = MomentumEncoder(online, BETA)
    online.weight.data.fill_(1.0)
    momentum.update(online)
    assert momentum.network.weight.item() == pytest.approx(0.9 * 2 + 0.1 * 1)


def test_equations_17_and_18_draw_members_of_every_cluster():
    members = draw_members(LABELS, 16, torch.Generator().manual_seed(0))
    assert members.shape == (2, 16)
    assert set(members[0].tolist()) == {0, 1}
    assert set(members[1].tolist()) == {2}
    rows = instance_rows(FEATURES, members).view(16, 2, 2)
    assert torch.equal(rows[:, 1], FEATURES[2].expand(16, 2))


DRAWS = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.8, 0.6]])
"""Draws (1, 0) and (0, 1) of cluster 0, (0.6, 0.8) and (0.8, 0.6) of cluster 1."""


def test_equations_19_to_22_farthest_of_the_own_cluster_nearest_of_the_others():
    """For (1, 0) of cluster 0 these are (0, 1) and (0.8, 0.6), with the logits 0 and 0.8."""
    memory = DynamicMemory(DRAWS, 2, TAU)
    loss = memory(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(softplus(0.8))


def test_equation_19_may_be_judged_by_the_momentum_encoder():
    """For (0, 1) they are (1, 0) and (0.6, 0.8): (1, 0) has the logits 1 and 0.6 with them."""
    memory = DynamicMemory(DRAWS, 2, TAU)
    query = torch.tensor([[1.0, 0.0]], requires_grad=True)
    loss = memory(query, torch.tensor([0]), torch.tensor([[0.0, 1.0]]))
    assert loss.item() == pytest.approx(softplus(-0.4))
    loss.backward()
    share = 1 / (1 + exp(-0.4))
    raw = (1 - share) * (DRAWS[1] - DRAWS[0])
    torch.testing.assert_close(query.grad[0], torch.tensor([0.0, raw[1].item()]))


def test_the_cross_contrast_may_weigh_hard_prototypes_by_itself():
    """Whatever λ is, the other modality's features meet CE(hard) in full."""
    query, label = FEATURES[[1]], LABELS[[1]]
    memory = hybrid(hard_weight=0.3)
    assert memory(query, label).item() == pytest.approx(0.3 * softplus(0.2))
    assert memory(query, label, hard_weight=1.0).item() == pytest.approx(softplus(0.2))
