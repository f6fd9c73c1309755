"""GUR's stage where the recorded vectors do not reach: its steps, memories, labels and flags."""

import numpy as np
import pytest
import tiny_runs
import torch
import torch.nn.functional as F

from clustercontrast.clustering.association_embedding import released_sizes
from clustercontrast.clustering.dbscan import dbscan
from clustercontrast.clustering.jaccard import jaccard
from clustercontrast.data.samples import ImageList
from clustercontrast.engine.loop import take_step
from clustercontrast.files import UserError
from clustercontrast.methods import clusters, gur
from clustercontrast.methods.gur import BottomUp
from clustercontrast.settings.command_line import parse

FLAGS = "--eps-camera", "0.5", "--camera-iters", "2", "--unify-neighbours", "5"
UNIFIED = "--unify-from", "0"
NO_CAMERAS = ("--no-intra-camera",)


@pytest.fixture
def make(monkeypatch, tmp_path):
    tiny_runs.use_small_encoder(monkeypatch)

    def built(*flags, without=FLAGS):
        return tiny_runs.make_stage(BottomUp, "gur", tmp_path, *without, *flags)

    return built


def streams(stage, epoch=0):
    """The step at hand and its batches, for every stream of an epoch."""
    for batches in stage.refresh(epoch):
        yield stage.step, batches


def train_on(stage, batches):
    stage.encoder.train()
    for batch in batches:
        ((name, terms),) = stage.iteration(batch, 0)
        take_step(stage.optimisers[name], terms)
    return terms


# --- steps of an epoch ---


def steps(dataset, epochs, stage):
    """Iterations of every stream of some epochs, by the values of a dataset's script."""
    options = parse(dataset, ["--method", "gur"]).at("bottomup")
    for name in ("camera_iters", "iters", "joint_iters", "unify_from", "joint_epochs"):
        if name in options:
            setattr(stage.args, name, getattr(options, name))
    stage.args.intra_camera = options.intra_camera
    return {e: [stage.iterations for _ in stage.refresh(e)] for e in epochs}


def test_iterations_of_an_epoch_on_sysu(make):
    """800 steps in epochs 0 to 39, 600 to the end."""
    found = steps("sysu", (0, 39, 40, 49), make())
    cameras = [50] * 8
    joint = [*cameras, 200, 200]
    assert found == {0: joint, 39: joint, 40: [*cameras, 200], 49: [*cameras, 200]}
    assert (sum(found[39]), sum(found[40])) == (800, 600)


def test_iterations_of_an_epoch_on_regdb(make):
    found = steps("regdb", (0, 24, 25, 29), make(*NO_CAMERAS, without=()))
    assert found == {0: [100, 100], 24: [100, 100], 25: [100], 29: [100]}


def test_an_iteration_count_of_zero_is_a_pass_over_the_clusters_of_the_step(make):
    stage = make("--camera-iters", "0", "--iters", "0")
    for _ in stage.refresh(0):
        clusters = len(set(stage.labels["infrared"]) - {-1})
        assert stage.iterations == max(1, clusters * 4 // 16)


def test_terms_say_the_step(make):
    found = {step: set(train_on(stage, b)) for stage in [make()] for step, b in streams(stage)}
    names = "infrared", "visible"
    assert found == {s: {f"{s}{n}" for n in names} for s in ("camera_", "", "joint_")}


# --- A ---


def test_a_pair_of_cameras_is_clustered_and_drawn_alone(make):
    stage = make()
    pairs = []
    for step, batches in streams(stage):
        if step == "camera_":
            batch = next(batches)
            images = stage.image_lists()
            seen = [
                set(own.cameras[stream.rows.numpy()])
                for own, stream in zip(images, (batch.visible, batch.infrared), strict=True)
            ]
            assert all(len(cameras) == 1 for cameras in seen)
            pairs.append(tuple(int(*cameras) for cameras in seen))
            for own, labels, camera in zip(images, stage.labels.values(), pairs[-1], strict=True):
                assert set(labels[own.cameras != camera]) == {-1}
                assert labels.max() > 0
    assert pairs == [(v, r) for v in (1, 2, 4, 5) for r in (3, 6)]


def test_memories_of_a_camera_are_those_of_its_last_pair_as_trained(make):
    """Infrared ones with the last visible camera, visible ones with the last infrared one."""
    stage, kept = make(), {}
    order = iter([(v, r) for v in (1, 2, 4, 5) for r in (3, 6)])
    for step, batches in streams(stage):
        if step == "camera_":
            before = stage.visible_memory.rows.clone(), stage.infrared_memory.rows.clone()
            train_on(stage, batches)
            after = stage.visible_memory.rows.clone(), stage.infrared_memory.rows.clone()
            assert all((a != b).any() for a, b in zip(before, after, strict=True))
            kept[next(order)] = after
    visible, infrared = stage.camera_rows
    assert (list(visible), list(infrared)) == ([1, 2, 4, 5], [3, 6])
    assert all(torch.equal(rows, kept[v, 6][0]) for v, rows in visible.items())
    assert all(torch.equal(rows, kept[5, r][1]) for r, rows in infrared.items())


def test_features_of_a_pair_are_those_of_the_weights_at_hand(make, monkeypatch):
    """Eight pairs, eight extractions, of two cameras each."""
    stage, sizes = make(), []
    extract = stage.extract

    def watched(network, rows=None):
        sizes.append(None if rows is None else [len(own) for own in rows])
        return extract(network, rows)

    monkeypatch.setattr(stage, "extract", watched)
    for _, batches in streams(stage):
        train_on(stage, batches)
    counts = [np.unique(own.cameras, return_counts=True)[1].tolist() for own in stage.image_lists()]
    assert sizes == [[v, r] for v in counts[0] for r in counts[1]] + [None, None]


# --- B ---


def slow_embedding(features, groups):
    """Image by image and group by group."""
    rows = []
    for f in features:
        parts = [
            [float(F.cosine_similarity(f, b, dim=0)) / 0.05 for b in g] for g in groups if len(g)
        ]
        rows.append([x for part in parts for x in torch.tensor(part).softmax(0).tolist()])
    return torch.tensor(rows)


def slow_clusters(stage, rows, eps):
    a = stage.args
    return dbscan(jaccard(rows, a.k1, a.k2, eps), eps, a.min_samples)


@pytest.fixture
def compared(monkeypatch):
    """What is compared when images are clustered: features, or their embeddings."""
    seen = []
    for module in (clusters, gur):
        real = module.jaccard
        monkeypatch.setattr(
            module, "jaccard", lambda f, *a, real=real: (seen.append(f), real(f, *a))[1]
        )
    return seen


def reached(stage, step, epoch=0):
    """Train until a step is at hand; its batches."""
    for at, batches in streams(stage, epoch):
        if at == step:
            return batches
        train_on(stage, batches)
    raise AssertionError(step)


@pytest.mark.parametrize("released", [True, False])
def test_clusters_are_those_of_the_association_embedding(make, compared, released):
    stage = make("--released-groups" if released else "--no-released-groups")
    reached(stage, "")
    features, pairs = (
        stage.extract(stage.encoder),
        zip(compared[-2:], stage.own_clusters, strict=True),
    )
    for f, bank, (rows, found) in zip(features, stage.camera_rows, pairs, strict=True):
        groups = list(bank.values())
        if released:
            groups = torch.cat(groups).split(released_sizes(list(map(len, groups))))
        torch.testing.assert_close(rows, slow_embedding(f, groups), rtol=0, atol=2e-6)
        np.testing.assert_array_equal(found, slow_clusters(stage, rows, 0.5))


def test_without_cameras_features_are_clustered(make):
    stage = make(*NO_CAMERAS, without=())
    assert [step for step, _ in streams(stage)] == ["", "joint_"]
    for f, found in zip(stage.extract(stage.encoder), stage.own_clusters, strict=True):
        np.testing.assert_array_equal(found, slow_clusters(stage, f, 0.5))


def test_memories_hold_means_of_features_and_not_of_embeddings(make):
    stage = make("--joint-epochs", "0")
    reached(stage, "")
    for f, y, memory in zip(
        stage.extract(stage.encoder), stage.own_clusters, stage.own_memories, strict=True
    ):
        for c, row in enumerate(memory.rows):
            mean = f[torch.from_numpy(y == c)].mean(dim=0)
            torch.testing.assert_close(row, F.normalize(mean, dim=0))


def test_before_unification_either_modality_has_its_own_memory(make):
    stage = make()
    reached(stage, "")
    assert (stage.visible_memory, stage.infrared_memory) == stage.own_memories
    assert stage.visible_memory is not stage.infrared_memory
    for name, own in zip(("visible", "infrared"), stage.own_clusters, strict=True):
        np.testing.assert_array_equal(stage.labels[name], own)
    assert "match_accuracy" not in stage.facts


@pytest.mark.parametrize("smooth_from", [0, 9])
def test_unified_labels_are_infrared_ones_and_both_losses_have_one_memory(
    make, smooth_from, monkeypatch
):
    stage, seen = make(*UNIFIED, "--smooth-from", str(smooth_from)), []
    real = gur.unified_labels
    monkeypatch.setattr(gur, "unified_labels", lambda *a: (seen.append(a), real(*a))[1])
    batches = reached(stage, "")
    ((visible, infrared, y_r, k, is_smoothed),) = seen
    assert (k, is_smoothed) == (5, smooth_from == 0)
    for given, own in zip((visible, infrared), stage.extract(stage.encoder), strict=True):
        assert torch.equal(given, own)
    assert set(stage.labels["visible"]) <= {*y_r, -1}
    np.testing.assert_array_equal(stage.labels["infrared"], stage.own_clusters[1])
    assert stage.visible_memory is stage.infrared_memory is stage.own_memories[1]
    before = stage.own_memories[0].rows.clone()
    train_on(stage, batches)
    assert torch.equal(stage.own_memories[0].rows, before)  # of the clusters before, not trained
    assert len(before) == stage.own_clusters[0].max() + 1
    assert {"match_accuracy", "own_visible", "joint"} <= stage.facts.keys()


# --- C ---


@pytest.mark.parametrize("flags", [(), UNIFIED])
def test_joint_clusters_are_those_of_the_embedding_by_the_memories_as_trained(
    make, compared, flags
):
    stage = make(*NO_CAMERAS, *flags, "--eps-joint", "0.6", without=())
    reached(stage, "joint_")
    rows, groups = compared[-1], [memory.rows for memory in stage.own_memories]
    expected = slow_embedding(torch.cat(stage.extract(stage.encoder)), groups)
    torch.testing.assert_close(rows, expected, rtol=0, atol=2e-6)
    found = np.concatenate([stage.labels["visible"], stage.labels["infrared"]])
    np.testing.assert_array_equal(found, slow_clusters(stage, rows, 0.6))


def test_every_image_counts_alike_in_the_joint_memory(make, monkeypatch):
    """Two clusters by hand: one of both modalities, two to one, and one of visible images alone."""
    stage = make(*NO_CAMERAS, "--eps-joint", "0.6", without=())
    split, total = len(stage.data.visible), sum(map(len, stage.image_lists()))
    y = np.full(total, -1)
    y[[0, 1, split]], y[[2, 3]] = 0, 1
    monkeypatch.setattr(stage, "joint_labels", lambda _: y)
    reached(stage, "joint_")
    visible, infrared = stage.extract(stage.encoder)
    means = (visible[0] + visible[1] + infrared[0]) / 3, (visible[2] + visible[3]) / 2
    torch.testing.assert_close(stage.infrared_memory.rows, F.normalize(torch.stack(means)))
    assert stage.visible_memory is stage.infrared_memory
    assert stage.labels["visible"].tolist() == y[:split].tolist()  # single-modality ones, too


def test_labels_of_both_steps_are_saved(make):
    stage = make(*UNIFIED)
    kept = {step: dict(stage.labels) for step, _ in streams(stage)}
    assert kept[""].items() <= stage.labels.items()
    assert stage.labels["joint_visible"] is kept["joint_"]["visible"]
    assert stage.labels["joint_infrared"] is kept["joint_"]["infrared"]


@pytest.mark.parametrize("y", ["one cluster", "visible alone"])
def test_an_epoch_without_joint_clusters_goes_on(make, monkeypatch, y):
    stage, said = make(*NO_CAMERAS, without=()), []
    split, total = len(stage.data.visible), sum(map(len, stage.image_lists()))
    labels = np.zeros(total, dtype=np.int64)
    if y == "visible alone":
        labels[:10], labels[split:] = 1, -1
    monkeypatch.setattr(stage, "joint_labels", lambda _: labels)
    monkeypatch.setattr(stage.run.log, "say", said.append)
    assert [step for step, _ in streams(stage)] == [""]
    assert sum("no inter-modality step" in line for line in said) == 1
    assert set(stage.labels) == {"visible", "infrared"}


# --- flags, facts ---


def test_too_few_clusters_within_a_camera_name_their_flag(make):
    stage = make("--eps-camera", "0.001")
    with pytest.raises(UserError, match=r"camera \d images .* raise --eps-camera \(now"):
        next(stage.refresh(0))


def test_a_unification_without_any_label_is_refused(make):
    """With all infrared images as voters, their outliers may win everywhere."""
    stage = make("--unify-from", "0")
    features = stage.extract(stage.encoder)
    with pytest.raises(UserError, match="every visible image without a label"):
        stage.unify(features, np.full(len(features[1]), -1))


def test_images_without_a_camera_number_are_refused(make, monkeypatch):
    stage = make()
    index = stage.data.infrared.index
    unknown = ImageList("infrared", index.paths, index.identities, np.full(len(index), -1), None)
    monkeypatch.setattr(stage, "image_lists", lambda: (stage.data.visible.index, unknown))
    with pytest.raises(UserError, match="some infrared training images have no camera number"):
        stage.check_flags()


def test_clusters_within_cameras_are_graded_by_identity_and_camera(make, monkeypatch):
    """Labels that are the identities agree with them, camera by camera."""
    stage = make("--joint-epochs", "0")

    def cluster(name, features, *_):
        if "camera" not in name:
            return known(name)
        modality, _, camera = name.split()
        return known(modality, int(camera))

    def known(modality, camera=None):
        images = stage.image_lists()[modality == "infrared"]
        some = images.identities[images.cameras == camera] if camera else images.identities
        return np.unique(some, return_inverse=True)[1]

    monkeypatch.setattr(gur, "cluster", cluster)
    list(streams(stage))
    for name, images in zip(gur.MODALITIES, stage.image_lists(), strict=True):
        pairs = set(zip(images.identities, images.cameras, strict=True))
        assert stage.facts[f"camera_{name}"]["clusters"] == len(pairs)
        assert stage.facts[f"camera_{name}"]["ari"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("dataset", "variant", "expected"),
    [
        ("sysu", "upstream", (True, True, 0.6, 50, 30, 40, 20, 40)),
        ("sysu", "no-cameras", (False, False, 0.6, 50, 30, 40, 20, 40)),
        ("regdb", "upstream", (False, True, 0.3, 30, 20, 20, 10, 25)),
        ("regdb", "no-cameras", (False, False, 0.3, 30, 20, 20, 10, 25)),
        ("llcm", "upstream", (False, False, 0.6, 50, 30, 40, 20, 40)),
    ],
)
def test_defaults(dataset, variant, expected):
    a = parse(dataset, ["--method", "gur", "--variant", variant]).at("bottomup")
    names = "intra_camera cam eps_joint epochs unify_from smooth_from unify_neighbours joint_epochs"
    assert tuple(getattr(a, name) for name in names.split()) == expected
    assert a.precision == "fp32"
    assert a.joint_iters == a.iters == (100 if dataset == "regdb" else 200)


def test_the_joint_step_follows_the_number_of_iterations():
    a = parse("sysu", ["--method", "gur", "--iters", "7"]).at("bottomup")
    assert (a.iters, a.joint_iters, a.camera_iters) == (7, 7, 50)
