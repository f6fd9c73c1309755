"""PGM's second stage: sides that change with the epoch, targets that follow the matching."""

import numpy as np
import pytest
import tiny_runs
import torch
import torch.nn.functional as F

from clustercontrast.engine.loop import take_step
from clustercontrast.losses.alternate import alternate_contrast
from clustercontrast.methods.pgm import AlternateLearning


@pytest.fixture
def make(monkeypatch, tmp_path):
    tiny_runs.use_small_encoder(monkeypatch)
    return lambda *flags: tiny_runs.make_stage(AlternateLearning, "pgm", tmp_path, *flags)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, ("infrared", "f_v", 1)),
        (1, ("visible", "f_r", 2)),
        (48, ("infrared", "f_v", 1)),
    ],
)
def test_sides_change_with_the_epoch(epoch, expected):
    """Even epochs ask the infrared memory, odd ones the visible memory."""
    memories = tuple(
        lambda features, targets, name=name: (name, features, targets.item())
        for name in ("visible", "infrared")
    )
    targets = torch.tensor([1]), torch.tensor([2])
    assert alternate_contrast(epoch, memories, ("f_v", "f_r"), targets) == expected


def test_images_of_single_clusters_are_left_out():
    seen = []
    memories = (None, lambda features, targets: seen.append((features, targets)))
    features = torch.arange(4.0)[:, None].requires_grad_()
    alternate_contrast(0, memories, (features, None), (torch.tensor([2, -1, 0, -1]), None))
    ((kept, targets),) = seen
    assert (kept.flatten().tolist(), targets.tolist()) == ([0, 2], [2, 0])
    nothing = alternate_contrast(0, memories, (features, None), (torch.full((4,), -1), None))
    assert nothing.item() == 0
    assert nothing.requires_grad


@pytest.mark.parametrize(
    ("counts", "flags", "matched", "said"),
    [
        ((5, 4), (), True, ""),
        ((4, 5), (), False, "4 visible and 5 infrared clusters: not matched"),
        ((4, 5), ("--match-always",), True, ""),
        ((7, 4), (), True, ""),
        ((8, 4), (), True, "8 visible and 4 infrared clusters, a ratio of two or more"),
        ((8, 4), (), True, "partners are those of round 1"),
        ((12, 4), ("--matching-rounds", "upstream"), True, "those of a later round"),
        ((13, 4), ("--matching-rounds", "upstream"), True, "those of round 1"),
        ((4, 8), ("--match-always", "--matching-rounds", "upstream"), True, "those of round 1"),
        ((8, 4), ("--association", "hungarian"), True, ""),
    ],
)
def test_the_log_says_where_official_codes_part_ways(make, tmp_path, counts, flags, matched, said):
    """PGM-4: fewer visible clusters are not matched on SYSU-MM01; further rounds beyond two."""
    stage, log = make(*flags), tmp_path / "log.txt"
    before = log.read_text()
    assert stage.is_matched(*counts) == matched
    added = log.read_text().removeprefix(before)
    assert said in added
    assert bool(said) == bool(added)


@pytest.mark.parametrize("epoch", [0, 1])
def test_an_iteration_term_by_term(make, epoch):
    stage = make()
    batch = next(tiny_runs.open_epoch(stage, epoch))
    rows_v, rows_r = stage.visible_memory.rows.clone(), stage.infrared_memory.rows.clone()
    y_v, y_r = batch.visible.labels, batch.infrared.labels
    ((name, terms),) = stage.iteration(batch, epoch)
    f_v, f_r = stage.encoder(batch.visible.images, batch.infrared.images)

    def loss(f, rows, y):
        return F.cross_entropy(F.normalize(f) @ rows.T / stage.args.temp, y)

    cross = (
        loss(f_v, rows_r, stage.maps[0][y_v])
        if epoch == 0
        else loss(f_r, rows_v, stage.maps[1][y_r])
    )
    expected = {
        "infrared": (1.0, loss(f_r, rows_r, y_r)),
        "visible": (1.0, loss(f_v, rows_v, y_v)),
        "cross": (0.25, cross),
    }
    assert name == "encoder"
    assert list(terms) == list(expected)
    for key, (weight, value) in expected.items():
        assert terms[key][0] == weight
        torch.testing.assert_close(terms[key][1], value, msg=key)


@pytest.mark.parametrize("epoch", [0, 1])
def test_the_cross_call_rewrites_rows_of_the_other_memory(make, epoch):
    stage = make()
    batch = next(tiny_runs.open_epoch(stage, epoch))
    y_v, y_r = batch.visible.labels, batch.infrared.labels
    expected = [set(y_v.tolist()), set(y_r.tolist())]
    if epoch == 0:
        expected[1] |= set(stage.maps[0][y_v].tolist())
    else:
        expected[0] |= set(stage.maps[1][y_r].tolist())
    memories = stage.visible_memory, stage.infrared_memory
    before = [memory.rows.clone() for memory in memories]
    ((_, terms),) = stage.iteration(batch, epoch)
    take_step(stage.optimisers["encoder"], terms)
    for memory, old, touched in zip(memories, before, expected, strict=True):
        changed = (memory.rows != old).any(1).nonzero().flatten()
        assert set(changed.tolist()) == touched


def test_matching_is_made_anew_every_epoch(make):
    stage = make()
    tiny_runs.open_epoch(stage, 0)
    stage.maps = tuple(torch.zeros_like(m) for m in stage.maps)
    tiny_runs.open_epoch(stage, 1)
    assert any(m.any() for m in stage.maps)


def test_jitter_stands_where_the_variant_puts_it(make):
    visible, exchanged = make().views(True)
    assert (visible.jitter, exchanged.jitter) == (False, True)
    assert make().views(False)[0].jitter is False
    assert make("--jitter-infrared").views(False)[0].jitter is True


@pytest.mark.parametrize(
    ("flags", "visible", "matched"),
    [
        ([], 3, False),
        (["--match-always"], 3, True),
        (["--no-match-always"], 3, False),
        (["--no-match-always"], 5, True),
        (["--association", "none"], 5, False),
    ],
)
def test_fewer_visible_clusters_may_leave_the_cross_contrast_out(make, flags, visible, matched):
    """PGM-4; what an earlier epoch matched is forgotten."""
    stage, generator = make(*flags), torch.Generator().manual_seed(0)
    stage.maps = "those of the epoch before"
    means = torch.randn(visible, 4, generator=generator), torch.randn(4, 4)
    stage.match_clusters(means, tuple(map(np.arange, map(len, means))), means)
    assert (stage.maps is not None) == matched
    features = (torch.randn(6, 4, generator=generator), torch.randn(6, 4))
    if not matched:
        assert stage.cross_term(features, (torch.zeros(6).long(),) * 2, epoch=0) == {}
