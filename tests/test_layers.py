"""Who may import whom, that no method or numeric module knows a dataset, and who may seed."""

import ast
import functools
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from clustercontrast.methods import METHODS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "clustercontrast"
FILES = sorted(PACKAGE.rglob("*.py"))
NUMERICS = {"models", "losses", "clustering", "association", "memories"}
THIRD_PARTY = {"torch", "torchvision", "numpy", "scipy", "sklearn", "faiss", "numba", "ot"}

FILES_OF_WEIGHTS = (
    "models.weights",
    "models.saved",
    "models.tensor_files",
    "models.onnx_graph",
)
REGISTRY = "settings.recipes"
# Room or module -> what of this package it may import besides its own room.  The longest matching
# name decides.
ALLOWED = {
    "files": set(),
    "processes": {"files"},
    "settings": {"files"},
    "clustering": set(),
    "clustering.approximate_search": {"processes"},
    "clustering.exact_search": {"processes"},
    "association": set(),
    "losses": set(),
    "memories": {"losses"},
    "models": set(),
    "models.bn_groups": {"processes"},
    "models.dropout": {"processes"},
    "models.onnx_graph": {"files"},  # so is one that torch cannot write
    "models.official": {"files"},  # a network that cannot be written is refused
    "models.saved": {"files"},  # a file that cannot be read is the user's mistake
    "models.tensor_files": {"files"},  # likewise
    "models.weights": {"files"},  # so is a checkpoint that does not fit
    "data": {"files"},
    "data.batches": {"files", "processes"},
    "generation": set(),
    "generation.fake_infrared": {"files", "data"},
    "generation.panels": {"files"},
    "evaluation": set(),
    "evaluation.features": {"data", "files", "processes"},
    "evaluation.protocols": {"data", "files"},
    "evaluation.reranking": {"clustering"},
    "evaluation.scoring": {"data", "processes"},
    "engine": {"files", "processes"},
    "engine.checkpoint": {"files", "models.saved"},
    "report": {"files", "data", "evaluation", REGISTRY},
    "retrieval": {"files", "data", "models", "clustering", "engine", "evaluation"},
    "rendering": {"files"},
    "methods": {"files", "processes", "data", "engine", "evaluation", "generation", *NUMERICS}
    | {REGISTRY},
    "commands": {"*"},
    # the doors of python -m
    "__main__": {"*"},
    "report.__main__": {"commands"},
    "sweep": {"commands"},
}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts).removesuffix("__init__").rstrip(".")


MODULES = {module_of(path) for path in FILES}


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imported(path: Path) -> frozenset[str]:
    """Dotted names that a file imports; names of this package lose their first part."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {_resolved(node.module, alias.name) for alias in node.names}
    return frozenset(found)


def _resolved(module: str, name: str) -> str:
    inner = f"{module}.{name}".removeprefix("clustercontrast.")
    return f"clustercontrast.{inner}" if inner in MODULES and inner else module


def own(path: Path) -> set[str]:
    prefix = "clustercontrast."
    return {name.removeprefix(prefix) for name in imported(path) if name.startswith(prefix)}


def rule_of(module: str) -> str:
    names = [name for name in ALLOWED if within(module, name)]
    assert names, f"{module} stands in no layer: add it to the table"
    return max(names, key=len)


def within(module: str, package: str) -> bool:
    return package == "*" or module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("path", FILES, ids=lambda path: module_of(path) or "clustercontrast")
def test_imports_stay_within_the_table(path):
    module = module_of(path)
    if not module:
        assert not own(path)
        return
    rule = rule_of(module)
    allowed = ALLOWED[rule] | {rule if "." not in rule else rule.split(".")[0]}
    wrong = [name for name in own(path) if not any(within(name, other) for other in allowed)]
    assert not wrong, f"{module} must not import {wrong}"


def test_the_table_has_no_row_without_a_module():
    assert all(any(within(module, name) for module in MODULES) for name in ALLOWED)


def room_of(module: str) -> str:
    return module if module.endswith("__main__") else module.split(".")[0]


def test_rooms_import_downward_only():
    """The rooms can be ordered so that every import goes down."""
    below = {room_of(module_of(path)): set() for path in FILES}
    for path in FILES:
        room = room_of(module_of(path))
        below[room] |= {room_of(name) for name in own(path)} - {room}
    TopologicalSorter(below).prepare()  # raises CycleError


def test_the_root_holds_rooms_and_doors_only():
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", "files"}


GROUND = [PACKAGE / "files.py", *sorted((PACKAGE / "settings").rglob("*.py"))]


@pytest.mark.parametrize("path", GROUND, ids=module_of)
def test_the_ground_needs_the_standard_library_only(path):
    tops = {name.split(".")[0] for name in imported(path)}
    assert not tops & (THIRD_PARTY | {"PIL", "matplotlib", "tqdm"})


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if rule_of(module_of(p) or "commands").split(".")[0] in NUMERICS],
    ids=module_of,
)
def test_numerics_know_no_flags_paths_or_logs(path):
    tops = {name.split(".")[0] for name in imported(path)}
    forbidden = {"argparse", "logging", "json", "os", "sys", "PIL", "tqdm", "matplotlib"}
    # files of weights, and what numba has compiled
    if module_of(path) not in (*FILES_OF_WEIGHTS, "clustering.jaccard"):
        forbidden.add("pathlib")
    if module_of(path) == "models.tensor_files":  # their header is JSON
        forbidden.remove("json")
    assert not tops & forbidden


SHARED_WORDS = {"clustering_stage", "joint_clusters", "joint_proxies"}  # nobody's stages
SHARED_STAGES = {*SHARED_WORDS, "clusters", "dcl", "encoder", "refusals", "stand_ins"}


def test_a_method_imports_no_other_method_but_the_shared_stages():
    for path in (PACKAGE / "methods").rglob("*.py"):
        others = {name.split(".")[1] for name in own(path) if name.startswith("methods.")}
        folder = path.relative_to(PACKAGE / "methods").parts[0]
        if folder != "__init__.py":  # a method of several files is a folder
            assert others <= {*SHARED_STAGES, folder}, path


def test_packages_import_their_children_in_methods_only():
    for path in PACKAGE.rglob("__init__.py"):
        if "methods" not in path.parts:
            assert not own(path), path


def test_root_scripts_import_the_command_line_only():
    for path in ROOT.glob("*.py"):
        assert {n for n in imported(path) if "clustercontrast" in n} <= {
            "clustercontrast.commands.cli"
        }


def test_no_cycles():
    graph = {module_of(path): own(path) & MODULES for path in FILES}
    done, open_ = set(), []

    def visit(module):
        if module in done:
            return
        assert module not in open_, f"cycle: {' -> '.join([*open_, module])}"
        open_.append(module)
        for other in graph[module]:
            visit(other)
        open_.pop()
        done.add(module)

    for module in graph:
        visit(module)
    assert len(done) == len(FILES) > 30


def test_imports_stand_at_the_top_of_their_file():
    for path in FILES:
        for function in ast.walk(tree(path)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = [
                    n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)
                ]
                names = {alias.name for node in inner for alias in node.names}
                # optional, or slow and not needed by --help
                allowed = {"faiss", "onnx", "onnxruntime", "FileLock", "Timeout"}
                allowed |= {"SummaryWriter", "wandb"}
                assert names <= allowed, f"{path}: {names} imported inside {function.name}"


STAGES = list(dict.fromkeys(stage for stages in METHODS.values() for stage in stages))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: f"{stage.__module__}.{stage.__name__}")
def test_a_stage_shows_its_own_refresh_and_iteration(stage):
    """A reader of a paper finds what happens on one page, with one line L = ..."""
    assert {"refresh", "iteration"} <= vars(stage).keys()
    says = vars(stage)["iteration"].__doc__ or ""
    assert re.match(r"L\S* =|Nothing is trained", says), says


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: f"{stage.__module__}.{stage.__name__}")
def test_no_stage_extends_a_stage_of_another_paper(stage):
    papers = {
        base.__module__.split(".")[2]
        for base in stage.__mro__
        if base.__module__.startswith("clustercontrast.methods.")
    }
    assert len(papers - SHARED_WORDS) == 1, papers


DATASETS = re.compile(r"sysu|regdb|llcm", re.IGNORECASE)


def identifiers(path: Path) -> set[str]:
    """Names, attributes, arguments and short strings of a file; not its prose."""
    found = set()
    for node in ast.walk(tree(path)):
        found |= {
            value
            for field in ("id", "attr", "name", "arg")
            if isinstance(value := getattr(node, field, None), str)
        }
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            found.add(node.value)
    return found


@pytest.mark.parametrize(
    "folder", ["engine", "methods", "clustering", "association", "losses", "models"]
)
def test_no_dataset_is_known_where_methods_are_written(folder):
    for path in (PACKAGE / folder).rglob("*.py"):
        assert not [name for name in identifiers(path) if DATASETS.search(name)], path


NAMES = {*METHODS, *(stage.name for stages in METHODS.values() for stage in stages)}
GENERIC = [
    "engine", "commands", "evaluation", "data", "settings/options.py", "settings/command_line.py",
    "settings/parser.py",
]  # fmt: skip
WORDS = {"joint", "united"}  # of the log: of both modalities together; pairs that either finds


@pytest.mark.parametrize("room", GENERIC)
def test_generic_rooms_know_no_method_and_no_stage(room):
    place = PACKAGE / room
    for path in place.rglob("*.py") if place.is_dir() else [place]:
        assert not identifiers(path) & (NAMES - WORDS), path


GLOBAL_STATE = re.compile(
    r"(?<![\w.])(?:random\.(?!Random\b)\w+\(|np\.random\.(?!default_rng\b|Generator\b|SeedSequence\b)\w+\()"
    r"|torch\.(?:cuda\.)?manual_seed|torch\.seed\(|set_rng_state"
)


def test_global_random_state_is_touched_in_few_places():
    """New layers draw their first weights from torch's generator.

    The pipeline seeds it for a stage and the run for every epoch; an untrained network for the
    report is built on a fork of it.
    """
    hits = {
        (module_of(path), match.group())
        for path in FILES
        for match in GLOBAL_STATE.finditer(path.read_text(encoding="utf-8"))
    }
    assert hits == {
        ("engine.pipeline", "torch.manual_seed"),
        ("engine.run", "torch.manual_seed"),
        ("models.weights", "set_rng_state"),
    }


DRAWS = {"rand", "randn", "randint", "randperm", "multinomial", "bernoulli", "normal"}


def test_every_draw_names_its_generator():
    for path in FILES:
        for node in ast.walk(tree(path)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            called = node.func
            is_torch = isinstance(called.value, ast.Name) and called.value.id == "torch"
            if is_torch and called.attr in DRAWS:
                assert "generator" in {k.arg for k in node.keywords}, f"{path}:{node.lineno}"


@pytest.mark.parametrize("place", ["docs/design.md", "clustercontrast/__init__.py"])
def test_the_maps_name_every_room(place):
    text = (ROOT / place).read_text(encoding="utf-8")
    doors = {"sweep"}
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - doors
    assert not [room for room in sorted(rooms) if f"{room}/" not in text]


def test_the_design_names_every_file_and_every_stage():
    text = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    files = {path.name for path in FILES if path.parent.name not in ("cmam", "recipes", "sweep")}
    assert not [name for name in sorted(files - {"__init__.py"}) if name not in text]
    stages = {stage.name for stages in METHODS.values() for stage in stages}
    assert not [name for name in sorted(stages) if f"`{name}`" not in text]
