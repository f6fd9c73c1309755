"""The commands behind the root scripts: prepare, train, test.  It alone knows everything."""

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import numpy as np
import torch

import clustercontrast
from clustercontrast.data import sysu
from clustercontrast.data.images import ImageArray, Prepared, open_prepared
from clustercontrast.data.images import prepare as prepare_images
from clustercontrast.data.verify import facts, images_per_camera, verify_counts
from clustercontrast.engine import checkpoint
from clustercontrast.engine.pipeline import run_pipeline
from clustercontrast.engine.run import Run, saved_model
from clustercontrast.engine.stage import Stage
from clustercontrast.evaluation.protocols import SYSU_MODES, summarise
from clustercontrast.evaluation.scoring import chance_draws, sysu_draws, training_cycle
from clustercontrast.files import UserError, atomic, read_json, write_error, write_json
from clustercontrast.methods import METHODS
from clustercontrast.models import weights
from clustercontrast.options import OneLineParser, Options, count, number, parse
from clustercontrast.recipes import RECIPES
from clustercontrast.report.figures import curves
from clustercontrast.report.tables import sysu_table

READERS = {"sysu": sysu}
MODELS = {  # the three results of a run, and what they are measured against
    "start": "first weights (--pretrained)",
    "last": "last epoch",
    "test": "best on the test set",
    "cycle": "best by cycle consistency (no test labels)",
}
CHANCE, UNTRAINED = "chance (random features)", "untrained (random weights)"


@dataclass(frozen=True)
class TrainingData:
    """What stages see of a dataset."""

    visible: ImageArray
    infrared: ImageArray


def command(action: Callable[[], None]) -> None:
    """Run a command: a user's mistake is one line and exit code 2, Ctrl-C says how to go on."""
    signal.signal(signal.SIGTERM, _interrupt)
    # Before the first tensor operation, so that torch's threads inherit it: denormal numbers, which
    # fresh networks and Adam's moments are full of, make CPU steps several times slower.
    torch.set_flush_denormal(True)
    try:
        action()
    except UserError as error:
        _leave(2, f"error: {error}")
    except torch.OutOfMemoryError:
        _leave(2, "error: the GPU's memory is full: add --checkpoint-groups, --precision bf16 or "
                  "a smaller --batch-size; epochs already finished are saved")  # fmt: skip
    except ImportError as error:  # an optional backend
        _leave(2, f"error: {error}")
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        _leave(2, f"error: {write_error(Path(str(error.filename or 'a file')), error)}")
    except KeyboardInterrupt as error:
        _leave(130, f"interrupted{error.args[0] if error.args else ''}")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise KeyboardInterrupt


def _leave(code: int, line: str) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.write(f"\n{line}\n")
    raise SystemExit(code)


# --- prepare ---


def prepare(dataset: str, argv: Sequence[str] | None = None) -> None:
    """Verify a dataset and write its prepared images."""
    command(lambda: _prepare(dataset, argv))


def _prepare(dataset: str, argv: Sequence[str] | None) -> None:
    reader, default = READERS[dataset], RECIPES["*", dataset]["data_dir"]
    parser = OneLineParser(description=f"Verify {dataset} and write its prepared images.")
    parser.add_argument("--data-dir", default=default, help=f"as downloaded [{default}]")
    parser.add_argument("--cache-dir", help="where to write [DATA_DIR-HxW]")
    parser.add_argument("--height", type=number(int, 16), default=288, help="pixels [288]")
    parser.add_argument("--width", type=number(int, 16), default=144, help="pixels [144]")
    workers = os.cpu_count() or 1
    parser.add_argument("-j", "--workers", type=count, default=workers, help="threads [all cores]")
    parser.add_argument("--allow-incomplete", action="store_true", help="accept missing images")
    parser.add_argument("--overwrite", action="store_true", help="write them anew")
    args = parser.parse_args(argv)

    root = Path(args.data_dir)
    lists = reader.read(root)
    known = facts(root)
    for warning in verify_counts(lists, known["counts"], args.allow_incomplete):
        _print(f"warning: {warning}")
    _print(f"{root}: {'rendered people' if known['rendered'] else 'verified'}")
    for name, cameras in images_per_camera(lists).items():
        shown = ", ".join(f"camera {camera}: {n:,}" for camera, n in cameras.items())
        _print(f"  {name:15} {len(lists[name]):6,} images  ({shown})")
    folder = cache_folder(args)
    if not args.overwrite and _is_prepared(folder, lists):
        _print(f"{folder} is prepared already")
        return
    size = args.height, args.width
    prepare_images(root, folder, lists, reader.RESAMPLING, *size, args.workers, known)
    _print(f"wrote {folder}")


def cache_folder(args: Any) -> Path:
    """Prepared images: ``--cache-dir``, or a folder beside the dataset named after their size."""
    return Path(args.cache_dir or f"{args.data_dir}-{args.height}x{args.width}")


def _is_prepared(folder: Path, lists: dict) -> bool:
    if not (folder / "index.json").exists():
        return False
    prepared = open_prepared(folder)
    return all(prepared[name].list.paths == lists[name].paths for name in lists)


def _open_images(args: Any, dataset: str) -> Prepared:
    folder = cache_folder(args)
    if not (folder / "index.json").exists():
        raise UserError(
            f"no prepared images in {folder}: run python prepare_{dataset}.py --data-dir "
            f"{args.data_dir} --height {args.height} --width {args.width}"
        )
    prepared = open_prepared(folder)
    if (prepared.height, prepared.width) != (args.height, args.width):
        raise UserError(
            f"{folder} holds images of {prepared.height}x{prepared.width} pixels, not "
            f"{args.height}x{args.width}: give another --cache-dir, or --height and --width"
        )
    return prepared


# --- train ---


def train(dataset: str, argv: Sequence[str] | None = None) -> None:
    """Train a method, stage by stage, then test it."""
    command(lambda: _train(dataset, argv))


def _train(dataset: str, argv: Sequence[str] | None) -> None:
    names = {method: [stage.name for stage in stages] for method, stages in METHODS.items()}
    options = parse(dataset, names, argv)
    prepared = _open_images(options, dataset)
    device = _device(options.device)
    folder = run_folder(options, dataset)
    _check_config(options, folder)
    about = {
        "method": options.method,
        "dataset": dataset,
        "variant": options.variant,
        "height": options.height,
        "width": options.width,
        "rendered": prepared.rendered,
    }
    run = Run(
        folder,
        device,
        options.precision,
        evaluate=lambda stage: _scores(stage, prepared),
        rules={"test": options.select, "cycle": "cycle"},
        print_freq=options.print_freq,
        about=about,
    )
    _write_config(options, folder, about, argv)
    data = TrainingData(prepared["train_visible"], prepared["train_infrared"])
    for array in (data.visible, data.infrared, prepared["query"], prepared["gallery"]):
        place = array.place(device)
    run.log.say(f"{folder}: {options.method} ({options.variant}) on {device}, images on {place}")
    chosen = options.stages or names[options.method]
    stages = [stage for stage in METHODS[options.method] if stage.name in chosen]
    try:
        run_pipeline(stages, options, data, run)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f" {run.position}: every epoch before is saved in {folder}; the same command goes on"
        ) from None
    _report(folder, stages[-1].name, prepared, device, options)


def run_folder(options: Options, dataset: str) -> Path:
    """logs/<dataset>/<method>/<name>; the name defaults to the seed, and the variant if unusual."""
    usual = RECIPES.get((options.method, "*"), {}).get("variant", "upstream")
    variant = "" if options.variant == usual else f"{options.variant}-"
    name = options.name or f"{variant}seed{options.seed}"
    return Path(options.logs_dir) / dataset / options.method / name


def _scores(stage: Stage, prepared: Prepared) -> dict[str, float]:
    """Test scores of a stage's network in all-search, in percent, and its cycle consistency."""
    a, network = stage.args, stage.networks[stage.retrieval]
    test = prepared["query"], prepared["gallery"]
    train = stage.data.visible, stage.data.infrared
    labels = stage.labels["visible"], stage.labels["infrared"]
    with stage.evaluating(network):
        draws = sysu_draws(network, *test, ["all"], a.eval_trials, a.test_batch)["all"]
        cycle = training_cycle(network, *train, labels, a.selection_images, a.test_batch)
    summary = summarise(draws)
    return {name: summary[name]["mean"] for name in ("rank1", "mAP", "mINP")} | {"cycle": cycle}


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name} is no device: say auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: this machine has no usable GPU; say --device cpu")
    return device


def _check_config(options: Options, folder: Path) -> None:
    """Refuse to go on with a run under other flags; ``--overwrite`` starts it anew."""
    path = folder / "config.json"
    if options.overwrite:
        for stage in options.stages or (s.name for s in METHODS[options.method]):
            checkpoint.remove(folder / stage)
    if not path.exists() or not any(folder.glob(f"*/{checkpoint.LAST}")):
        return
    before, now = read_json(path)["numbers"], options.numbers()
    changed = [k for k in now if k not in before or before[k] != now[k]]
    if changed:
        shown = ", ".join(f"--{k.replace('_', '-')} ({before.get(k)} there)" for k in changed)
        raise UserError(
            f"{folder} holds a run with another {shown}: give this one another --name, or "
            "--overwrite to delete that one"
        )


def _write_config(options: Options, folder: Path, about: dict, argv: Sequence[str] | None) -> None:
    write_json(
        folder / "config.json",
        {
            "about": about,
            "command": " ".join(sys.argv if argv is None else ["train", *argv]),
            "numbers": options.numbers(),
            "values": options.values,
            "origins": options.origins,
            "versions": {
                "clustercontrast": clustercontrast.__version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "git": _commit(),
            },
        },
    )


def _commit() -> str | None:
    """The git commit of the code, if it is a checkout."""
    here = Path(__file__).parent
    done = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None


# --- test ---


def test(dataset: str, argv: Sequence[str] | None = None) -> None:
    """Test a run's models, or one checkpoint."""
    command(lambda: _test(dataset, argv))


def _test(dataset: str, argv: Sequence[str] | None) -> None:
    parser = OneLineParser(description="Test a run (its folder) or one checkpoint (its file).")
    parser.add_argument("run", help="logs/<dataset>/<method>/<name>/, or a .pth, .pth.tar file")
    parser.add_argument("--stage", help="stage of the run [the last one trained]")
    parser.add_argument("--data-dir", help="the dataset [the run's]")
    parser.add_argument("--cache-dir", help="prepared images [DATA_DIR-HxW]")
    parser.add_argument("--height", type=number(int, 16), help="pixels [the run's, or 288]")
    parser.add_argument("--width", type=number(int, 16), help="pixels [the run's, or 144]")
    parser.add_argument("--trials", type=number(int, 1, 10), default=10, help="gallery draws [10]")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N [auto]")
    parser.add_argument("--test-batch", type=count, default=256, help="images per forward [256]")
    args = parser.parse_args(argv)

    target, device = Path(args.run), _device(args.device)
    if not target.exists():
        raise UserError(f"{target} does not exist: give a run's folder or a checkpoint")
    config = read_json(target / "config.json")["values"] if target.is_dir() else {}
    fallback = {"data_dir": RECIPES["*", dataset]["data_dir"], "height": 288, "width": 144}
    for name in ("data_dir", "cache_dir", "height", "width"):
        if getattr(args, name) is None:
            setattr(args, name, config.get(name, fallback.get(name)))
    prepared = _open_images(args, dataset)
    if target.is_dir():
        stage = args.stage or _last_stage(target)
        _report(target, stage, prepared, device, args)
        return
    draws = _draws(weights.read(target), prepared, device, args)
    _print(sysu_table(_rows(target.name, draws), prepared.rendered, str(target)).text())


def _last_stage(folder: Path) -> str:
    method = _method(folder)
    trained = [s.name for s in METHODS[method] if (folder / s.name / checkpoint.LAST).exists()]
    if not trained:
        raise UserError(f"{folder} holds no trained stage: run the training command again")
    return trained[-1]


def _method(folder: Path) -> str:
    return read_json(folder / "config.json")["about"]["method"]


def _report(folder: Path, stage: str, prepared: Prepared, device: torch.device, args: Any) -> None:
    """Test every model of a run's stage, write and print the table, draw the curves."""
    results = _results(folder, stage, prepared, device, args)
    title = f"{_method(folder)} {folder.name}, stage {stage}"
    table = sysu_table(results, prepared.rendered, title)
    place = folder if stage == _last_stage(folder) else folder / stage
    for name, content in (("report.txt", table.text()), ("report.md", table.markdown())):
        with atomic(place / name) as file:
            file.write(content)
    write_json(place / "report.json", table.json())
    curves(folder / "metrics.jsonl", place / "curves.png")
    _print(table.text())
    _print(f"written to {place}: report.txt, report.md, report.json, curves.png")
    shown = {r["model"]: r["mAP"]["mean"] for r in results if r["mode"] == "all"}
    _print(
        f"cross-modality mAP: chance {shown[CHANCE]:.2f}, untrained {shown[UNTRAINED]:.2f}, "
        f"trained {shown[MODELS['last']]:.2f} (percent)"
    )


def _results(folder: Path, stage: str, prepared: Prepared, device: torch.device, args: Any) -> list:
    """Rows of the table: chance, random weights, and the models of the run."""
    last = saved_model(folder / stage, "last")["weights"]
    chance = chance_draws(prepared["query"], prepared["gallery"], SYSU_MODES, args.trials)
    untrained = _draws(weights.untrained(last), prepared, device, args)
    results = _rows(CHANCE, chance) + _rows(UNTRAINED, untrained)
    start = next((file.parent for file in folder.glob("*/start.pth")), None)
    tested: dict[tuple, dict] = {}
    for which, label in MODELS.items():
        source = start if which == "start" else folder / stage
        if source is None:
            continue
        model = saved_model(source, which)
        key = model["stage"], model["epoch"]
        if key not in tested:
            tested[key] = _draws(model["weights"], prepared, device, args)
        results += _rows(label, tested[key])
    return results


def _rows(label: str, draws: dict[str, list]) -> list[dict]:
    return [
        {"model": label, "mode": mode, "draws": len(found)} | summarise(found)
        for mode, found in draws.items()
    ]


def _draws(state: dict, prepared: Prepared, device: torch.device, args: Any) -> dict[str, list]:
    """Search results of saved weights, always in full float32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    network = weights.network_for(state).to(device).eval()
    test = prepared["query"], prepared["gallery"]
    with torch.no_grad():
        return sysu_draws(network, *test, SYSU_MODES, args.trials, args.test_batch)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
