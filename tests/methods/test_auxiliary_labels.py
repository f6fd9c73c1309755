"""Stage 0 of CMAM-UDA: labels of the source images, their file, resuming, mistakes of the user."""

import itertools
import json
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_runs
import torch
import torch.nn.functional as F

from clustercontrast.data.images import ImageArray
from clustercontrast.data.samples import ImageList
from clustercontrast.data.source_labels import FILE, load_labels
from clustercontrast.engine.loop import take_step, train
from clustercontrast.engine.run import Run
from clustercontrast.files import UserError
from clustercontrast.methods.clusters import cluster
from clustercontrast.methods.cmam.auxiliary_labels import AuxiliaryLabels, with_singletons

PEOPLE, SHOTS = 6, 10
FLAGS = {
    "source_splits": ["train"],
    "label_method": "pplr",
    "source_labels": None,
    "source_outliers": "drop",
    "source_cameras": False,
    "parts": 3,
    "refinement": 0.5,
    "agreement_neighbours": 5,
    "agreement_from": 1,
    "smooth": 0.1,
    "source_clusters": 4,
    "depth": 10,
    "bn_groups": 1,
    "compile": False,
    "pretrained": "random",
    "k1": 8,
    "k2": 3,
    "eps": 0.5,
    "min_samples": 3,
    "neighbours": "torch",
    "batch_size": 8,
    "num_instances": 4,
    "lr": 3.5e-4,
    "weight_decay": 5e-4,
    "step_size": 2,
    "first_epoch": 0,
    "epochs": 3,
    "iters": 2,
    "flip": 0.5,
    "padding": 2,
    "erasing": 0.5,
    "test_batch": 25,
    "precision": "fp32",
    "seed": 1,
}


def source_images():
    """Ten noisy shots of each of six patterns, in two folders, cameras and people known."""
    rng = np.random.default_rng(0)
    people = rng.integers(0, 256, (PEOPLE, 32, 16, 3))
    identities = np.arange(PEOPLE * SHOTS) % PEOPLE
    noise = rng.integers(-20, 21, (len(identities), 32, 16, 3))
    pixels = (people[identities] + noise).clip(0, 255).astype(np.uint8)
    rows = range(len(identities))
    names = tuple(f"{('train', 'query')[row >= 40]}/{row:03d}.jpg" for row in rows)
    cameras = np.arange(len(identities)) % 3 + 1
    return ImageArray(ImageList("visible", names, identities, cameras), pixels)


@pytest.fixture
def make(tmp_path):
    def built(folder=tmp_path, images=None, **flags):
        torch.manual_seed(0)
        run = Run(folder, torch.device("cpu"))
        data = SimpleNamespace(source=images or source_images())
        stage = AuxiliaryLabels(Namespace(**FLAGS | flags), data, run)
        stage.setup()
        run.resume(stage)
        return stage

    return built


def labels_file(stage):
    return stage.run.folder / "auxiliary" / FILE


def content_of(stage):
    with np.load(labels_file(stage)) as file:
        return dict(file)


def exhausted(stage, epoch=0):
    """Run an epoch that needs no engine; the number of its streams."""
    return len(list(stage.refresh(epoch)))


# --- one epoch


def test_classifiers_are_the_unit_means_of_the_clusters(make):
    stage = make()
    next(stage.refresh(0))
    features, labels = stage.extract(), stage.labels["source"]
    assert stage.classifiers.shape == (4, labels.max() + 1, 512)
    for space, label in itertools.product(range(4), range(labels.max() + 1)):
        mean = features[space][torch.from_numpy(labels) == label].mean(0)
        torch.testing.assert_close(stage.classifiers[space, label], F.normalize(mean, dim=0))


def test_features_are_unit_rows_in_the_order_of_the_images(make):
    stage = make()
    features = stage.extract()
    assert features.shape == (4, 60, 512)
    torch.testing.assert_close(features.norm(dim=2), torch.ones(4, 60))
    one = stage.data.source.subset(np.array([31]))
    alone = make(images=one).extract()
    torch.testing.assert_close(alone[:, 0], features[:, 31], rtol=0, atol=1e-5)
    assert stage.encoder.training


def test_batches_hold_clusters_and_no_outlier(make):
    stage = make()
    batches = list(next(stage.refresh(0)))
    assert len(batches) == FLAGS["iters"]
    for batch in batches:
        drawn = torch.from_numpy(stage.labels["source"])[batch.source.rows]
        assert torch.equal(batch.source.labels, drawn)
        assert drawn.min() >= 0
        assert drawn.unique(return_counts=True)[1].tolist() == [4, 4]


def test_terms_of_an_iteration(make):
    """Global, triplet and part loss, taken from the batch's rows of the agreement."""
    stage = make()
    batch = next(next(stage.refresh(0)))
    labels, rows = batch.source.labels, batch.source.rows
    [(optimiser, terms)] = stage.iteration(batch, 0)
    g, q = stage.encoder(batch.source.images)
    logits = torch.stack([q[p] @ stage.classifiers[1 + p].T for p in range(3)])
    share = stage.agreement[rows].softmax(1).T[:, :, None]
    classes = stage.classifiers.shape[1]
    target = 0.5 * F.one_hot(labels, classes) + 0.5 * (share * logits.softmax(2)).sum(0)
    whole = -(target * (g @ stage.classifiers[0].T).log_softmax(1)).sum(1).mean()
    smoothed = [F.cross_entropy(part, labels, label_smoothing=0.1) for part in logits]
    assert optimiser == "encoder"
    assert list(terms) == ["global", "triplet", "part"]
    torch.testing.assert_close(terms["global"], (1.0, whole))
    torch.testing.assert_close(terms["part"], (1.0, torch.stack(smoothed).mean()))
    [(_, later)] = stage.iteration(batch, FLAGS["agreement_from"])
    torch.testing.assert_close(later["global"], (1.0, whole))
    assert not torch.allclose(later["part"][1], terms["part"][1])


def test_losses_are_formed_in_float32_under_autocast(make):
    """bf16 ends with the features, as in all stages (CMAM-19)."""
    stage = make()
    batch = next(next(stage.refresh(0)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        [(_, terms)] = stage.iteration(batch, 0)
        g, q = stage.encoder(batch.source.images)
    assert q.dtype == torch.bfloat16
    for name, (_, expected) in stage.terms(g.float(), q.float(), batch.source, 0).items():
        assert torch.equal(terms[name][1], expected), name


def test_an_epoch_may_be_one_pass(make):
    stage = make(iters=0)
    assert len(list(next(stage.refresh(0)))) == stage.iterations == -(-60 // 8)


def test_the_baseline_has_no_parts_and_plain_labels(make):
    stage = make(label_method="baseline")
    batch = next(next(stage.refresh(0)))
    [(_, terms)] = stage.iteration(batch, 0)
    g, _ = stage.encoder(batch.source.images)
    plain = F.cross_entropy(g @ stage.classifiers[0].T, batch.source.labels)
    assert list(terms) == ["global", "triplet"]
    torch.testing.assert_close(terms["global"], (1.0, plain))


def test_agreement_is_one_of_a_space_with_itself(make):
    stage = make()
    features = stage.extract()
    agreement = stage.agree(features[[0, 0, 1, 3]])
    assert agreement.shape == (60, 3)
    assert agreement[:, 0].tolist() == [1.0] * 60
    assert 0 <= agreement[:, 1].min() <= agreement[:, 1].mean() < 1


def test_true_identities_change_nothing_but_the_grades(make):
    plain, shuffled = make(), make()
    np.random.default_rng(0).shuffle(shuffled.data.source.index.identities)
    batches = [next(next(stage.refresh(0))) for stage in (plain, shuffled)]
    assert torch.equal(batches[0].source.images, batches[1].source.images)
    assert plain.facts["source"]["ari"] != shuffled.facts["source"]["ari"]


# --- the optimiser


def test_every_epoch_has_new_classifiers_and_the_network_goes_on(make):
    stage = make()
    adam = stage.optimisers["encoder"].optimiser
    first = stage.encoder.stem.conv1.weight
    for steps, epoch in ((2, 0), (4, 1)):
        for batches in stage.refresh(epoch):
            fresh = stage.classifiers
            assert fresh not in adam.state
            for batch in batches:
                for _, terms in stage.iteration(batch, epoch):
                    take_step(stage.optimisers["encoder"], terms)
        assert [len(group["params"]) for group in adam.param_groups][1] == 1
        assert adam.param_groups[1]["params"][0] is fresh
        assert adam.state[fresh]["step"] == 2
        assert adam.state[first]["step"] == steps
        assert len(adam.state) == 1 + len(adam.param_groups[0]["params"])


# --- whole runs


@pytest.mark.slow
def test_killed_and_resumed_equals_undisturbed(make, tmp_path, monkeypatch):
    train(whole := make(tmp_path / "whole"), whole.run)
    for stop in (1, 2):
        broken = make(tmp_path / "broken")
        with monkeypatch.context() as patch:
            refresh = broken.refresh

            def interrupted(epoch, stop=stop, refresh=refresh):
                if epoch == stop:
                    raise KeyboardInterrupt
                return refresh(epoch)

            patch.setattr(broken, "refresh", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train(broken, broken.run)
        assert not labels_file(broken).exists()
    train(resumed := make(tmp_path / "broken"), resumed.run)
    expected, found = (tiny_runs.saved(stage.run.folder) for stage in (whole, resumed))
    state = expected["auxiliary/last.pth"]["optimisers"]["encoder"]["state"]
    assert "auxiliary/labels.npz" in expected
    assert max(moments["exp_avg"].abs().max() for moments in state.values()) > 0
    assert tiny_runs.differences(found, expected) == []


def test_the_file_holds_the_labels_of_the_final_weights(make):
    stage = make(epochs=1)
    train(stage, stage.run)
    content, images = content_of(stage), stage.data.source.index
    expected = cluster("source", stage.extract()[0], stage.args.k1, stage.args.eps, stage)
    assert content["label"].dtype == np.int32
    assert content["label"].tolist() == expected.tolist()
    assert content["relpath"].tolist() == list(images.paths)
    assert content["split"].tolist() == ["train"] * 40 + ["query"] * 20
    assert content["cam"].tolist() == images.cameras.tolist()
    meta = json.loads(str(content["meta"]))
    assert meta["method"] == "pplr"
    assert meta["seed"] == 1
    assert meta["flags"]["eps"] == 0.5
    assert meta["clusters"] == expected.max() + 1
    assert meta["fingerprint"]["images"] == 60
    assert stage.facts["source"]["clusters"] == meta["clusters"]


def test_the_labels_are_read_back_by_path(make):
    stage = make(epochs=1)
    train(stage, stage.run)
    order = np.random.default_rng(0).permutation(60)
    found = load_labels(labels_file(stage), stage.data.source.index.subset(order))
    assert found.dtype == np.int64
    assert found.tolist() == stage.labels["source"][order].tolist()


def test_the_clusters_are_the_patterns(make):
    """Six patterns under weak noise: the file must tell them apart, whatever it calls them."""
    stage = make(epochs=1)
    train(stage, stage.run)
    assert stage.facts["source"]["ari"] > 0.9


# --- the other label methods


def test_kmeans_trains_nothing(make):
    stage = make(label_method="kmeans", source_clusters=PEOPLE)
    before = [p.clone() for p in stage.encoder.parameters()]
    assert stage.epochs == range(1)
    assert exhausted(stage) == 0
    labels = load_labels(labels_file(stage), stage.data.source.index)
    assert sorted(set(labels.tolist())) == list(range(PEOPLE))
    assert stage.facts["source"]["ari"] > 0.5
    assert all(map(torch.equal, before, stage.encoder.parameters()))


def csv_of(path, pairs):
    path.write_text("relpath,label\n" + "".join(f"{name},{y}\n" for name, y in pairs))
    return str(path)


def test_imported_labels_are_joined_and_compacted(make, tmp_path):
    """Clusters 7 (three images), 9 (two) and 4 (one), an outlier and images of other sets."""
    names = source_images().index.paths
    pairs = [(names[5], 9), (names[2], 7), ("other/1.jpg", 4), (names[3], 7), (names[8], 4)]
    pairs += [(names[59], 9), (names[0], 7), (names[1], -1), ("other/2.jpg", 9)]
    path = csv_of(tmp_path / "labels.csv", pairs)
    stage = make(label_method="import", source_labels=path)
    assert exhausted(stage) == 0
    expected = np.full(60, -1)
    expected[[0, 2, 3]], expected[[5, 59]] = 0, 1
    assert load_labels(labels_file(stage), stage.data.source.index).tolist() == expected.tolist()
    assert stage.networks == {}


def test_what_one_run_leaves_another_imports(make, tmp_path):
    given = make(tmp_path / "given", epochs=1)
    train(given, given.run)
    taken = make(tmp_path / "taken", label_method="import", source_labels=str(labels_file(given)))
    exhausted(taken)
    assert content_of(taken)["label"].tolist() == content_of(given)["label"].tolist()


def test_a_cluster_of_one_image_is_none(make):
    """DBSCAN leaves one when another cluster has taken a core point's border."""
    stage, labels = make(), np.arange(60) // 10
    labels[:10] = -1
    labels[3] = 0
    stage.leave(labels)
    assert content_of(stage)["label"].tolist() == [-1] * 10 + (np.arange(50) // 10).tolist()


def test_outliers_as_classes_of_their_own(make, tmp_path):
    names = source_images().index.paths
    path = csv_of(tmp_path / "labels.csv", [(name, row // 2) for row, name in enumerate(names[:4])])
    stage = make(label_method="import", source_labels=path, source_outliers="singleton")
    exhausted(stage)
    assert content_of(stage)["label"].tolist() == [0, 0, 1, 1, *range(2, 58)]


def test_singletons_by_hand():
    assert with_singletons(np.array([-1, 1, -1, 0])).tolist() == [2, 1, 3, 0]
    assert with_singletons(np.array([0, 0])).tolist() == [0, 0]


def test_every_flag_that_is_read_is_named():
    free = {"test_batch", "source_splits", "compile"}
    assert sorted(AuxiliaryLabels.reads) == sorted(FLAGS.keys() - free)


# --- mistakes of the user


def test_one_cluster_is_refused(make):
    with pytest.raises(UserError, match=r"0 cluster.*raise --eps \(now 1e-06\)"):
        exhausted(make(eps=1e-6, min_samples=20))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"k2": 9}, "--k2 9 is larger than --k1 8"),
        ({"batch_size": 10}, "--batch-size 10 is not a multiple of --num-instances 4"),
        ({"label_method": "kmeans", "source_clusters": 61}, "--source-clusters 61"),
        ({"label_method": "kmeans", "source_clusters": 1}, "--source-clusters 1"),
    ],
)
def test_flags_that_do_not_fit(make, flags, message):
    with pytest.raises(UserError, match=message):
        make(**flags)


def imported(make, path):
    return exhausted(make(label_method="import", source_labels=str(path)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("relpath,label\nelsewhere/1.jpg,0\n", "has none of the 60 source images"),
        ("path,label\ntrain/000.jpg,0\n", "columns relpath and label"),
        ("relpath,label\ntrain/000.jpg,cat\n", "line 2 has the label 'cat'"),
        ("relpath,label\ntrain/000.jpg\n", "line 2 has 1 fields, expected 2"),
        ("relpath,label\ntrain/000.jpg,0\ntrain/000.jpg,1\n", "more than once"),
        ("relpath,label\ntrain/000.jpg,3\ntrain/001.jpg,3\n", "1 cluster"),
    ],
)
def test_csv_that_cannot_be_imported(make, tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        imported(make, tmp_path / "labels.csv")


def test_npz_that_cannot_be_imported(make, tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        imported(make, tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(UserError, match="cannot read the labels"):
        imported(make, tmp_path / "text.npz")
    np.savez(tmp_path / "short.npz", relpath=np.array(["a", "b"]), label=np.array([0]))
    with pytest.raises(UserError, match="damaged"):
        imported(make, tmp_path / "short.npz")
    np.savez(tmp_path / "alone.npz", relpath=np.array(["a"]))
    with pytest.raises(UserError, match="relpath and label"):
        imported(make, tmp_path / "alone.npz")


def test_labels_of_other_images_are_refused(make, tmp_path):
    names = source_images().index.paths
    path = csv_of(tmp_path / "labels.csv", [(name, row // 2) for row, name in enumerate(names)])
    stage = make(label_method="import", source_labels=path)
    exhausted(stage)
    images = stage.data.source.index
    others = ImageList("visible", ("x.jpg", *names[1:]), images.identities, images.cameras)
    with pytest.raises(UserError, match="it has 59 of the 60 source images"):
        load_labels(labels_file(stage), others)
