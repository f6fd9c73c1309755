"""The commands behind the root scripts and ``python -m clustercontrast``.

A wrong command line, ``--help`` and a missing folder are answered here, before torch is imported,
which takes seconds; what does the work is imported when it is needed.
"""

import codecs
import importlib.util
import io
import os
import shlex
import signal
import sys
from argparse import BooleanOptionalAction, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import NoReturn

from clustercontrast.commands.locating import (
    is_folder,
    known_places,
    locate,
    located,
    say_located,
    say_place,
)
from clustercontrast.commands.newest import newest_run
from clustercontrast.data.places import (
    cache_folder,
    command_of,
    prepared_folder,
    program,
    reading,
    table_and_folder,
)
from clustercontrast.files import UserError, check_free, say, write_error
from clustercontrast.processes.launch import SPEAKER, PeerError, started
from clustercontrast.settings.command_line import (
    check_needs,
    check_processes,
    parse,
    without_effect_there,
)
from clustercontrast.settings.flags import Flag, count, draws, intensity, pixels, share, switch
from clustercontrast.settings.like import lacking
from clustercontrast.settings.official import script_answer
from clustercontrast.settings.options import Options, all_flags
from clustercontrast.settings.parser import DRY_RUN, OneLineParser
from clustercontrast.settings.recipes.common import DATASETS, DEFAULT_METHOD, shared_defaults

MODELS = ("last", "test", "cycle")
"""Models of a run that may be asked for."""
RUN = "logs/<dataset>/<method>/<name>/"
ONE_MODEL = "a .pth, .pth.tar or .safetensors file, or an exported folder"

RERANKING = {
    "rerank_k1": (count, 20, "neighbours of its reciprocal test, the image itself not counted"),
    "rerank_k2": (count, 6, "images that its query expansion averages, the image itself counted"),
    "rerank_weight": (share, 0.3, "its weight of the original distance, λ"),
}
"""Flags of the re-ranking: kind, the paper's value, meaning."""

PRECISIONS = ("fp32", "tf32", "bf16")
"""How a model in use may compute."""

REFUSED = "does not have a deterministic implementation"
"""What torch says of an operation under --deterministic, behind its name."""

SPELLED_OUT = "clustercontrast-spelled-out"
PLAIN = {"±": "+-", "≈": "~", "≠": "!=", "†": "*", "‡": "**", "§": "***", "−": "-", "–": "-",
         "λ": "lambda"}  # fmt: skip
"""Characters of tables, for a terminal that has letters and digits alone."""


def _spelled_out(error: UnicodeError) -> tuple[str, int]:
    """Plain characters for those that cannot be written, or a question mark."""
    wrong = error.object[error.start : error.end]
    return "".join(PLAIN.get(letter, "?") for letter in wrong), error.end


codecs.register_error(SPELLED_OUT, _spelled_out)


def command(action: Callable[[], None], is_shared: bool = False) -> None:
    """Run a command: a user's mistake is one line and exit code 2, Ctrl-C says how to go on.

    Args:
        action: does the work.
        is_shared: several processes may do it together.
    """
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, _leave_at_once) for number in signals}
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=SPELLED_OUT)  # in a locale that lacks a character
    try:
        if started().count > 1 and not is_shared:
            raise UserError("this command works in one process: start it without torchrun")
        action()
    except (UserError, ImportError) as error:  # the import of an optional backend
        _leave(2, f"error: {error}")
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        _leave(2, f"error: {write_error(Path(str(error.filename or 'a file')), error)}")
    except RuntimeError as error:
        if REFUSED in str(error):
            line = f"error: --deterministic: {str(error).split(',')[0]} on CUDA"
            _leave(2, f"{line}: leave the flag out, and give that run a --name of its own")
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which may not be imported
            raise
        _leave(2, "error: the GPU's memory is full, beyond what the memory plan had left free: end "
                  "other programs on this GPU, or add --checkpoint-groups, --images pinned or "
                  "--precision bf16; epochs already finished are saved")  # fmt: skip
    except PeerError as error:
        _leave(
            1,
            f"error: another process of this training has ended ({error}): every epoch "
            "before is saved, and the same command goes on, with any number of processes",
        )
    except KeyboardInterrupt as error:
        _leave(130, f"interrupted{error.args[0] if error.args else ''}")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave_at_once(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    """An interruption before anything was begun, perhaps in the middle of an import."""
    os.write(2, b"\ninterrupted before anything was begun\n")
    os._exit(130)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise KeyboardInterrupt


def _leave(code: int, line: str) -> NoReturn:
    sys.stdout.flush()
    if SPEAKER.claims():
        sys.stderr.write(f"\n{line}\n")
    raise SystemExit(code)


def with_torch(module: str) -> ModuleType:
    """A module of the commands that computes; torch is imported and set up first."""
    torch = importlib.import_module("torch")
    # Before the first tensor operation, so that torch's threads inherit it: denormal numbers, which
    # fresh networks and Adam's moments are full of, make CPU steps several times slower.
    torch.set_flush_denormal(True)
    found = importlib.import_module(f"clustercontrast.commands.{module}")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    return found


# --- prepare ---


def prepare(dataset: str, argv: Sequence[str] | None = None) -> None:
    """Verify a dataset and write its prepared images."""
    command(lambda: _prepare(dataset, argv))


def _prepare(dataset: str, argv: Sequence[str] | None) -> None:
    title, usual, workers = DATASETS[dataset].title, shared_defaults(dataset), os.cpu_count() or 1
    place, height, width = (usual[name] for name in ("data_dir", "height", "width"))
    parser = OneLineParser(description=f"Verify {title} and write its prepared images.")
    if "manifest" in DATASETS[dataset].flags:
        add_manifest(parser, usual["manifest"])
    parser.add_argument("--data-dir", help=f"as downloaded [{place}]")
    parser.add_argument("--cache-dir", help="where to write [DATA_DIR-HxW]")
    parser.add_argument("--cache-root", help="folder that it lies in [the dataset's parent]")
    parser.add_argument("--height", type=pixels, default=height, help=f"pixels [{height}]")
    parser.add_argument("--width", type=pixels, default=width, help=f"pixels [{width}]")
    parser.add_argument("-j", "--workers", type=count, default=workers, help="threads [all cores]")
    parser.add_argument("--allow-incomplete", action="store_true", help="accept missing images")
    parser.add_argument(
        "--allow-leak", action="store_true", help="accept test identities in training images"
    )
    parser.add_argument(
        "--intensity-range", nargs=2, type=intensity, metavar=("LOW", "HIGH"),
        help="values of images of more than 8 bits that become black and white [refuse them]",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="write them anew")
    args = parser.parse_args(argv)
    if "manifest" in args:
        places = table_and_folder(args.manifest, args.data_dir, (usual["manifest"], place))
        args.manifest, args.data_dir = places
    elif args.data_dir is None:
        args.data_dir = located(dataset, place, is_folder)
        say_place(place, args.data_dir)
    check_dataset(dataset, args)
    with_torch("preparing").prepare(dataset, args)


def check_dataset(dataset: str, args: Namespace) -> None:
    """Let the dataset's reader say that its folder, or its table, is not there.

    Args:
        dataset: a key of ``DATASETS``.
        args: ``data_dir``, and ``manifest`` where a table describes the dataset.

    Raises:
        UserError: it is not.
    """
    place, table = args.data_dir, getattr(args, "manifest", None)
    if Path(place).is_dir() and (table is None or Path(table).is_file()):
        return
    other = next((own for own in known_places(dataset) if is_folder(own)), None)
    if table is None and place in known_places(dataset) and other:
        raise UserError(f"no folder {place}, but there is {other}: leave --data-dir out")
    read = reading(dataset, args)
    (read or importlib.import_module(f"clustercontrast.data.{dataset}").read)(Path(place))


# --- train ---


def train(dataset: str, argv: Sequence[str] | None = None) -> None:
    """Train a method, stage by stage, then test it; trial by trial where there are trials."""
    command(lambda: _train(dataset, argv), is_shared=True)


def _train(dataset: str, argv: Sequence[str] | None) -> None:
    launch = started()
    if launch.number:
        # The first process speaks.
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    given = sys.argv[1:] if argv is None else argv
    words = [word for word in given if word != DRY_RUN]
    options, typed = read_options(dataset, words)
    check_processes(options, launch.count, len(words) < len(given))
    say_located(options)
    for line in (*without_effect_there(options), *lacking(options.origins)):
        say(f"note: {line}")
    if len(words) < len(given):
        with_torch("dry_run").dry_run(options)
    else:
        with_torch("training").train_runs(options, typed)


def read_options(dataset: str, argv: Sequence[str] | None) -> tuple[Options, str]:
    """The values of a training command and the command itself, after a look at its folders.

    Raises:
        UserError: the command line is wrong, or there are no images where it says.
    """
    given = sys.argv[1:] if argv is None else argv
    options = parse(dataset, given)
    check_needs(options)
    locate(options)
    if "allow_incomplete" not in options.values:
        prepared_folder(options, dataset)
    elif not (cache_folder(options) / "index.json").exists():  # prepared by the run itself
        check_dataset(dataset, options)
    return options, f"{command_of('train', dataset)} {shlex.join(given)}"


# --- test ---


def test(dataset: str, argv: Sequence[str] | None = None) -> None:
    """Test a run's models, or one checkpoint."""
    command(lambda: _test(dataset, argv))


def _test(dataset: str, argv: Sequence[str] | None) -> None:
    args = _test_parser(dataset).parse_args(argv)
    complete_reranking(args)
    if args.run:
        target = existing(Path(args.run), "a run's folder or a checkpoint")
    else:
        target = newest_run(dataset)
        say(f"testing {target}, the newest finished run of {DEFAULT_METHOD}")
    with_torch("testing").test(target, dataset, args)


# --- export ---


def export(argv: Sequence[str] | None = None) -> None:
    """Write a model of a run, or a single one, for other programs."""
    command(lambda: _export(argv))


def _export(argv: Sequence[str] | None) -> None:
    parser = OneLineParser(
        prog=f"{program()} export",
        description="Write a model for other programs, in one form or several at once.",
    )
    parser.add_argument("run", help=f"{RUN}, a trial of it, or {ONE_MODEL}")
    parser.add_argument("--model", choices=MODELS, help="model of the run [last]")
    forms = parser.add_argument_group("forms")
    forms.add_argument(
        "--onnx", type=Path, metavar="DIR",
        help="folder to make: a graph per modality, from 8-bit images to features",
    )  # fmt: skip
    forms.add_argument(
        "--safetensors", type=Path, metavar="DIR",
        help="folder to make: weights, config.json and a model card; may be the one of --onnx",
    )  # fmt: skip
    forms.add_argument(
        "--official", type=Path, metavar="FILE", help="file to write: .pth.tar of official programs"
    )
    for name in ("height", "width"):
        default = shared_defaults()[name]
        parser.add_argument(
            f"--{name}", type=pixels, help=f"pixels, of a model that does not say it [{default}]"
        )
    args = parser.parse_args(argv)
    places = list(filter(None, (args.onnx, args.safetensors, args.official)))
    if not places:
        raise UserError("say what to write: --onnx DIR, --safetensors DIR or --official FILE")
    target = existing(Path(args.run), "a run's folder or a checkpoint")
    for place in places:
        check_free(place)
    if args.onnx:
        check_packages("--onnx", "onnx", "onnx", "onnxruntime", "onnxscript")
    with_torch("exporting").export(target, args)


def check_packages(flag: str, extra: str, *modules: str) -> None:
    """Ask for optional packages that are not installed.

    Args:
        flag: that needs them.
        extra: of this package that brings them.
        modules: their names in Python.

    Raises:
        UserError: one is missing.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"{flag} needs {' and '.join(missing)}: pip install 'clustercontrast[{extra}]'"
        )


def existing(place: Path, wanted: str) -> Path:
    """A path that is there.

    Raises:
        UserError: it is not.
    """
    if not place.exists():
        raise UserError(script_answer(str(place)) or f"{place} does not exist: give {wanted}")
    official = place / "model_best.pth.tar"
    if official.exists() and not (place / "config.json").exists():
        raise UserError(f"{place} is a folder of an official program: give {official}")
    return place


def _test_parser(dataset: str) -> OneLineParser:
    parser = OneLineParser(description="Test a run (its folder) or one checkpoint (its file).")
    parser.add_argument(
        "run", nargs="?",
        help=f"{RUN}, or {ONE_MODEL} "
             f"[the newest finished run of {DEFAULT_METHOD}]",
    )  # fmt: skip
    own = DATASETS[dataset]
    if "trial" in own.flags:
        parser.add_argument(
            "--trial", nargs="+", type=count, help="trials to test on [all trained, each its own]"
        )
        parser.add_argument(
            "--allow-leak", action="store_true", help="test a model on another trial than its own"
        )
    if "draws" in own.flags:
        default = shared_defaults(dataset)["draws"]
        parser.add_argument("--draws", type=draws, help=f"gallery draws [{default}]")
    if "swapped" in own.flags:
        parser.add_argument(
            "--swapped", action="store_true", help="search with swapped roles, too (LLCM-1)"
        )
    for name in own.rules:
        _add_rule(parser, all_flags()[name])
    parser.add_argument("--stage", help="stage of the run [the last one trained]")
    add_reranking_flags(parser)
    if "manifest" in own.flags:
        add_manifest(parser, "the run's")
    add_evaluation_flags(parser)
    return parser


def add_reranking_flags(parser: OneLineParser) -> None:
    """Flags that ask for re-ranked results, besides the plain ones."""
    parser.add_argument(
        "--rerank", action="store_true",
        help="re-ranked results, too, in a table of their own (k-reciprocal encoding, Zhong et "
        "al., CVPR 2017) [no]",
    )  # fmt: skip
    for name, (kind, default, says) in RERANKING.items():
        parser.add_argument(spelled(name), type=kind, help=f"{says} [{default}]")


def complete_reranking(args: Namespace) -> None:
    """Give the flags of the re-ranking that were not given their defaults.

    Raises:
        UserError: one of them has no effect, or k2 is larger than k1.
    """
    given = [name for name in RERANKING if getattr(args, name) is not None]
    if given and not args.rerank:
        flag = spelled(given[0])
        raise UserError(f"{flag} has no effect without --rerank: add it, or leave {flag} out")
    for name in RERANKING.keys() - given:
        setattr(args, name, RERANKING[name][1])
    if args.rerank_k2 > args.rerank_k1:
        raise UserError(
            f"--rerank-k2 is {args.rerank_k2}, but at most --rerank-k1 is possible, "
            f"{args.rerank_k1}: give a smaller one"
        )


def spelled(name: str) -> str:
    """A flag as it is written on the command line."""
    return f"--{name.replace('_', '-')}"


def _add_rule(parser: OneLineParser, rule: Flag) -> None:
    """A flag that says how a dataset is searched; it is the run's own unless it is given."""
    kind = {"action": BooleanOptionalAction} if rule.kind is switch else {"choices": rule.choices}
    parser.add_argument(rule.spelled, help=f"{rule.help} [the run's]", **kind)


def add_manifest(parser: OneLineParser, usual: str) -> None:
    """The flag that names the table of a dataset.

    Args:
        parser: of a command on that dataset.
        usual: what is taken without it, for the help.
    """
    parser.add_argument(
        "--manifest", help="table of the images; its paths start from its folder, or from "
        f"DATA_DIR [{usual}]",
    )  # fmt: skip


def add_evaluation_flags(parser: OneLineParser) -> None:
    """Flags that say which images models are tested on, and how."""
    parser.add_argument("--data-dir", help="the dataset [the run's]")
    parser.add_argument("--cache-dir", help="prepared images [DATA_DIR-HxW]")
    parser.add_argument("--cache-root", help="folder that they lie in [the dataset's parent]")
    for name in ("height", "width"):
        default = shared_defaults()[name]
        parser.add_argument(f"--{name}", type=pixels, help=f"pixels [the run's, or {default}]")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N [auto]")
    parser.add_argument("--test-batch", type=count, default=256, help="images per forward [256]")
