"""Ablations as one command: every cell of a grid is an ordinary, resumable run.

    python -m clustercontrast.sweep --dataset sysu --method pclhd --grid hpcl=on,off dpcl=on,off
    python -m clustercontrast.sweep --dataset sysu --method pgm --grid eps=0.5,0.55,0.6 --seed 2
    python -m clustercontrast.sweep --dataset regdb --method pgm --trial 1 2 3 --grid k1=20,30,40
    python -m clustercontrast.sweep --dataset sysu --method pgm --seeds 1 2 3 --grid k1=20,30,40

``--grid FLAG=VALUE,VALUE ...`` makes the product of its values; give it again for more cells, each
such option a product of its own.  ``on`` and ``off`` are a switch's two sides, blanks part several
values of one flag ("epochs=20 30,50 50" in quotes), and every other flag is that of training, the
same in all cells: with ``--seeds`` each cell is a run per seed, and the table shows their means.
Runs lie in logs/<dataset>/<method>/<NAME>-<cell>; finished ones are skipped, an
interrupted one is resumed by the same command, and a cell that fails does not stop the others.
"""

import itertools
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterable, Sequence

from clustercontrast.commands.cli import command, read_options, with_torch
from clustercontrast.commands.locating import say_located
from clustercontrast.data.places import program
from clustercontrast.files import UserError, say
from clustercontrast.settings.official import method_name
from clustercontrast.settings.options import Options
from clustercontrast.settings.parser import OneLineParser
from clustercontrast.settings.recipes.common import DATASETS

Cell = dict[str, str]
"""Flag -> value of one run, in the order of the grid."""


def cells(grids: Iterable[Sequence[str]]) -> list[Cell]:
    """Every combination of every grid, each once, in order.

    Args:
        grids: words ``flag=value,value`` of every ``--grid``.

    Raises:
        UserError: a word is not of that form, or a grid names a flag twice.
    """
    found: list[Cell] = []
    for words in grids:
        axes = dict(map(_axis, words))
        if len(axes) < len(words):
            raise UserError(f"--grid {' '.join(words)} names a flag twice: join their values")
        for values in itertools.product(*axes.values()):
            cell = dict(zip(axes, values, strict=True))
            if cell not in found:
                found.append(cell)
    return found


def _axis(word: str) -> tuple[str, list[str]]:
    flag, _, values = word.partition("=")
    parts = values.split(",")
    if not flag or not all(parts):
        raise UserError(f"--grid {word!r} is not FLAG=VALUE,VALUE, such as eps=0.5,0.6")
    return flag.lstrip("-").replace("_", "-"), parts


def flags(cell: Cell) -> list[str]:
    """Words of the training command that set a cell's values."""
    words = []
    for flag, value in cell.items():
        switch = {"on": [f"--{flag}"], "off": [f"--no-{flag}"]}
        words += switch.get(value, [f"--{flag}", *value.split()])
    return words


def cell_name(name: str, cell: Cell) -> str:
    """Name of a cell's run, such as "sweep-hpcl-on_dpcl-off"."""
    parts = (f"{flag}-{value}".replace(" ", "-").replace("/", "-") for flag, value in cell.items())
    return f"{name}-{'_'.join(parts)}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run a grid, print its table; exit code 2 when a cell failed."""
    command(lambda: _sweep(argv))


def _sweep(argv: Sequence[str] | None) -> None:
    parser = OneLineParser(
        prog=f"{program()} sweep",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--dataset", choices=DATASETS, required=True)
    parser.add_argument("--method", type=method_name, required=True)
    parser.add_argument("--grid", nargs="+", action="append", required=True, metavar="FLAG=V,V")
    parser.add_argument("--name", default="sweep", help="start of the runs' names [sweep]")
    args, shared = parser.parse_known_args(argv)
    runs = _runs(args.dataset, args.method, args.name, cells(args.grid), shared)
    say_located(runs[0][1])
    training = with_torch("training")
    done, failed = {}, []
    for number, (cell, options, words) in enumerate(runs, start=1):
        folder = training.run_folder(options)
        say(f"--- cell {number} of {len(runs)}: {folder.name}")
        try:
            training.train_runs(options, words)
            done[folder] = _whole(cell, runs, options)
        except UserError as error:
            if isinstance(error, training.SomeSeedsError):
                done[folder] = _whole(cell, runs, options)
            failed.append(folder.name)
            sys.stderr.write(f"error: {error}\n")
    if done:
        title = f"{args.method} {args.name}"
        with_torch("tables").write_grid(args.dataset, title, args.name, done)
    if failed:
        raise UserError(f"{len(failed)} of {len(runs)} cells failed: {', '.join(failed)}")


def _runs(
    dataset: str, method: str, name: str, grid: list[Cell], shared: Sequence[str]
) -> list[tuple[Cell, Options, str]]:
    """Cell, values and command of every run, all checked before the first one starts."""
    runs = []
    for cell in grid:
        words = ["--method", method, *shared, *flags(cell), "--name", cell_name(name, cell)]
        runs.append((cell, *read_options(dataset, words)))
    return runs


def _whole(cell: Cell, runs: Sequence[tuple[Cell, Options, str]], options: Options) -> Cell:
    """A cell with the values of all flags of the grid: what it does not set is as it is anyway."""
    flags = dict.fromkeys(flag for own, _, _ in runs for flag in own)
    return {flag: cell.get(flag) or _typed(options, flag) for flag in flags}


def _typed(options: Options, flag: str) -> str:
    """The value of a flag as a grid would set it."""
    value = options.values.get(flag.replace("-", "_"))
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return "as it is"
    several = [*value.values()] if isinstance(value, dict) else value
    parts = several if isinstance(several, list) else [several]
    return " ".join(map(str, parts if len({*map(str, parts)}) > 1 else parts[:1]))
