"""Stage 1 of CMAM-UDA: the diffusion model and the fake infrared images it makes."""

import ast
import inspect
import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_cmam
import tiny_runs
import torch
from PIL import Image

from clustercontrast.engine.loop import take_step, train
from clustercontrast.engine.run import Run
from clustercontrast.engine.sharing import places, process_of
from clustercontrast.files import UserError
from clustercontrast.generation import panels
from clustercontrast.generation.fake_infrared import FakeSet, noise_of, quantised
from clustercontrast.losses.denoising import denoising_loss
from clustercontrast.methods import METHODS
from clustercontrast.methods.cmam.auxiliary_labels import AuxiliaryLabels
from clustercontrast.methods.cmam.diffusion import Diffusion, build_generator, draw_images, edges_of
from clustercontrast.methods.cmam.generation import Generation
from clustercontrast.processes import ranks

COUNT = tiny_cmam.PEOPLE * tiny_cmam.SHOTS


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A world whose generator has learnt for two epochs of two iterations."""
    folder = tmp_path_factory.mktemp("diffusion")
    data = tiny_cmam.world(folder)
    stage = diffusion(folder, data)
    train(stage, stage.run)
    return folder, data, stage


def diffusion(folder, data, *flags):
    run = Run(data.places["diffusion"], torch.device("cpu"))
    torch.manual_seed(5)
    stage = Diffusion(tiny_cmam.options(*flags).at("diffusion"), data, run)
    stage.setup()
    run.resume(stage)
    return stage


def generation(data, place, *flags):
    """The stage over empty sets in a folder of their own."""
    data.places["generation"] = place
    run = Run(place, torch.device("cpu"))
    return Generation(tiny_cmam.options(*flags).at("generation"), data, run)


def make(stage):
    stage.setup()
    assert list(stage.refresh(0)) == []


def contents(place, name):
    return np.load(place / f"{name}.npy"), np.load(place / f"{name}.done.npy")


# --- the sheet of sampling steps ---


def rows_of_sheet(picture, count):
    """(rows, images, h, w, 3) pixels of a sheet."""
    pixels, (height, width) = np.asarray(picture), tiny_cmam.SMALL
    tops = range(panels.HEADING + panels.MARGIN, len(pixels) - height, height + panels.MARGIN)
    lefts = [panels.LABELS + i * (width + panels.MARGIN) for i in range(count)]
    return np.array(
        [[pixels[top : top + height, left : left + width] for left in lefts] for top in tops]
    )


def test_a_sheet_shows_the_same_images_at_every_number_of_steps(trained, tmp_path):
    """At the run's own 3 steps it shows the run's fakes; images are the source's, evenly spaced."""
    _, data, _ = trained
    stage = generation(data, tmp_path)
    make(stage)
    fakes, done = contents(tmp_path, "source")
    data.device = torch.device("cpu")
    shown = rows_of_sheet(Generation.sheet(data, (1, 3, 9), count=4), 4)
    chosen = [0, 11, 23, 35]
    assert len(shown) == 5  # images, edges, and a row for every number
    np.testing.assert_array_equal(shown[0], data.small["source"].pixels[chosen])
    assert done[chosen].tolist() == [False, True, True, True]  # the first has no cluster
    np.testing.assert_array_equal(shown[3][1:], fakes[chosen[1:]].repeat(3, -1))
    assert not np.array_equal(shown[2], shown[3])
    assert not np.array_equal(shown[3], shown[4])


def test_a_sheet_of_half_a_training_is_refused(tmp_path):
    data = tiny_cmam.world(tmp_path)
    data.device = torch.device("cpu")
    with pytest.raises(UserError, match="no generator: run --stages diffusion to its end first"):
        Generation.sheet(data, (1,), count=2)


# --- training ---


def test_held_out_images_are_never_trained_on(trained):
    _, data, stage = trained
    assert len(stage.held_out) == round(0.1 * COUNT)
    assert not set(stage.held_out.tolist()) & set(stage.training.tolist())
    drawn = {
        row
        for epoch in range(2)
        for batch in next(stage.refresh(epoch))
        for row in batch.images.rows.tolist()
    }
    assert drawn <= set(stage.training.tolist())
    assert len(data.small["train_infrared"]) == len(stage.held_out) + len(stage.training)


def test_average_follows_with_a_half_life_in_images(tmp_path):
    """5.6: decay per step 0.5^(B / h), h = 0.05 times the images seen, from 0 on."""
    stage = diffusion(tmp_path, tiny_cmam.world(tmp_path), "--ema-ramp", "0.5")
    batches = iter(next(stage.refresh(0)))
    trained = stage.generator["denoiser"].output[-1].weight
    averaged = stage.average.network["denoiser"].output[-1].weight
    for step in (1, 2):
        before = averaged.clone()
        for name, terms in stage.iteration(next(batches), 0):
            stage.optimisers[name].optimiser.param_groups[0]["lr"] = 1e-2
            take_step(stage.optimisers[name], terms)
        decay = 0.5 ** (8 / (0.5 * 8 * step))
        assert stage.average.decay == pytest.approx(decay)
        torch.testing.assert_close(averaged, decay * before + (1 - decay) * trained.detach())
        assert not torch.equal(before, trained)


def test_without_average_the_last_weights_draw(tmp_path):
    stage = diffusion(tmp_path, tiny_cmam.world(tmp_path), "--no-ema")
    train(stage, stage.run)
    pairs = zip(stage.generator.parameters(), stage.average.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_two_steps_train_the_network_first_and_the_adapter_then(tmp_path):
    """A35: half of the epochs without a condition, then the adapter alone."""
    stage = diffusion(tmp_path, tiny_cmam.world(tmp_path), "--no-joint-adapter")
    for epoch, learning in ((0, "denoiser"), (1, "adapter")):
        before = {n: p.clone() for n, p in stage.generator.named_parameters()}
        for _ in range(2):  # zero-initialised last layers let gradients through from step 2 on
            for batch in next(stage.refresh(epoch)):
                for name, terms in stage.iteration(batch, epoch):
                    take_step(stage.optimisers[name], terms)
        after = dict(stage.generator.named_parameters())
        moved = {n.split(".")[0] for n, p in after.items() if not torch.equal(p, before[n])}
        assert moved == {learning}


def test_gradients_that_are_not_finite_count_as_zero(tmp_path):
    stage = diffusion(tmp_path, tiny_cmam.world(tmp_path))
    parameter = next(stage.generator.parameters())
    (parameter.sum() * torch.tensor(float("nan"))).backward()
    assert torch.equal(parameter.grad, torch.zeros_like(parameter))


def lose(monkeypatch, *lost):
    """Make the loss of some batches undefined; that of held-out images needs no gradient."""
    numbers = itertools.count()

    def loss(*given):
        found = denoising_loss(*given)
        broken = torch.is_grad_enabled() and next(numbers) in lost
        return (found * float("inf") - found * float("inf")) if broken else found

    monkeypatch.setattr("clustercontrast.methods.cmam.diffusion.denoising_loss", loss)


def test_a_batch_that_is_lost_ends_nothing(tmp_path, monkeypatch):
    """Its gradients count as zero; the log tells how many there were."""
    stage = diffusion(tmp_path, tiny_cmam.world(tmp_path), "--iters", "4")
    lose(monkeypatch, 1)
    train(stage, stage.run)
    assert all(p.isfinite().all() for p in stage.generator.parameters())
    first, second = tiny_runs.events(stage.run.folder)
    assert (first["loss"]["lost_batches"], second["loss"]["lost_batches"]) == (0.25, 0)


def test_an_epoch_that_is_lost_is_named(tmp_path, monkeypatch):
    stage = diffusion(tmp_path, tiny_cmam.world(tmp_path), "--iters", "4")
    lose(monkeypatch, 4, 5, 7)
    with pytest.raises(UserError, match="loss of 3 of 4 batches is not finite in epoch 1 of"):
        train(stage, stage.run)
    assert stage.run.reached("diffusion") == 0


def test_an_epoch_may_be_one_pass(tmp_path):
    stage = diffusion(tmp_path, tiny_cmam.world(tmp_path), "--iters", "0", "--held-out", "0")
    assert len(list(next(stage.refresh(0)))) == stage.iterations == -(-COUNT // 8)


def test_two_steps_need_two_epochs(tmp_path):
    with pytest.raises(UserError, match="--no-joint-adapter needs two epochs"):
        diffusion(tmp_path, tiny_cmam.world(tmp_path), "--no-joint-adapter", "--epochs", "1")


def test_resumed_diffusion_equals_undisturbed(trained, tmp_path):
    data = tiny_cmam.world(tmp_path)
    stage = diffusion(tmp_path, data)
    closing = stage.run.close_epoch

    def killed(own, epoch):
        closing(own, epoch)
        raise KeyboardInterrupt

    stage.run.close_epoch = killed
    with pytest.raises(KeyboardInterrupt):
        train(stage, stage.run)
    again = diffusion(tmp_path, data)
    train(again, again.run)
    for ours, theirs in zip(
        again.average.state_dict().values(), trained[2].average.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_every_epoch_leaves_a_picture(trained):
    folder, _, _ = trained
    for epoch in range(2):
        with Image.open(folder / "diffusion" / "diffusion" / f"preview_{epoch:03d}.png") as picture:
            assert picture.width > 8 * tiny_cmam.SMALL[1]
            assert len(picture.convert("L").getcolors(256)) > 10


# --- images ---


def test_noise_depends_on_the_path_and_the_seed_alone():
    a = noise_of(["x", "y"], (16, 8, 1), seed=0)
    assert torch.equal(a[1:], noise_of(["y"], (16, 8, 1), seed=0))
    assert not torch.equal(a[0], a[1])
    assert not torch.equal(a, noise_of(["x", "y"], (16, 8, 1), seed=1))
    many = noise_of([str(i) for i in range(200)], (16, 8, 1), seed=0)
    assert float(many.mean()) == pytest.approx(0, abs=0.02)
    assert float(many.std()) == pytest.approx(1, abs=0.02)


def test_values_are_clipped_and_rounded():
    images = torch.tensor([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0])[None, None, None]
    assert quantised(images).flatten().tolist() == [0, 0, 128, 191, 255, 255]


def test_an_image_alone_and_among_others_is_the_same(trained):
    """Equal bytes in float32."""
    _, data, stage = trained
    network = stage.average.network.eval()
    for parameter in network["denoiser"].parameters():  # a trained network, not a zeroed one
        parameter.data += 0.02 * torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(0)
        )
    images = data.small["source"]
    pixels = images.gather(torch.arange(8))
    noise = noise_of(images.index.paths[:8], (*tiny_cmam.SMALL, 1), 0)
    with torch.no_grad():
        edges = edges_of(pixels, stage.args)
        together = quantised(draw_images(network, edges, noise, stage.args))
        alone = [
            quantised(draw_images(network, edges[i : i + 1], noise[i : i + 1], stage.args))
            for i in range(8)
        ]
    assert torch.equal(together, torch.cat(alone))
    assert together.float().std() > 1


# --- the stage ---


def test_every_wanted_image_and_no_other_is_made(trained, tmp_path):
    _, data, _ = trained
    stage = generation(data, tmp_path)
    assert not stage.is_finished()
    stage.setup()
    stage.run.resume(stage)
    train(stage, stage.run)
    assert stage.is_finished()
    _, done = contents(tmp_path, "source")
    labelled = np.arange(COUNT) % tiny_cmam.SHOTS != 0
    assert np.array_equal(done, labelled)  # images without a cluster are not used
    assert contents(tmp_path, "train_visible")[1].all()
    assert not (tmp_path / "test_visible.npy").exists()
    for name in ("source", "train_visible"):
        assert Image.open(tmp_path / f"{name}.png").width > 100


def test_all_source_images_on_request_and_only_the_missing_ones_then(trained, tmp_path):
    _, data, _ = trained
    make(generation(data, tmp_path))
    before, done = contents(tmp_path, "source")
    stage = generation(data, tmp_path, "--no-only-clustered")
    assert not stage.is_finished()
    make(stage)
    after, everything = contents(tmp_path, "source")
    assert everything.all()
    assert np.array_equal(before[done], after[done])
    assert stage.facts["source"]["images"] == tiny_cmam.PEOPLE
    assert stage.facts["train_visible"]["images"] == 0


def test_interrupted_and_resumed_equals_undisturbed(trained, tmp_path, monkeypatch):
    """Batches are cut elsewhere the second time."""
    _, data, _ = trained
    make(generation(data, tmp_path / "a"))
    stage = generation(data, tmp_path / "b", "--batch-size", "5")
    stage.setup()
    write, left = FakeSet.write, [3]

    def interrupted(fakes, rows, pixels):
        write(fakes, rows, pixels)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FakeSet, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(stage.refresh(0))
    assert contents(tmp_path / "b", "source")[1].sum() == 15
    make(generation(data, tmp_path / "b", "--batch-size", "7"))
    for name in ("source", "train_visible"):
        for ours, theirs in zip(
            contents(tmp_path / "a", name), contents(tmp_path / "b", name), strict=True
        ):
            assert np.array_equal(ours, theirs)


def test_shards_together_make_everything(trained, tmp_path, monkeypatch):
    """Shard 0 makes the files; while it waits for shard 1's images, shard 1 makes them."""
    _, data, _ = trained
    make(generation(data, tmp_path / "a"))
    stages = [generation(data, tmp_path / "b", "--shard", name) for name in ("0/2", "1/2")]
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        make(stages[1])

    with monkeypatch.context() as patch:
        patch.setattr("clustercontrast.methods.cmam.generation.time.sleep", sleep)
        make(stages[0])
    assert len(waits) == 1
    for stage in stages:
        assert stage.facts["train_visible"]["images"] == COUNT // 2
    for name in ("source", "train_visible"):
        ours, theirs = contents(tmp_path / "a", name), contents(tmp_path / "b", name)
        assert np.array_equal(ours[0], theirs[0])
        assert np.array_equal(ours[1], theirs[1])


def test_processes_that_work_together_are_shards(monkeypatch):
    args = tiny_cmam.options().at("generation")
    assert process_of(args) == (0, 1)
    monkeypatch.setattr(ranks.Together, "number", 2)
    monkeypatch.setattr(ranks.Together, "count", 4)
    assert process_of(args) == (2, 4)
    assert process_of(tiny_cmam.options("--shard", "1/3").at("generation")) == (1, 3)
    for wrong in ("3/3", "1", "a/b", "1/-2"):
        with pytest.raises(UserError, match="is not I/N"):
            tiny_cmam.options("--shard", wrong)


def test_fakes_of_other_images_are_refused(trained, tmp_path):
    _, data, _ = trained
    make(generation(data, tmp_path))
    other = tiny_cmam.patterns("visible", 9, tiny_cmam.SMALL)
    with pytest.raises(UserError, match="lists other images than source has now: delete"):
        FakeSet(tmp_path, "source", other.index)


def test_no_generator_is_named(tmp_path):
    stage = generation(tiny_cmam.world(tmp_path), tmp_path / "fakes")
    with pytest.raises(UserError, match="holds no generator: run --stages diffusion to its end"):
        stage.setup()


def test_half_a_generator_draws_nothing(trained, tmp_path):
    """Fakes of it would be kept as if they were the whole one's."""
    _, data, _ = trained
    later = SimpleNamespace(**vars(data) | {"options": tiny_cmam.options("--epochs", "3")})
    with pytest.raises(UserError, match=r"holds epoch 1 of 2: run --stages diffusion to its end"):
        generation(later, tmp_path / "fakes").setup()


def test_fakes_for_training_are_enlarged_and_gray(tmp_path):
    data = tiny_cmam.world(tmp_path)
    fakes = FakeSet(data.places["generation"], "source", data.source.index)
    array = fakes.array(tiny_cmam.SIZE)
    some = array.gather(torch.tensor([3, 1]))
    assert some.shape == (2, *tiny_cmam.SIZE, 3)
    assert some.dtype == torch.uint8
    assert torch.equal(some[..., 0], some[..., 2])
    whole = torch.cat(list(array.chunks(10)))
    assert torch.equal(whole[[3, 1]], some)
    small = fakes.array(tiny_cmam.SMALL).gather(torch.tensor([3]))
    assert np.array_equal(small[0, :, :, 0].numpy(), fakes.pixels[3, :, :, 0])
    smooth = float((some[0, ::2, ::2, 0].float() - small[0, :, :, 0].float()).abs().mean())
    assert smooth < 40


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_that_are_drawn(tmp_path, channels):
    args = tiny_cmam.options("--fake-channels", str(channels)).at("generation")
    network = build_generator(args)
    noise = torch.zeros(2, channels, *tiny_cmam.SMALL)
    edges = torch.zeros(2, 1, *tiny_cmam.SMALL)
    with torch.no_grad():
        assert draw_images(network, edges, noise, args).shape == noise.shape


def test_sizes_that_cannot_be_halved_are_refused():
    args = tiny_cmam.options("--fake-width", "9").at("diffusion")
    with pytest.raises(UserError, match="--fake-height, --fake-width, --unet-multipliers"):
        build_generator(args)


# --- what shared files depend on ---

RUNNING = {  # read by the stages, but without a say in what they leave
    "test_batch", "shard", "only_clustered", "pair", "models", "eval_branch", "batch_size",
}  # fmt: skip


def flags_read(stage):
    """Names behind ``args.``, ``a.`` and ``self.args.`` in the file of a stage."""
    tree = ast.parse(Path(inspect.getfile(stage)).read_text(encoding="utf-8"))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and (
            (isinstance(node.value, ast.Name) and node.value.id in ("a", "args"))
            or (isinstance(node.value, ast.Attribute) and node.value.attr == "args")
        )
    }


@pytest.mark.parametrize(
    ("stage", "drawing"), [(AuxiliaryLabels, False), (Diffusion, True), (Generation, False)]
)
def test_no_flag_is_forgotten_that_shared_files_depend_on(stage, drawing):
    """Diffusion's file also holds how images are drawn, for its previews alone."""
    others = set(Generation.reads) if drawing else set()
    forgotten = flags_read(stage) - set(stage.reads) - RUNNING - others
    if stage is Generation:
        forgotten -= {"fake_height", "fake_width", "fake_channels"}  # the generator's
    assert not forgotten
    known = vars(tiny_cmam.options().at(stage.name))
    assert set(stage.reads) <= known.keys()


def test_places_follow_what_files_depend_on(tmp_path):
    def found(*flags, source="x", target="x"):
        options = tiny_cmam.options("--logs-dir", str(tmp_path), *flags)
        images = {"source": {"digest": source}, "target": {"digest": target}}
        data = SimpleNamespace(options=options, basis=images.get)
        return {name: path.name for name, path in places(data, METHODS["cmam"]).items()}

    before = found()
    assert before.keys() == {"auxiliary", "diffusion", "generation"}

    def changed(*flags, **images):
        return {name for name, place in found(*flags, **images).items() if place != before[name]}

    assert changed("--clusters", "7", "--name", "other", "--test-batch", "3") == set()
    assert changed("--parts", "1") == {"auxiliary"}
    assert changed("--unet-width", "32") == {"diffusion", "generation"}
    assert changed("--sampling-steps", "5") == {"generation"}
    assert changed("--source", "y", "--data-dir", "y") == set()  # where the same images lie
    assert changed(source="y") == {"auxiliary", "generation"}
    assert changed(target="y") == {"diffusion", "generation"}
    assert changed("--lr", "auxiliary=1") == {"auxiliary"}
    assert changed("--lr", "selftrain=1") == set()
