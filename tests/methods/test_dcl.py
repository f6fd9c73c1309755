"""The shared first stage: what is clustered, drawn and contrasted, and where weights come from."""

import numpy as np
import pytest
import tiny_runs
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array

from clustercontrast.clustering.jaccard import is_compiled
from clustercontrast.files import UserError
from clustercontrast.methods import clustering_stage, clusters, dcl
from clustercontrast.methods.pgm import AlternateLearning
from clustercontrast.methods.supervised import Supervised


@pytest.fixture
def make(monkeypatch, tmp_path):
    tiny_runs.use_small_encoder(monkeypatch)
    return lambda *flags: tiny_runs.make_stage(dcl.Intra, "pgm", tmp_path, *flags)


def test_rows_are_the_normalised_means_of_the_clusters(make):
    stage = make()
    tiny_runs.open_epoch(stage)
    for f, name, memory in zip(
        stage.extract(stage.encoder),
        ("visible", "infrared"),
        (stage.visible_memory, stage.infrared_memory),
        strict=True,
    ):
        y = stage.labels[name]
        assert len(memory.rows) == y.max() + 1
        for cluster, row in enumerate(memory.rows):
            mean = f[torch.from_numpy(y) == cluster].mean(0)
            torch.testing.assert_close(row, F.normalize(mean, dim=0))


def test_batches_hold_two_views_of_visible_images_and_no_outlier(make):
    stage = make()
    for batch in tiny_runs.open_epoch(stage):
        visible, infrared = batch.visible, batch.infrared
        assert len(visible.images) == 2 * stage.args.batch_visible
        assert len(infrared.images) == stage.args.batch_size
        for stream, name, views in ((visible, "visible", 2), (infrared, "infrared", 1)):
            expected = torch.from_numpy(stage.labels[name])[stream.rows].repeat(views)
            assert torch.equal(stream.labels, expected)
            assert stream.labels.min() >= 0


def test_an_epoch_has_the_iterations_asked_for(make):
    assert len(list(tiny_runs.open_epoch(make("--iters", "3")))) == 3


def test_the_infrared_memory_is_called_before_the_visible_one(make, monkeypatch):
    """Backward runs the call made last first (MEM-1), so the order is part of it."""
    stage, calls = make(), []
    batch = next(tiny_runs.open_epoch(stage))
    for name in ("visible_memory", "infrared_memory"):
        real = getattr(stage, name)
        recorded = lambda f, y, real=real, name=name: calls.append(name) or real(f, y)  # noqa: E731
        setattr(stage, name, recorded)
    next(stage.iteration(batch, 0))
    assert calls == ["infrared_memory", "visible_memory"]


def test_features_for_clustering_are_means_of_two_unit_rows(make):
    stage = make()
    norms = torch.cat(stage.extract(stage.encoder)).norm(dim=1)
    assert norms.max() <= 1 + 1e-6
    assert norms.min() < 1 - 1e-4  # not normalised again


def test_true_identities_change_nothing_but_the_grades(make):
    def after_an_epoch(shuffled):
        stage = make()
        if shuffled:
            for images in (stage.data.visible.index, stage.data.infrared.index):
                np.random.default_rng(0).shuffle(images.identities)
        batches = tiny_runs.open_epoch(stage)
        return stage, next(batches)

    plain, batch = after_an_epoch(False)
    other, same = after_an_epoch(True)
    assert plain.facts["visible"]["ari"] != other.facts["visible"]["ari"]
    assert np.array_equal(plain.labels["visible"], other.labels["visible"])
    assert torch.equal(batch.visible.images, same.visible.images)
    assert torch.equal(batch.infrared.rows, same.infrared.rows)


def test_farthest_members_by_hand(make):
    """Cluster 0 has its members at 0, 1 and 5: the mean is 2 and the farthest member 5."""
    features = torch.tensor([[0.0], [1.0], [5.0], [7.0], [9.5]])
    y, c = np.array([0, 0, 0, 1, -1]), torch.tensor([[2.0], [7.0]])
    stage = make("--memory", "hybrid", "--hard-init", "farthest", "--hard-k", "1")
    assert stage.hard_prototypes(features, y, c).tolist() == [[5.0], [7.0]]
    stage.args.hard_k = 2  # 5 and 0 are the two farthest
    assert stage.hard_prototypes(features, y, c).tolist() == [[2.5], [7.0]]
    stage.args.hard_init = "centroid"
    assert stage.hard_prototypes(features, y, c) is c


DISTANCES = csr_array(1 - np.kron(np.eye(2), np.ones((4, 4))))  # two groups of four


@pytest.mark.parametrize(
    ("distances", "eps", "advice"),
    [
        (csr_array(np.full((8, 8), 0.01)), 0.6, "lower --eps-visible"),
        (csr_array(np.ones((8, 8)) - np.eye(8)), 0.6, "raise --eps-visible"),
    ],
)
def test_a_collapse_says_what_to_change(make, distances, eps, advice, monkeypatch):
    stage = make("--min-samples", "4")
    monkeypatch.setattr(clusters, "jaccard", lambda *_: distances)
    with pytest.raises(UserError, match=advice) as error:
        clusters.cluster("visible", torch.zeros(8, 2), 4, eps, stage)
    for flag in ("--min-samples (4)", "--k1", "--pretrained"):
        assert flag in str(error.value)


@pytest.mark.parametrize(
    ("clusters", "batch", "passes"),
    [(420, 256, 26), (7, 16, 1), (8, 16, 2), (3, 16, 1), (0, 16, 1)],
)
def test_a_pass_shows_k_images_of_every_infrared_cluster(make, clusters, batch, passes):
    """floor(C K / batch) as upstream; it ends where there is no batch, here there is one."""
    stage = make("--iters", "0", "--num-instances", "4" if batch == 16 else "16", "-b", str(batch))
    y = np.concatenate([np.arange(clusters).repeat(3) * 5, [-1, -1]])
    stage.labels = {"visible": np.zeros(9), "infrared": y}
    assert stage.iterations == passes


def test_an_epoch_may_be_one_pass(make):
    stage = make("--iters", "0")
    batches = list(tiny_runs.open_epoch(stage))
    clusters = stage.labels["infrared"].max() + 1
    assert len(batches) == stage.iterations == clusters * 4 // 16 >= 2


def test_two_clusters_are_enough(make, monkeypatch):
    stage = make("--min-samples", "4")
    monkeypatch.setattr(clusters, "jaccard", lambda *_: explicit(DISTANCES))
    y = clusters.cluster("visible", torch.zeros(8, 2), 4, 0.6, stage)
    assert y.tolist() == [0] * 4 + [1] * 4


def explicit(matrix):
    """The same with every entry stored, zeros included."""
    dense = matrix.toarray()
    rows, columns = np.indices(dense.shape)
    return csr_array((dense.ravel(), (rows.ravel(), columns.ravel())), shape=dense.shape)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--batch-size", "18"], "--batch-size 18 is not a multiple of --num-instances 4"),
        (["--batch-visible", "18"], "--batch-visible 18 is not a multiple"),
        (["--bn-groups", "3"], "--batch-size 16 does not divide by --bn-groups 3"),
        (["--bn-groups", "16", "--batch-visible", "20"], "--batch-visible 20 does not divide"),
    ],
)
def test_batches_that_do_not_divide_are_refused(make, flags, named):
    with pytest.raises(UserError, match=named):
        make(*flags)


@pytest.mark.parametrize(
    ("start_from", "first", "second"),
    [
        ("test", ["random"], []),
        ("cycle", ["random"], []),
        ("last", ["random"], []),
        ("pretrained", ["random"], ["random"]),
        ("some.pth", ["random"], ["some.pth"]),
    ],
)
def test_where_weights_come_from(monkeypatch, tmp_path, start_from, first, second):
    """The first stage takes --pretrained; a later one what --start-from says."""
    tiny_runs.use_small_encoder(monkeypatch)
    for make, expected in ((dcl.Intra, first), (AlternateLearning, second)):
        asked = []
        start = lambda _, source, to=asked: to.append(source)  # noqa: E731
        monkeypatch.setattr(clustering_stage.weights, "start", start)
        tiny_runs.make_stage(make, "pgm", tmp_path, "--start-from", start_from)
        assert asked == expected


def test_supervised_labels_are_the_identities(monkeypatch, tmp_path):
    tiny_runs.use_small_encoder(monkeypatch)
    stage = tiny_runs.make_stage(Supervised, "supervised", tmp_path)
    tiny_runs.open_epoch(stage)
    for name, images in (("visible", stage.data.visible), ("infrared", stage.data.infrared)):
        people = np.unique(images.index.identities)
        assert np.array_equal(people[stage.labels[name]], images.index.identities)


@pytest.mark.parametrize("compiled", [True, False])
def test_the_first_use_of_numba_is_announced(make, monkeypatch, compiled):
    stage = make()
    monkeypatch.setattr(clusters, "is_compiled", lambda: compiled)
    tiny_runs.open_epoch(stage)
    log = (stage.run.folder / "log.txt").read_text()
    assert ("clustering: compiling (once)" in log) is not compiled
    assert is_compiled()
