"""Stages 2 and 3 of CMAM-UDA: who learns from which term, and what the terms are."""

import itertools

import numpy as np
import pytest
import tiny_cmam
import torch
import torch.nn.functional as F

from clustercontrast.engine.loop import take_step
from clustercontrast.engine.run import Run
from clustercontrast.files import UserError
from clustercontrast.methods.cmam.finetune import Finetune, labelled
from clustercontrast.methods.cmam.mutual import build_network, is_tested_on_fakes, visible_input
from clustercontrast.methods.cmam.pretrain import Pretrain, relations
from clustercontrast.methods.cmam.selftrain import SelfTrain
from clustercontrast.settings.command_line import parse

J1, J2, G2 = ("joint", "visible"), ("joint", "fake"), ("gray", "fake")


@pytest.fixture
def pretrain(tmp_path):
    def make(*flags):
        return tiny_cmam.make_stage(Pretrain, tmp_path, *flags)

    return make


def freeze_statistics(stage):
    """Batch statistics tie the two halves of a joint forward; without them gradients separate."""
    for network in stage.networks.values():
        network.eval()


def gradients(stage, terms, inputs=()):
    """Gradient of the weighted terms: largest entry by network, and by input image stream."""
    stage.optimisers["both"].optimiser.zero_grad(set_to_none=True)
    sum(weight * term for weight, term in terms.values()).backward()
    found = {}
    for name, network in stage.networks.items():
        own = [p.grad.abs().max() for p in network.parameters() if p.grad is not None]
        found[name] = float(max(own, default=torch.zeros(())))
    return found | {name: float(t.grad.abs().max()) for name, t in inputs}


def seen_and_inputs(stage, batch):
    """The views of a batch whose images collect gradients."""
    inputs = {}
    for name, stream in batch.streams.items():
        stream.images.requires_grad_(True)
        stream.images.retain_grad()
        inputs[name] = stream.images
    return stage.see(batch, stage.views), inputs


# --- stage 2 ---


@pytest.mark.parametrize("forward", ["--joint-forward", "--no-joint-forward"])
def test_teachers_of_the_selective_terms_receive_no_gradient(pretrain, forward):
    """Eq. 11-14: with frozen BatchNorm nothing leaks through statistics."""
    stage = pretrain(forward)
    batch = tiny_cmam.first_batch(stage, epoch=1)
    freeze_statistics(stage)
    to_gray, to_joint = stage.relations
    assert (to_gray.learner, to_gray.other, to_gray.is_teacher) == (G2, J1, True)
    assert (to_joint.learner, to_joint.other, to_joint.is_teacher) == (J2, G2, True)

    seen, _ = seen_and_inputs(stage, batch)
    found = gradients(stage, stage.preservation(seen, [to_gray], True))
    assert found["joint"] == 0
    assert found["gray"] > 0
    own = dict(stage.classifiers.named_parameters())
    assert own["joint_visible.weight"].grad is None
    assert own["gray_fake.weight"].grad.abs().max() > 0

    for stream in batch.streams.values():
        stream.images.grad = None
    seen, inputs = seen_and_inputs(stage, batch)
    found = gradients(stage, stage.preservation(seen, [to_joint], True))
    assert found["gray"] == 0
    assert found["joint"] > 0
    assert inputs["visible"].grad is None or not inputs["visible"].grad.any()
    assert inputs["fake"].grad.abs().max() > 0
    assert own["joint_fake.weight"].grad.abs().max() > 0
    assert own["joint_visible.weight"].grad is None


def test_every_term_of_a_step_by_hand(pretrain):
    """Eq. 2, 11-15, 21, recomputed from the networks' outputs with plain loops."""
    stage = pretrain()
    batch = tiny_cmam.first_batch(stage, epoch=1)
    steps = stage.iteration(batch, 1)
    _, terms = next(steps)
    joint, gray = stage.networks["joint"], stage.networks["gray"]
    for network in (joint, gray):  # the first forward moved running statistics only
        network.train()
    images = batch.visible.images, batch.fake.images
    _, f = joint(torch.cat(images))
    views = {J1: f[:8], J2: f[8:], G2: gray(images[1])[1]}
    labels = batch.visible.labels
    p = {}
    for view, own in views.items():
        w = F.normalize(stage.classifiers["_".join(view)].weight)
        cosines = F.normalize(own) @ w.T
        logits = torch.stack(
            [
                torch.stack(
                    [
                        64 * (1.35 - c).clamp_min(0) * (c - 0.65)
                        if column == y
                        else 64 * (c + 0.35).clamp_min(0) * (c - 0.35)
                        for column, c in enumerate(row)
                    ]
                )
                for row, y in zip(cosines, labels.tolist(), strict=True)
            ]
        )
        p[view] = logits.softmax(1)
        classes = logits.shape[1]
        target = torch.full_like(logits, 0.1 / (classes - 1))
        target[torch.arange(len(labels)), labels] = 0.9
        identity = -(target * logits.log_softmax(1)).sum(1).mean()
        torch.testing.assert_close(terms["identity_" + "_".join(view)][1], identity)
        distances = torch.cdist(own, own)
        triplets = []
        for i, y in enumerate(labels):
            farthest = distances[i][labels == y].max()
            nearest = distances[i][labels != y].min()
            triplets.append(F.softplus(farthest - nearest))
        expected = torch.stack(triplets).mean()
        torch.testing.assert_close(
            terms["triplet_" + "_".join(view)][1], expected, rtol=1e-4, atol=1e-4
        )
    for name, one, other in (("to_gray", G2, J1), ("to_joint", J2, G2)):
        skl = ((p[one] - p[other]) * (p[one].log() - p[other].log())).sum()
        weight, term = terms[f"probability_{name}"]
        assert weight == 0.1
        torch.testing.assert_close(term, skl, rtol=1e-3, atol=1e-3)
        grams = [F.normalize(views[v]) @ F.normalize(views[v]).T for v in (one, other)]
        weight, term = terms[f"similarity_{name}"]
        assert weight == 0.5
        torch.testing.assert_close(term, (grams[0] - grams[1]).square().sum(), rtol=1e-3, atol=1e-4)
    assert {k: w for k, (w, _) in terms.items() if k.startswith("pair_")} == {
        "pair_cosine": 0.0,
        "pair_agreement": 0.0,
    }


def test_phase_one_has_no_probability_terms_and_phase_two_a_fresh_adam(pretrain):
    stage = pretrain()
    batch = tiny_cmam.first_batch(stage, epoch=0)
    name, terms = next(stage.iteration(batch, 0))
    assert not [term for term in terms if term.startswith("probability")]
    assert [term for term in terms if term.startswith("similarity")]
    take_step(stage.optimisers[name], terms)
    assert stage.optimisers["both"].optimiser.state
    batch = tiny_cmam.first_batch(stage, epoch=1)
    assert not stage.optimisers["both"].optimiser.state
    _, terms = next(stage.iteration(batch, 1))
    assert [term for term in terms if term.startswith("probability")]


def test_phase_two_may_keep_its_adam(pretrain):
    stage = pretrain("--no-fresh-optimiser")
    name, terms = next(stage.iteration(tiny_cmam.first_batch(stage, epoch=0), 0))
    take_step(stage.optimisers[name], terms)
    tiny_cmam.first_batch(stage, epoch=1)
    assert stage.optimisers["both"].optimiser.state


def test_the_schedule_of_the_paper(tmp_path):
    """Through the flags' defaults."""
    small = ["--depth", "10", "--pretrained", "random", "--device", "cpu"]
    values = parse("sysu", ["--method", "cmam", *small])
    run = Run(tmp_path / "run", torch.device("cpu"))
    stage = Pretrain(values.at("pretrain"), tiny_cmam.world(tmp_path), run)
    stage.setup()
    rate, base = stage.optimisers["both"].schedule, values.at("pretrain").lr

    def at(step):
        return base * rate(*divmod(step, values.at("pretrain").iters))

    assert at(0) == pytest.approx(3.5e-6)
    assert at(1000) == pytest.approx((3.5e-6 + 3.5e-4) / 2)
    assert at(2000) == at(8999) == at(9000) == pytest.approx(3.5e-4)
    assert at(12_000) == pytest.approx((3.5e-4 + 7.7e-7) / 2)
    assert at(14_999) == pytest.approx(7.7e-7, rel=1e-3)
    assert at(15_000) == pytest.approx(3.5e-6)
    assert at(29_999) == pytest.approx(7.7e-7, rel=1e-3)


@pytest.mark.parametrize(
    ("mode", "views", "expected"),
    [
        ("none", [J1, J2, G2], []),
        ("single", [J1, J2, G2], [(J1, J2, False)]),
        ("symmetric", [J1, J2, G2], [(J1, G2, False), (J2, G2, False)]),
        ("selective", [J1, J2, G2], [(G2, J1, True), (J2, G2, True)]),
        ("selective", [J1, J2], []),  # Table III, M_joint alone
        ("selective", [G2], []),
        ("symmetric", [J1, ("gray", "visible")], [(J1, ("gray", "visible"), False)]),  # DML
        ("symmetric", [J2, G2], [(J2, G2, False)]),
        ("symmetric-visible", [J1, J2, G2], [(J1, G2, False)]),  # the other reading of RGB-GRAY
        ("symmetric-visible", [J1, J2], []),
    ],
)
def test_relations(mode, views, expected):
    found = relations(mode, views)
    assert [(r.learner, r.other, r.is_teacher) for r in found] == expected


@pytest.mark.parametrize(
    ("pair", "models", "views"),
    [
        ("rgb-gray", "both", [J1, J2, G2]),
        ("rgb-gray", "joint", [J1, J2]),
        ("rgb-gray", "gray", [G2]),
        ("rgb-rgb", "both", [J1, ("gray", "visible")]),
        ("gray-gray", "both", [J2, G2]),
    ],
)
def test_views_of_the_ablations(pretrain, pair, models, views):
    stage = pretrain("--pair", pair, "--models", models)
    assert stage.views == views
    _, terms = next(stage.iteration(tiny_cmam.first_batch(stage), 0))
    assert {term for term in terms if term.startswith("identity")} == {
        "identity_" + "_".join(view) for view in views
    }


@pytest.mark.parametrize(
    ("pair", "models", "branch", "network", "fakes"),
    [
        ("rgb-gray", "both", "joint", "joint", False),
        ("rgb-gray", "both", "gray", "gray", True),
        ("rgb-gray", "gray", "joint", "gray", True),  # Table III, M_gray
        ("rgb-rgb", "both", "joint", "joint", False),
        ("gray-gray", "both", "joint", "joint", True),  # Table IV
    ],
)
def test_what_is_evaluated_and_on_which_images(pair, models, branch, network, fakes):
    flags = ["--pair", pair, "--models", models]
    flags += ["--eval-branch", branch] if models == "both" else []
    args = tiny_cmam.options(*flags).at("selftrain")
    assert SelfTrain(args, None, None).retrieval == network
    assert is_tested_on_fakes(args) is fakes
    assert (visible_input(args, network) == "fake") is fakes


def test_print_sums_the_identification_losses(pretrain):
    """A2: the same batch, 8 images a view."""
    found = []
    for flags in ([], ["--identity-reduction", "sum"]):
        stage = pretrain(*flags)
        _, terms = next(stage.iteration(tiny_cmam.first_batch(stage), 0))
        found.append(terms)
    mean, total = found
    for name in ("identity_joint_visible", "triplet_joint_fake", "identity_gray_fake"):
        assert total[name][1].item() == pytest.approx(8 * mean[name][1].item(), rel=1e-4)
    assert total["similarity_to_gray"][1].item() == mean["similarity_to_gray"][1].item()


def test_margins_make_the_relation_of_probabilities_unless_switched_off(pretrain):
    """A1: with plain logits the target's margin plays no part."""
    stage = pretrain("--relation-logits", "plain", "--relation-temperature", "2")
    seen = stage.see(tiny_cmam.first_batch(stage), stage.views)
    for view, own in seen.items():
        cosines = stage.cosines(view, own.features)
        torch.testing.assert_close(own.relation, 64 * cosines / 2)
        assert not torch.equal(own.relation, own.logits)


def test_necks():
    """A3: which feature serves what."""
    images = torch.rand(4, 3, 32, 16, generator=torch.Generator().manual_seed(0))
    for neck, same in (("bnneck", True), ("none", True), ("bnneck-before", False)):
        args = tiny_cmam.options("--neck", neck).at("pretrain")
        network = build_network(args)
        metric, features = network(images)
        assert torch.equal(metric, features) is same
        if neck == "none":
            assert (features >= 0).all()
        else:
            torch.testing.assert_close(features.mean(0), torch.zeros(512), atol=1e-4, rtol=0)


def test_trunks_rest_for_the_first_iterations(pretrain):
    stage = pretrain("--freeze-iterations", "1")
    batch = tiny_cmam.first_batch(stage)
    before = {n: p.clone() for n, p in stage.networks["joint"].named_parameters()}
    for _ in range(2):
        for name, terms in stage.iteration(batch, 0):
            stage.optimisers[name].optimiser.param_groups[0]["lr"] = 1e-2
            take_step(stage.optimisers[name], terms)
        moved = {
            n
            for n, p in stage.networks["joint"].named_parameters()
            if not torch.equal(p, before[n])
        }
        if stage.step == 1:
            assert moved == {"neck.weight", "exponent"}
    assert any(name.startswith("trunk") for name in moved)


def test_an_epoch_may_be_one_pass(pretrain):
    stage = pretrain("--iters", "0")
    assert len(list(next(stage.refresh(0)))) == stage.iterations == -(-30 // 8)


def test_a_batch_is_whole_shares_of_classes(pretrain):
    for k in ("3", "16"):
        with pytest.raises(
            UserError, match=f"--batch-size 8 is not a multiple of --num-instances {k}"
        ):
            pretrain("--num-instances", k)


def saved_by(stage, path):
    """A checkpoint of a stage, as its last.pth and as its best model."""
    networks = {name: network.state_dict() for name, network in stage.networks.items()}
    last = {"networks": networks, "retrieval": stage.retrieval, "about": {}}
    others = {name: state for name, state in networks.items() if name != stage.retrieval}
    best = {"weights": networks[stage.retrieval], "companions": others, "about": {}}
    for name, content in (("last", last), ("best", best | {"retrieval": stage.retrieval})):
        torch.save(content, path / f"{name}.pth")
        yield str(path / f"{name}.pth")


def test_both_networks_start_from_a_file_of_both(tmp_path, pretrain):
    before = pretrain()
    for file in saved_by(before, tmp_path):
        stage = tiny_cmam.make_stage(Pretrain, tmp_path / "other", "--pretrained", file)
        for name, network in before.networks.items():
            state = stage.networks[name].state_dict()
            assert all(torch.equal(state[n], t) for n, t in network.state_dict().items())


@pytest.mark.parametrize(("held", "missing"), [("joint", "gray"), ("gray", "joint")])
def test_one_network_does_not_fill_both(tmp_path, pretrain, held, missing):
    for file in saved_by(pretrain("--models", held), tmp_path):
        with pytest.raises(UserError, match=f"holds M_{held} alone, .* asks for M_{missing}"):
            tiny_cmam.make_stage(Pretrain, tmp_path / "other", "--pretrained", file)


# --- stage 3 ---


@pytest.fixture
def selftrain(tmp_path):
    def make(*flags):
        return tiny_cmam.make_stage(SelfTrain, tmp_path, *flags)

    return make


def test_both_networks_learn_from_each_other_on_each_modality(selftrain):
    """Eq. 18, 19: no stop-gradient, and never across modalities."""
    stage = selftrain()
    pairs = [(r.learner, r.other, r.is_teacher) for r in stage.relations]
    assert pairs == [
        (("joint", "visible"), ("gray", "fake"), False),
        (("joint", "infrared"), ("gray", "infrared"), False),
    ]
    batch = tiny_cmam.first_batch(stage)
    for relation in stage.relations:
        seen = stage.see(batch, stage.views)
        found = gradients(stage, stage.preservation(seen, [relation], True))
        assert found["joint"] > 0
        assert found["gray"] > 0
    seen = stage.see(batch, stage.views)
    terms = stage.preservation(seen, stage.relations, True)
    assert {name: weight for name, (weight, _) in terms.items()} == {
        "similarity_visible": 0.05,
        "probability_visible": 0.01,
        "similarity_infrared": 0.05,
        "probability_infrared": 0.01,
    }


def test_labels_are_shared_and_proxies_are_balanced_unit_means(selftrain):
    """7.2, 7.3: one class space; a proxy is the mean of its modality means."""
    stage = selftrain()
    tiny_cmam.first_batch(stage)
    y_v, y_r = stage.labels["visible"], stage.labels["infrared"]
    assert set(y_v) == set(y_r) == set(range(6))
    for name, stream in (("joint", "visible"), ("gray", "fake")):
        parts = [
            F.normalize(stage.features_of(name, stage.arrays[s])) for s in (stream, "infrared")
        ]
        for c in range(6):
            means = [
                f[torch.from_numpy(y == c)].mean(0) for f, y in zip(parts, (y_v, y_r), strict=True)
            ]
            expected = F.normalize((means[0] + means[1]) / 2, dim=0)
            torch.testing.assert_close(stage.banks[name].rows[c], expected)


def test_what_is_clustered_is_both_networks_side_by_side(selftrain):
    stage = selftrain()
    rows = {
        v: torch.randn(4, 8, generator=torch.Generator().manual_seed(i))
        for i, v in enumerate(stage.views)
    }
    visible, infrared = stage.described(rows)
    (j1, j3, g2, g3) = (F.normalize(rows[v]) for v in stage.views)
    torch.testing.assert_close(visible, torch.cat([j1, g2], 1))
    torch.testing.assert_close(infrared, torch.cat([j3, g3], 1))
    stage.args.concatenation = "whole"
    torch.testing.assert_close(stage.described(rows)[0].norm(dim=1), torch.ones(4))
    stage.args.concatenation = "raw"
    raw = torch.cat([rows[stage.views[0]], rows[stage.views[2]]], 1)
    assert torch.equal(stage.described(rows)[0], raw)


def test_proxies_move_after_the_step_with_the_features_of_the_batch(selftrain):
    """7.7: loss, step, then v_c <- norm(0.2 v_c + 0.8 u_c) with u_c balanced over modalities."""
    stage = selftrain()
    batch = tiny_cmam.first_batch(stage)
    before = {name: bank.rows.clone() for name, bank in stage.banks.items()}
    steps = stage.iteration(batch, 0)
    name, terms = next(steps)
    assert all(torch.equal(stage.banks[n].rows, rows) for n, rows in before.items())
    take_step(stage.optimisers[name], terms)
    assert next(steps, None) is None
    present = set(batch.visible.labels.tolist())
    assert present == set(batch.infrared.labels.tolist())
    for bank, rows in before.items():
        after = stage.banks[bank].rows
        torch.testing.assert_close(after.norm(dim=1), torch.ones(6))
        moved = {c for c in range(6) if not torch.equal(after[c], rows[c])}
        assert moved == present


def test_banks_per_modality(selftrain):
    stage = selftrain("--bank", "per-modality")
    tiny_cmam.first_batch(stage)
    assert set(stage.banks) == {"joint_visible", "joint_infrared", "gray_fake", "gray_infrared"}
    f = F.normalize(stage.features_of("joint", stage.data.infrared))
    expected = F.normalize(f[torch.from_numpy(stage.labels["infrared"] == 2)].mean(0), dim=0)
    torch.testing.assert_close(stage.banks["joint_infrared"].rows[2], expected)


def test_joint_kmeans_with_classes_of_one_modality(selftrain):
    """Table III, UDA3: classes may lack a modality, each modality draws classes of its own."""
    stage = selftrain("--matching", "joint-kmeans", "--class-draw", "independent")
    batch = tiny_cmam.first_batch(stage)
    y_v, y_r = stage.labels["visible"], stage.labels["infrared"]
    assert set(y_v) | set(y_r) == set(range(6))
    assert set(y_v) != set(y_r)  # inverted patterns are far from the plain ones
    for _, terms in stage.iteration(batch, 0):
        assert all(torch.isfinite(term) for _, term in terms.values())


@pytest.mark.parametrize(
    ("flags", "views", "relations"),
    [
        ([], "joint_visible joint_infrared gray_fake gray_infrared", 2),
        (["--pair", "rgb-rgb"], "joint_visible joint_infrared gray_visible gray_infrared", 2),
        (["--pair", "gray-gray"], "joint_fake joint_infrared gray_fake gray_infrared", 2),
        (["--models", "joint"], "joint_visible joint_infrared", 0),
        (["--models", "gray"], "gray_fake gray_infrared", 0),
        (["--sp", "off", "--pp", "off"], "joint_visible joint_infrared gray_fake gray_infrared", 2),
        (["--head", "cosine"], "joint_visible joint_infrared gray_fake gray_infrared", 2),
    ],
)
def test_rows_of_tables_iii_and_iv_in_stage_3(selftrain, flags, views, relations):
    stage = selftrain(*flags)
    _, terms = next(stage.iteration(tiny_cmam.first_batch(stage), 0))
    assert {t for t in terms if t.startswith("identity")} == {
        f"identity_{v}" for v in views.split()
    }
    assert len(stage.relations) == relations
    preserved = [t for t in terms if t.startswith(("similarity", "probability"))]
    assert len(preserved) == (0 if "--sp" in flags else 2 * relations)
    assert all(torch.isfinite(term) for _, term in terms.values())


def test_unequal_numbers_of_clusters_leave_fresh_labels(selftrain):
    stage = selftrain("--clusters", "4", "--clusters-infrared", "6")
    tiny_cmam.first_batch(stage)
    assert set(stage.labels["visible"]) == set(range(4))
    assert set(stage.labels["infrared"]) == set(range(6))


def test_triplets_across_modalities_on_request(selftrain):
    stage = selftrain("--cross-triplet")
    _, terms = next(stage.iteration(tiny_cmam.first_batch(stage), 0))
    assert {t for t in terms if t.startswith("triplet")} == {"triplet_joint", "triplet_gray"}


def test_one_pass_over_the_images_between_clusterings(selftrain):
    """--iters 0: Table VII's 46 re-clusterings are one per epoch (A19)."""
    stage = selftrain("--iters", "0")
    assert stage.iterations == -(-72 // 16)
    assert len(list(next(stage.refresh(0)))) == 5


def test_the_last_epoch_may_be_longer_and_the_rate_falls_to_its_end(selftrain):
    """A19: 2 iterations after each of two re-clusterings, 5 after the last."""
    flags = ["--epochs", "3", "--last-iters", "5", "--warm-iterations", "0"]
    stage = selftrain(*flags, "--flat-iterations", "0", "--batch-size", "2")
    assert [len(list(next(stage.refresh(epoch)))) for epoch in range(3)] == [2, 2, 5]
    assert stage.step == 4
    rates = []
    for position in ((0, 0), (2, 0), (2, 4)):  # iterations 0, 4 and 8 of 9
        stage.optimisers["both"].set_learning_rate(*position)
        rates += stage.optimisers["both"].learning_rates()
    first, last = 1e-4, 7.7e-7
    falling = [last + (first - last) * (1 + np.cos(np.pi * i / 9)) / 2 for i in (0, 4, 8)]
    assert rates == pytest.approx(falling)


def test_the_schedule_counts_from_the_first_epoch(selftrain):
    early, late = (selftrain("--first-epoch", f"selftrain={first}") for first in (0, 5))
    for epoch in range(2):
        rates = []
        for stage, first in ((early, 0), (late, 5)):
            stage.optimisers["both"].set_learning_rate(first + epoch, 1)
            rates += stage.optimisers["both"].learning_rates()
        assert rates[0] == rates[1]


def test_the_cosine_head_is_stage_3s(selftrain, pretrain):
    """A27 is about the proxies; the classifiers before keep the circle head."""
    flags = ["--head", "cosine", "--temp", "0.5"]
    cosines, labels = torch.tensor([[0.2, 0.4]]), torch.tensor([1])
    assert torch.equal(selftrain(*flags).classify(cosines, labels), cosines / 0.5)
    assert torch.equal(
        pretrain(*flags).classify(cosines, labels), pretrain().classify(cosines, labels)
    )


def test_more_clusters_than_images_is_refused(selftrain):
    with pytest.raises(UserError, match="--clusters 37 is more than the 36 images"):
        tiny_cmam.first_batch(selftrain("--clusters", "37"))


def test_missing_fakes_are_named(tmp_path):
    data = tiny_cmam.world(tmp_path)
    fakes = tmp_path / "generation" / "source.done.npy"
    done = np.load(fakes)
    done[[0, 7]] = False  # row 0 has no label, hence no need of a fake
    np.save(fakes, done)
    stage = tiny_cmam.make_stage(Pretrain, tmp_path, data=data)
    with pytest.raises(UserError, match=r"1 fakes of source are missing .* --stages generation"):
        tiny_cmam.first_batch(stage)


# --- semi-supervised finetuning ---


def test_labelled_people_are_nested_and_rounded_half_up():
    """40, 79, 119, 158, 198 of SYSU-MM01's 395 identities (Table VI)."""
    people = np.arange(395)
    sets = []
    for share, count in ((0.1, 40), (0.2, 79), (0.3, 119), (0.4, 158), (0.5, 198)):
        y_v, y_r = labelled((people, people[::-1]), share, seed=1)
        assert len(set(y_v[y_v >= 0])) == count == y_v.max() + 1
        assert np.array_equal(y_v, y_r[::-1])
        sets.append(set(people[y_v >= 0]))
    assert all(small < large for small, large in itertools.pairwise(sets))
    with pytest.raises(UserError, match="two are needed"):
        labelled((people[:4], people[:4]), 0.3, seed=1)


@pytest.mark.parametrize(
    ("stages", "source"), [(["finetune"], "some.pth"), (["selftrain", "finetune"], "last")]
)
def test_finetuning_goes_on_from_stage_3_of_its_command(stages, source):
    values = tiny_cmam.options("--start-from", "some.pth", "--stages", *stages)
    assert Finetune(values.at("finetune"), None, None).args.start_from == source
    assert SelfTrain(values.at("selftrain"), None, None).args.start_from == "some.pth"


def test_finetuning_reads_true_labels_of_some_and_keeps_its_proxies(tmp_path):
    stage = tiny_cmam.make_stage(Finetune, tmp_path, "--labelled", "0.5")
    stream = stage.refresh(0)
    batches = next(stream)
    identities = stage.data.visible.index.identities
    for c in range(3):
        assert len(set(identities[stage.labels["visible"] == c])) == 1
    assert (stage.labels["visible"] >= 0).sum() == 3 * tiny_cmam.SHOTS
    for network in stage.networks.values():
        network.train()
    for batch in batches:
        for name, terms in stage.iteration(batch, 0):
            take_step(stage.optimisers[name], terms)
    assert next(stream, None) is None
    kept = {name: bank.rows.clone() for name, bank in stage.banks.items()}
    next(stage.refresh(1))
    for name, rows in kept.items():
        torch.testing.assert_close(stage.banks[name].rows, rows)
