"""A run and the images that it belongs to: another set is refused, or has a report of its own."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import tiny_runs
import torch

from clustercontrast.__main__ import main
from clustercontrast.commands import cli, testing
from clustercontrast.commands.report import main as report
from clustercontrast.data.images import open_prepared

OTHERS = 4
"""Seed of a second set of rendered people."""


@pytest.fixture
def small(monkeypatch):
    tiny_runs.use_small_encoder(monkeypatch)


SHORT = ["--epochs", "1", "--iters", "1"]


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """Logs of a run after its first stage."""
    logs = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patch:
        tiny_runs.use_small_encoder(patch)
        cli.train("sysu", [*tiny_runs.arguments("adca", logs, *SHORT), "--stages", "intra"])
    yield logs
    shutil.rmtree(logs)


@pytest.fixture
def begun(once, tmp_path, small):
    """A copy of it: its command line, without the stages, and its folder."""
    shutil.copytree(once, tmp_path / "logs")
    argv = tiny_runs.arguments("adca", tmp_path / "logs", *SHORT)
    return argv, tiny_runs.run_folder(tmp_path / "logs", "adca")


@pytest.fixture
def refused(capsys):
    def run(command, *argv) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            command(*argv)
        lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
        assert leaving.value.code == 2
        assert len(lines) == 1, lines
        return lines[0]

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def cache(seed: int = 3) -> str:
    return f"{tiny_runs.dataset('sysu', seed)}-32x16"


def digest(seed: int = 3) -> str:
    return open_prepared(Path(cache(seed)), "sysu").provenance.digest


def test_the_images_are_on_record_wherever_a_run_leaves_something(begun):
    _, folder = begun
    expected = open_prepared(Path(cache()), "sysu").provenance.json()
    assert expected["rendered"] is expected["complete"] is True
    said = [torch.load(path)["about"] for path in (folder / "intra").glob("*.pth")]
    said += [json.loads((folder / n).read_text())["about"] for n in ("config.json", "report.json")]
    assert len(said) == 6  # last, best by two rules, start
    assert all(about["images"] == expected for about in said)


def test_a_run_does_not_go_on_with_other_images(begun, refused):
    argv, folder = begun
    before = content(folder)
    line = refused(cli.train, "sysu", [*argv, "--data-dir", str(tiny_runs.dataset("sysu", OTHERS))])
    assert "other images" in line
    assert "--data-dir" in line
    assert content(folder) == before


def test_a_run_goes_on_with_a_copy_of_its_images(begun, tmp_path):
    argv, folder = begun
    copied = shutil.copytree(cache(), tmp_path / "elsewhere")
    cli.train("sysu", [*argv, "--cache-dir", str(copied)])
    assert {event["stage"] for event in tiny_runs.events(folder)} == {"intra", "cross"}


def no_config(folder):
    (folder / "config.json").unlink()


def empty_config(folder):
    (folder / "config.json").write_text("{}")


def list_for_config(folder):
    (folder / "config.json").write_text("[]")


def half_a_config(folder):
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text[: len(text) // 2])


def config_of_other_flags(folder):
    """It agrees with the command, and not with what was trained."""
    state = torch.load(folder / "intra" / "last.pth")
    state["numbers"]["lr"] = 0.1
    torch.save(state, folder / "intra" / "last.pth")


def config_of_other_images(folder):
    state = torch.load(folder / "intra" / "last.pth")
    state["about"]["images"]["digest"] = digest(OTHERS)
    torch.save(state, folder / "intra" / "last.pth")


def foreign_bytes(folder):
    with (folder / "metrics.jsonl").open("r+b") as file:
        file.write(b"\xff\xfe\x00")


def a_list_of_numbers(folder):
    torch.save([1, 2], folder / "intra" / "last.pth")


def state_without_networks(folder):
    state = torch.load(folder / "intra" / "last.pth")
    del state["networks"]
    torch.save(state, folder / "intra" / "last.pth")


def best_without_weights(folder):
    model = torch.load(folder / "intra" / "best_test.pth")
    del model["weights"]
    torch.save(model, folder / "intra" / "best_test.pth")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_config, "config.json does not exist"),
        (empty_config, "config.json is damaged (about is missing)"),
        (list_for_config, "config.json is damaged (it is []"),
        (half_a_config, "config.json is damaged"),
        (config_of_other_flags, "another --lr (0.1 there)"),
        (config_of_other_images, "other images"),
        (foreign_bytes, "metrics.jsonl, line 1 is damaged"),
        (a_list_of_numbers, "last.pth is damaged or of an earlier version"),
        (state_without_networks, "networks is missing"),
        (best_without_weights, "best_test.pth is damaged or of an earlier version"),
    ],
)
def test_damaged_run_files_are_refused_and_kept(begun, refused, spoil, said):
    argv, folder = begun
    spoil(folder)
    before = content(folder / "intra")
    assert said in refused(cli.train, "sysu", argv)
    assert content(folder / "intra") == before


def test_flags_are_compared_before_another_process_is_waited_for(begun, refused):
    from filelock import FileLock

    argv, folder = begun
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        assert "--lr" in refused(cli.train, "sysu", [*argv, "--lr", "0.1"])


# --- tests on other images ---


def test_on_other_people_a_run_has_a_report_of_its_own(begun, capsys):
    _, folder = begun
    before = content(folder)
    others = str(tiny_runs.dataset("sysu", OTHERS))
    cli.test("sysu", [str(folder), "--data-dir", others, "--device", "cpu", "--draws", "1"])
    name = f"tested-on-sysu-{digest(OTHERS)[:6]}"
    new = content(folder).keys() - before.keys()
    assert new == {f"{name}.txt", f"{name}.md", f"{name}.json"}
    assert {key: own for key, own in content(folder).items() if key in before} == before
    found = json.loads((folder / f"{name}.json").read_text())
    assert found["about"]["images"]["digest"] == digest()
    assert found["about"]["tested_on"]["digest"] == found["images"]["digest"] == digest(OTHERS)
    heading = "trained on rendered SYSU-MM01 layout (tested on other images of rendered SYSU-MM01"
    assert heading in f"{found['title']} ({found['dataset']})"
    assert heading in capsys.readouterr().out
    best = next(row["model"] for row in found["results"] if row["selection"] == "test")
    assert best == "best on the test set of rendered SYSU-MM01 layout"


def test_on_another_dataset_a_run_has_a_report_of_its_own(begun, capsys):
    _, folder = begun
    before = (folder / "report.json").read_bytes()
    place = ["--data-dir", str(tiny_runs.dataset("regdb")), "--device", "cpu"]
    main(["test", "--dataset", "regdb", str(folder), *place, "--trial", "2"])
    (file,) = folder.glob("tested-on-regdb-*-trial2.json")
    found = json.loads(file.read_text())
    assert found["title"].endswith("trained on rendered SYSU-MM01 layout")
    assert found["dataset"] == "tested on rendered RegDB layout"
    assert found["about"]["dataset"] == "sysu"
    assert found["about"]["tested_on"]["trial"] == 2
    assert {row["mode"] for row in found["results"]} == {
        "visible_to_infrared",
        "infrared_to_visible",
    }
    assert (folder / "report.json").read_bytes() == before


def test_a_dataset_with_trials_asks_for_one(begun, refused):
    _, folder = begun
    place = ["--data-dir", str(tiny_runs.dataset("regdb")), "--device", "cpu"]
    line = refused(main, ["test", "--dataset", "regdb", str(folder), *place])
    assert "--trial" in line


def test_the_page_of_a_run_shows_its_own_images(begun, refused):
    _, folder = begun
    others = str(tiny_runs.dataset("sysu", OTHERS))
    line = refused(report, ["html", str(folder), "--data-dir", others, "--device", "cpu"])
    assert "--data-dir" in line
    assert not (folder / "report.html").exists()


def test_incomplete_images_mark_every_form_of_every_report(tmp_path, small, capsys):
    people = Path(shutil.copytree(tiny_runs.dataset(), tmp_path / "people"))
    next(people.glob("cam1/*/*.jpg")).unlink()
    place = ["--data-dir", str(people)]
    cli.prepare("sysu", [*place, *tiny_runs.SIZE, "-j", "1", "--allow-incomplete"])
    assert "verified" not in capsys.readouterr().out
    cli.train("sysu", [*tiny_runs.arguments("adca", tmp_path, *SHORT), *place])
    folder = tiny_runs.run_folder(tmp_path, "adca")
    report(["html", str(folder), "--device", "cpu"])
    report(["tables", str(folder), "--out", str(tmp_path)])
    forms = [folder / f"report.{form}" for form in ("txt", "md", "json", "html")]
    forms += [tmp_path / f"tables.{form}" for form in ("md", "tex", "json")]
    for form in forms:
        assert "--allow-incomplete" in form.read_text(), form


# --- prepared images ---


def test_a_changed_array_is_not_tested(begun, refused, tmp_path):
    _, folder = begun
    copied = Path(shutil.copytree(cache(), tmp_path / "elsewhere"))
    pixels = np.load(copied / "test_visible.npy")
    np.save(copied / "test_visible.npy", np.zeros_like(pixels))
    line = refused(cli.test, "sysu", [str(folder), "--cache-dir", str(copied), "--device", "cpu"])
    assert f"test_visible.npy: {len(pixels)} of {len(pixels)} images are not those" in line


@pytest.mark.parametrize("ending", ["/", "//", "/.", "/../people"])
def test_the_cache_lies_beside_a_dataset_however_its_folder_is_written(tmp_path, ending):
    people = shutil.copytree(tiny_runs.dataset(), tmp_path / "people")
    before = sorted(people.rglob("*"))
    cli.prepare("sysu", ["--data-dir", f"{people}{ending}", *tiny_runs.SIZE, "-j", "1"])
    assert sorted(people.rglob("*")) == before
    assert (tmp_path / "people-32x16" / "index.json").exists()


def test_one_place_for_all_prepared_images(tmp_path, refused):
    place = ["--data-dir", str(tiny_runs.dataset()), "--cache-root", str(tmp_path / "caches")]
    line = refused(cli.train, "sysu", [*tiny_runs.arguments("adca", tmp_path), *place])
    assert f"--cache-root {tmp_path / 'caches'}" in line
    cli.prepare("sysu", [*place, *tiny_runs.SIZE, "-j", "1"])
    assert (tmp_path / "caches" / "people-32x16" / "index.json").exists()
    assert open_prepared(tmp_path / "caches" / "people-32x16", "sysu").provenance.digest == digest()


# --- weights, models and files of other runs ---


def test_marks_of_the_weights_a_run_starts_from_are_its_own(tmp_path, small):
    """Trained elsewhere on incomplete images with test identities among them."""
    argv = tiny_runs.arguments("adca", tmp_path, *SHORT)
    cli.train("sysu", [*argv, "--stages", "intra", "--name", "first"])
    path = tiny_runs.run_folder(tmp_path, "adca", "first") / "intra" / "last.pth"
    state = torch.load(path)
    state["about"]["images"] |= {"complete": False, "leak": True, "digest": digest(OTHERS)}
    torch.save(state, path)
    cli.train("sysu", [*argv, "--stages", "cross", "--start-from", str(path)])
    text = (tiny_runs.run_folder(tmp_path, "adca") / "report.txt").read_text()
    assert "--allow-incomplete" in text
    assert "--allow-leak" in text


def other_stage(folder):
    shutil.copy(folder / "intra" / "last.pth", folder / "cross" / "last.pth")


def other_images(folder):
    path = folder / "cross" / "best_test.pth"
    model = torch.load(path)
    model["about"]["images"]["digest"] = digest(OTHERS)
    torch.save(model, path)


def other_config(folder):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["about"]["images"]["digest"] = digest(OTHERS)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("put", [other_stage, other_images, other_config])
def test_models_of_other_runs_are_not_tested_as_a_runs_own(begun, refused, put):
    argv, folder = begun
    cli.train("sysu", argv)
    put(folder)
    before = (folder / "report.json").read_bytes()
    line = refused(cli.test, "sysu", [str(folder), "--device", "cpu", "--draws", "1"])
    assert "of another run or stage" in line
    assert (folder / "report.json").read_bytes() == before


def test_overwriting_deletes_nothing_before_the_command_can_start(begun, refused):
    argv, folder = begun
    before = content(folder)
    for wrong in (["--pseudo-labels", "nowhere.npz"], ["--pretrained", "nowhere.pth"]):
        flags = [word for word in argv if word != "random"]
        at = flags.index("--pretrained")
        words = [*flags[:at], *flags[at + 1 :], "--overwrite", *wrong]
        if wrong[0] == "--pseudo-labels":
            words = ["--method", "adca", *words[words.index("--data-dir") :]]
            for flag in ("--k1", "--k2", "--eps", "--min-samples"):
                place = words.index(flag)
                words = words[:place] + words[place + 2 :]
            words += ["--pretrained", "random"]
        assert "no such file" in refused(cli.train, "sysu", words)
        assert content(folder) == before


def test_overwriting_deletes_what_was_reported_before(begun):
    argv, folder = begun
    others = str(tiny_runs.dataset("sysu", OTHERS))
    cli.test("sysu", [str(folder), "--data-dir", others, "--device", "cpu", "--draws", "1"])
    assert list(folder.glob("tested-on-*"))
    cli.train("sysu", [*argv, "--stages", "intra", "--overwrite"])
    assert not list(folder.glob("tested-on-*"))
    assert (folder / "report.json").exists()


def test_one_model_is_tested_on_one_trial(begun, refused):
    _, folder = begun
    place = ["--data-dir", str(tiny_runs.dataset("regdb")), "--device", "cpu"]
    line = refused(main, ["test", "--dataset", "regdb", str(folder), *place, "--trial", "1", "2"])
    assert "one --trial" in line


def test_images_of_another_dataset_are_replaced_on_request_alone(tmp_path, refused):
    place = shutil.copytree(cache(), tmp_path / "cache")
    open_prepared(place, "sysu")  # leaves a stamp
    before = content(place)
    others = ["--data-dir", str(tiny_runs.dataset("sysu", OTHERS)), "--cache-dir", str(place)]
    line = refused(cli.prepare, "sysu", [*others, *tiny_runs.SIZE, "-j", "1"])
    assert "--overwrite" in line
    assert content(place) == before
    cli.prepare("sysu", [*others, *tiny_runs.SIZE, "-j", "1", "--overwrite"])
    assert open_prepared(place, "sysu").provenance.digest == digest(OTHERS)


def test_files_of_the_same_size_with_other_pixels_are_prepared_anew(tmp_path, capsys):
    people = Path(shutil.copytree(tiny_runs.dataset("regdb"), tmp_path / "people"))
    words = ["--data-dir", str(people), *tiny_runs.SIZE, "-j", "1"]
    cli.prepare("regdb", words)
    cli.prepare("regdb", words)
    assert "is prepared already" in capsys.readouterr().out
    path = next(people.glob("Visible/*/*.bmp"))
    changed = bytearray(path.read_bytes())
    changed[-100:] = bytes(255 - value for value in changed[-100:])
    path.write_bytes(changed)
    cli.prepare("regdb", words)
    assert "wrote" in capsys.readouterr().out


def test_images_are_delivered_where_models_are_tested(begun, monkeypatch):
    """A device that is not the CPU, without values."""
    _, folder = begun
    monkeypatch.setattr(testing, "choose_device", torch.device)
    places = dict.fromkeys(("data_dir", "cache_dir", "cache_root", "height", "width"))
    args = Namespace(**places, device="meta", test_batch=64, draws=1)
    images = testing.open_evaluation("sysu", args, folder).images
    assert {own.gather(torch.arange(2)).device.type for own in images.values()} == {"meta"}
