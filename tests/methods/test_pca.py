"""PCA's stages where the recorded trajectories do not reach: labels, hand-over, ablations."""

from contextlib import nullcontext
from types import SimpleNamespace

import golden_set
import numpy as np
import pytest
import tiny_runs
import torch

from clustercontrast.clustering.jaccard import balanced_jaccard, jaccard
from clustercontrast.commands import cli
from clustercontrast.data.images import ImageArray
from clustercontrast.data.samples import ImageList
from clustercontrast.engine.loop import take_step
from clustercontrast.engine.run import Run, saved_model
from clustercontrast.memories.cluster import ClusterMemory
from clustercontrast.methods import clustering_stage
from clustercontrast.methods.pca import Adversarial, Invariant
from clustercontrast.settings.command_line import parse

CLASSIFIER = "modality_classifier"


@pytest.fixture
def make(monkeypatch, tmp_path):
    tiny_runs.use_small_encoder(monkeypatch)
    return lambda stage, *flags: tiny_runs.make_stage(stage, "pca", tmp_path, *flags)


def steps_of(stage, epoch=0, batch=None):
    """Every optimiser step of an iteration, taken: its optimiser and its terms."""
    batch = batch or next(tiny_runs.open_epoch(stage))
    taken = []
    for name, terms in stage.iteration(batch, epoch):
        take_step(stage.optimisers[name], terms)
        taken.append((name, terms))
    return taken


# --- joint clusters ---


@pytest.mark.parametrize("file", [f for f in golden_set.files_b("pca") if "joint_memory" in f])
def test_joint_memory_and_training_lists_are_the_official_ones(file, monkeypatch):
    vectors = golden_set.load(file)
    features = tuple(torch.from_numpy(vectors[f"features_{m}"]) for m in ("rgb", "ir"))
    images = [
        ImageArray(
            ImageList(m, tuple(map(str, range(len(f)))), *np.zeros((2, len(f)), np.int64)),
            np.zeros((len(f), 1, 1, 3), np.uint8),
        )
        for m, f in zip(("visible", "infrared"), features, strict=True)
    ]
    stage = Invariant(
        parse("sysu", ["--method", "pca"]).at("invariant"),
        SimpleNamespace(visible=images[0], infrared=images[1]),
        SimpleNamespace(device=torch.device("cpu"), timed=lambda _: nullcontext()),
    )
    monkeypatch.setattr(stage, "joint_distances", lambda _: None)
    monkeypatch.setattr(clustering_stage, "dbscan", lambda *_: vectors["labels_joint"])
    stage.cluster_jointly(features)
    np.testing.assert_allclose(stage.joint_memory.rows, vectors["memory_joint"], atol=1e-6)
    for name, m in (("joint_visible", "rgb"), ("joint_infrared", "ir")):
        y = stage.labels[name]
        np.testing.assert_array_equal(np.flatnonzero(y >= 0), vectors[f"joint_{m}_index"])
        np.testing.assert_array_equal(y[y >= 0], vectors[f"joint_{m}_label"])
    assert stage.facts["association_rate"] == pytest.approx(float(vectors["associate_rate"]))
    labels = tuple(vectors[f"labels_{m}"] for m in ("rgb", "ir"))
    own = stage.build_memories(features, labels, stage.centroids(features, labels))
    for memory, m in zip(own, ("rgb", "ir"), strict=True):
        np.testing.assert_allclose(memory.rows, vectors[f"memory_{m}"], atol=1e-6)


@pytest.mark.parametrize("flags", [(), ("--no-cne",)])
def test_neighbours_are_expanded_evenly_unless_switched_off(make, flags):
    stage = make(Invariant, *flags)
    features = stage.extract(stage.encoder)
    a = stage.args
    settings = a.joint_k1, a.joint_k2, a.eps_joint
    plain = jaccard(torch.cat(features), *settings)
    balanced = balanced_jaccard(*features, *settings)
    assert (plain != balanced).nnz > 0
    assert (stage.joint_distances(features) != (plain if flags else balanced)).nnz == 0


def test_an_epoch_without_mixed_clusters_goes_on_without_the_joint_step(make, monkeypatch):
    stage = make(Invariant)
    apart = tuple(len(images.index) for images in (stage.data.visible, stage.data.infrared))
    real = clustering_stage.dbscan

    def without_mixed(distances, *settings):
        y = real(distances, *settings)
        return np.repeat([0, 1], apart) if len(y) == sum(apart) else y

    monkeypatch.setattr(clustering_stage, "dbscan", without_mixed)
    taken = steps_of(stage)
    assert [name for name, _ in taken] == [CLASSIFIER, "encoder"]
    assert stage.facts["association_rate"] == 0
    assert "joint step left out" in (stage.run.folder / "log.txt").read_text()


def test_stage_1_clusters_jointly_for_the_log_alone(make, monkeypatch):
    assert "association_rate" not in _facts(make(Adversarial))
    stage = make(Adversarial, "--log-association")
    assert 0 <= _facts(stage)["association_rate"] <= 1
    assert stage.labels.keys() == {"visible", "infrared"}


def _facts(stage):
    tiny_runs.open_epoch(stage)
    return stage.facts


# --- order and reach of the steps ---


@pytest.mark.parametrize(
    ("make_of", "epoch", "flags", "expected"),
    [
        (Adversarial, 24, (), ["encoder", CLASSIFIER]),
        (Adversarial, 25, (), [CLASSIFIER, "encoder"]),
        (Adversarial, 3, ("--adversarial-from", "3"), [CLASSIFIER, "encoder"]),
        (Adversarial, 25, ("--no-tal",), ["encoder"]),
        (Invariant, 0, (), [CLASSIFIER, "encoder", "encoder"]),
        (Invariant, 0, ("--no-mcl",), [CLASSIFIER, "encoder"]),
        (Invariant, 0, ("--no-tal",), ["encoder", "encoder"]),
        (Invariant, 0, ("--no-tal", "--no-mcl"), ["encoder"]),
    ],
)
def test_optimisers_step_in_the_official_order(make, make_of, epoch, flags, expected):
    taken = steps_of(make(make_of, *flags), epoch)
    assert [name for name, _ in taken] == expected
    terms = [set(t) for name, t in taken if name == "encoder"]
    is_adversarial = expected[0] == CLASSIFIER
    assert terms[0] == {"infrared", "visible"} | ({"adversarial"} if is_adversarial else set())
    assert terms[1:] in ([], [{"joint_infrared", "joint_visible"}])


@pytest.mark.parametrize(("make_of", "weight"), [(Adversarial, 1.0), (Invariant, 0.1)])
def test_the_adversarial_loss_has_the_weight_of_its_stage(make, make_of, weight):
    terms = dict(steps_of(make(make_of), 25)[1][1])
    assert terms["adversarial"][0] == weight


def test_the_classifier_learns_from_features_without_a_graph(make):
    stage = make(Adversarial)
    features = stage.encoder(*_images(stage))
    stage.modality_terms(features)["modality"][1].backward()
    assert all(p.grad is None for p in stage.encoder.parameters())
    assert all(p.grad is not None for p in stage.modality_classifier.parameters())


def test_the_adversarial_loss_moves_the_encoder_and_leaves_nothing_in_the_classifier(make):
    stage = make(Adversarial, "--adversarial-from", "0")
    batch = next(tiny_runs.open_epoch(stage))
    before = {k: v.clone() for k, v in stage.modality_classifier.named_parameters()}
    steps = stage.iteration(batch, 0)
    take_step(stage.optimisers[CLASSIFIER], next(steps)[1])
    after = {k: v.clone() for k, v in stage.modality_classifier.named_parameters()}
    assert any(not torch.equal(before[k], after[k]) for k in before)
    take_step(stage.optimisers["encoder"], next(steps)[1])
    for name, parameter in stage.modality_classifier.named_parameters():
        assert torch.equal(parameter, after[name])
        assert parameter.grad.abs().sum() > 0 or name.endswith("0.bias")  # deposited ...
    stage.optimisers[CLASSIFIER].optimiser.zero_grad(set_to_none=True)  # ... and dropped
    assert all(p.grad is None for p in stage.modality_classifier.parameters())


def _images(stage):
    batch = next(tiny_runs.open_epoch(stage))
    return batch.visible.images, batch.infrared.images


def test_the_classifier_sees_all_views_at_once_whatever_the_encoders_groups(make, monkeypatch):
    stage = make(Adversarial)
    seen = []
    stage.modality_classifier.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    batch = next(tiny_runs.open_epoch(stage))
    steps_of(stage, 25, batch)
    assert seen == [2 * len(batch.visible.labels) // 2 + len(batch.infrared.labels)] * 2


def test_joint_rows_of_one_modality_stay_as_negatives(make):
    stage = make(Invariant)
    tiny_runs.open_epoch(stage)
    assert isinstance(stage.joint_memory, ClusterMemory)
    used = np.unique(
        np.concatenate([stage.labels["joint_visible"], stage.labels["joint_infrared"]])
    )
    assert len(stage.joint_memory.rows) > np.count_nonzero(used >= 0)


# --- from stage to stage ---


def train(tmp_path, *flags, on="sysu"):
    cli.train(on, tiny_runs.arguments("pca", tmp_path, *flags, on=on))
    return tiny_runs.run_folder(tmp_path, "pca", on=on)


@pytest.mark.parametrize("source", ["test", "last"])
def test_stage_2_takes_the_classifier_along(make, tmp_path, monkeypatch, source):
    flags = "--adversarial-from", "1", "--start-from", source
    folder = train(tmp_path, *flags, "--stages", "intra")
    started = {}
    monkeypatch.setattr(
        "clustercontrast.engine.pipeline.train",
        lambda stage, run: started.update(
            {
                n: {k: v.clone() for k, v in m.state_dict().items()}
                for n, m in stage.networks.items()
            }
        ),
    )
    with pytest.raises(SystemExit):  # nothing was trained: there is nothing to report
        train(tmp_path, *flags, "--stages", "invariant")
    model = saved_model(folder / "intra", source)
    for name, expected in (
        ("encoder", model["weights"]),
        (CLASSIFIER, model["companions"][CLASSIFIER]),
    ):
        assert tiny_runs.differences(started[name], expected) == []


def test_a_foreign_first_stage_brings_its_classifier_if_it_has_one(make, tmp_path, monkeypatch):
    monkeypatch.setattr(clustering_stage.weights, "read", lambda path: torch.load(path)["weights"])
    folder = train(tmp_path, "--stages", "intra")
    best = folder / "intra" / "best_test.pth"
    stage = make(Invariant, "--stage1", str(best))
    got = stage.modality_classifier.state_dict()
    expected = torch.load(best)["companions"][CLASSIFIER]
    assert tiny_runs.differences(dict(got), dict(expected)) == []
    bare = tmp_path / "bare.pth"
    torch.save({"weights": torch.load(best)["weights"]}, bare)
    make(Invariant, "--stage1", str(bare))
    assert f"random weights: there are none in {bare}" in (tmp_path / "log.txt").read_text()


def test_an_official_first_stage_brings_its_classifier(make, tmp_path, monkeypatch):
    monkeypatch.setattr(clustering_stage.weights, "read", lambda path: torch.load(path)["weights"])
    folder = train(tmp_path, "--stages", "intra")
    best = torch.load(folder / "intra" / "best_test.pth")
    official = tmp_path / "model_best.pth.tar"
    spread = official_classifier(best["companions"][CLASSIFIER])
    torch.save({"weights": best["weights"], "state_dict_modal": spread}, official)
    stage = make(Invariant, "--stages", "invariant", "--start-from", str(official))
    got = stage.modality_classifier.state_dict()
    assert tiny_runs.differences(dict(got), dict(best["companions"][CLASSIFIER])) == []
    assert f"invariant.modality_classifier: from {official}" in (tmp_path / "log.txt").read_text()


def official_classifier(state):
    """A classifier's tensors under the official names."""
    names = {"blocks.0.": "first_layer.", "head.": "Liner."}
    names |= {f"blocks.{i + 1}.": f"layers.{i}." for i in range(7)}
    found = {}
    for name, tensor in state.items():
        (own,) = (prefix for prefix in names if name.startswith(prefix))
        found[names[own] + name.removeprefix(own)] = tensor
    return found


def test_on_regdb_the_first_stage_may_win(make, tmp_path, monkeypatch):
    """PCA-4: candidate 0 of stage 2 is the model it starts from; not so on SYSU-MM01."""
    scores = iter([50.0, 60.0, 90.0, 40.0, 30.0])  # stage 1, then its best model and stage 2

    def rated(stage):
        return dict.fromkeys(("rank1", "mAP", "mINP", "cycle"), next(scores))

    begin = Run.__init__
    monkeypatch.setattr(
        Run, "__init__", lambda *given, **more: begin(*given, **more | {"evaluate": rated})
    )
    folder = train(tmp_path, on="regdb") / "trial1"
    best = saved_model(folder / "invariant", "test")
    first = saved_model(folder / "intra", "test")
    assert (best["epoch"], first["epoch"]) == (-1, 1)
    assert tiny_runs.differences(best["weights"], first["weights"]) == []
    assert tiny_runs.differences(best["companions"], first["companions"]) == []
