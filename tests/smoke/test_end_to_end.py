"""From rendered identities to the table: what a finished run leaves behind, method by method.

The fast part runs the whole commands with a network of three layers, the slow part with a ResNet.
"""

import json
import math

import narrow_resnet
import pytest
import tiny_runs
import torch
from method_runs import RUNS
from PIL import Image

from clustercontrast.commands import circumstances, cli, results
from clustercontrast.commands.newest import is_finished
from clustercontrast.evaluation.protocols import PROTOCOLS
from clustercontrast.methods import METHODS
from clustercontrast.models import weights
from clustercontrast.report.references.rows import METRICS

METHOD_OF = {name: method for name, (method, _) in RUNS.items()}
HEADINGS = PROTOCOLS["sysu"].modes
LABELS = list(results.MODELS.values())
CLUSTERING_FACTS = {"clusters", "outliers", "ari", "nmi", "ari_clean", "nmi_clean"}
UNITED = {f"{step}{name}" for step in ("", "joint_", "distil_") for name in ("infrared", "visible")}
TERMS = {  # loss terms of the last stage
    "pclhd": {"infrared", "visible", "cross", "dynamic_infrared", "dynamic_visible"},
    "pclhd-paper": {"infrared", "visible", "cross", "dynamic_infrared", "dynamic_visible"},
    "pgm": {"infrared", "visible", "cross"},
    "pgm-v2024": {"infrared", "visible", "cross"},
    "adca": {"infrared", "visible"},
    "rpnr": {"infrared", "visible", "cross", "hybrid", "relation_visible", "relation_infrared"},
    "mmm": {"identity", "triplet", "mimic_visible", "mimic_infrared", "alignment"},
    "pca": {"infrared", "visible", "adversarial", "modality", "modality_accuracy"},
    "sdcl": {
        f"{name}{depth}"
        for name in (
            "infrared",
            "visible",
            "visible_in_visible",
            "infrared_in_infrared",
            "infrared_in_visible",  # the last epoch is odd
        )
        for depth in ("", "_shallow")
    },
    "gur": {
        f"{step}{name}" for step in ("camera_", "", "joint_") for name in ("infrared", "visible")
    },
    "bmil": {"infrared", "visible", "joint_infrared", "joint_visible"},
    "posed": {"infrared", "visible", "distil_infrared", "distil_visible", "unified"},
    "united": UNITED,
    "united-teacher": UNITED,
    "supervised": {"infrared", "visible"},
}
ORIGINS = dict.fromkeys(("posed", "united", "united-teacher"), "BMIL's code")
"""Of weight decay, where no official script says it."""
JOINT_TERMS = {"joint_infrared", "joint_visible"}

SMALL = [pytest.param(name, False, id=name) for name in METHOD_OF]
RESNET = [
    pytest.param(name, True, id=f"{name}-resnet", marks=pytest.mark.slow)
    for name in ("pclhd", "pgm")
]
every_run = pytest.mark.parametrize(("name", "resnet"), [*SMALL, *RESNET])


def read_json(path):
    return json.loads(path.read_text())


@every_run
def test_report_holds_every_model_in_both_searches(trained, name, resnet):
    report = read_json(trained(name, resnet) / "report.json")
    for mode in ("all", "indoor"):
        results = [r for r in report["results"] if r["mode"] == mode]
        assert [r["model"] for r in results] == LABELS
    for result in report["results"]:
        assert result["searches"] == len(result["each"]) == 2
        for metric in METRICS:
            assert 0 <= result[metric]["mean"] <= 100
            assert math.isfinite(result[metric]["std"])
            first, second = (draw[metric] for draw in result["each"])
            assert result[metric]["mean"] == pytest.approx((first + second) / 2)
            assert result[metric]["std"] == pytest.approx(abs(first - second) / 2)
        assert result["rank1"]["mean"] <= result["rank5"]["mean"] <= result["rank20"]["mean"]


@every_run
def test_rendered_people_are_never_shown_as_the_dataset(trained, name, resnet):
    folder = trained(name, resnet)
    for file in ("report.txt", "report.md"):
        assert "rendered identities: not a SYSU-MM01 result" in (folder / file).read_text()
    report = read_json(folder / "report.json")
    assert report["published"] == []
    assert "rendered" in report["dataset"]
    assert read_json(folder / "config.json")["about"]["images"]["rendered"] is True
    for path in folder.glob("*/*.pth"):
        assert torch.load(path, weights_only=True)["about"]["images"]["rendered"] is True


@every_run
def test_it_counts_as_finished(trained, name, resnet):
    assert is_finished(trained(name, resnet))


@every_run
def test_three_forms_of_the_table_agree(trained, name, resnet):
    folder = trained(name, resnet)
    report = read_json(folder / "report.json")
    for file in ("report.txt", "report.md"):
        lines = [line.lstrip("| ") for line in (folder / file).read_text().splitlines()]
        for result in report["results"]:
            own = [
                x for x in lines if x.startswith(HEADINGS[result["mode"]]) and result["model"] in x
            ]
            assert len(own) == 1
            assert f"{result['mAP']['mean']:.2f} ± {result['mAP']['std']:.2f}" in own[0]


@every_run
def test_curves_are_a_picture(trained, name, resnet):
    with Image.open(trained(name, resnet) / "curves.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10


@every_run
def test_config_tells_where_every_value_comes_from(trained, name, resnet):
    config = read_json(trained(name, resnet) / "config.json")
    origins, values = config["origins"], config["values"]
    assert origins["epochs"] == "command line"
    assert origins["weight_decay"] == ORIGINS.get(name, "official script")
    assert origins["logs_dir"] == "command line"
    assert origins.keys() | {"variant"} == values.keys()
    assert config["numbers"].items() <= values.items()
    assert "logs_dir" not in config["numbers"]
    assert {"torch", "numpy", "python", "git"} <= config["versions"].keys()
    assert config["commits"] == [circumstances.commit()]
    assert config["hardware"] == [circumstances.hardware(torch.device("cpu"), 1)]


@every_run
def test_every_epoch_has_its_event(trained, name, resnet):
    events = tiny_runs.events(trained(name, resnet))
    assert [(e["stage"], e["epoch"]) for e in events] == tiny_runs.epochs_of(METHOD_OF[name])
    for event in events:
        for modality in ("visible", "infrared"):
            facts = event["clusters"][modality]
            assert facts.keys() >= CLUSTERING_FACTS
            assert facts["clusters"] >= 2
            assert 0 <= facts["outliers"] < 1
            assert -1 <= facts["ari"] <= 1
            assert 0 <= facts["nmi"] <= 1 + 1e-9
        assert event["scores"].keys() == {"rank1", "mAP", "mINP", "cycle"}
        assert all(map(math.isfinite, event["loss"].values()))
    seen = events[-1]["loss"].keys() - {"total"}
    assert TERMS[name] <= seen <= TERMS[name] | JOINT_TERMS


@every_run
def test_seconds_are_accounted_for(trained, name, resnet):
    lines = (trained(name, resnet) / "metrics.jsonl").read_text().splitlines()
    extracting = set()
    for event in map(json.loads, lines):
        if event["event"] == "progress":
            continue
        seconds = event["seconds"]
        assert {"steps", "evaluation", "total"} <= seconds.keys()
        if "features" in seconds:  # an epoch may have them from the evaluation before it
            extracting.add(event["stage"])
        parts = sum(value for what, value in seconds.items() if what != "total")
        assert parts <= seconds["total"] + 0.02
        assert (event["event"] == "saved") == ("saving" in seconds)
    stages = {json.loads(line)["stage"] for line in lines}
    assert extracting == stages - {"supervised", "final"}  # whose labels need no features


@pytest.mark.parametrize("name", ["pclhd", "pclhd-paper", "pgm", "pgm-v2024", "posed"])
def test_matched_stages_grade_the_joint_labels_and_the_matches(trained, name):
    for event in tiny_runs.events(trained(name)):
        if event["stage"] == "intra":
            assert "joint" not in event["clusters"]
            continue
        assert event["clusters"]["joint"].keys() >= CLUSTERING_FACTS
        shares = event["clusters"]["match_accuracy"]
        assert shares.keys() == {"visible", "infrared"}
        assert all(0 <= share <= 1 for share in shares.values())


def test_supervised_labels_are_the_people(trained):
    for event in tiny_runs.events(trained("supervised")):
        for modality in ("visible", "infrared"):
            facts = event["clusters"][modality]
            assert facts["ari"] == pytest.approx(1)
            assert facts["outliers"] == 0


@pytest.mark.parametrize("name", METHOD_OF)
def test_best_models_are_those_of_the_best_epochs(trained, name):
    """The first epoch with the greatest score; the rule of the method, and cycle consistency."""
    folder = trained(name)
    rules = {"test": read_json(folder / "config.json")["values"]["select"], "cycle": "cycle"}
    for stage in METHODS[METHOD_OF[name]]:
        events = [e for e in tiny_runs.events(folder) if e["stage"] == stage.name]
        for rule, key in rules.items():
            best = torch.load(folder / stage.name / f"best_{rule}.pth", weights_only=True)
            series = [event["scores"][key] for event in events]
            assert best["epoch"] == events[series.index(max(series))]["epoch"]


def differing(a, b):
    before, after = (read_json(folder / "config.json")["values"] for folder in (a, b))
    return {key for key in before if before[key] != after[key]}


def test_variants_differ_in_the_values_of_their_rows(trained):
    paper = differing(trained("pclhd"), trained("pclhd-paper"))
    assert paper >= {"memory", "centroid_weight", "hard_init", "dynamic_query", "joint_branch"}
    v2024 = differing(trained("pgm"), trained("pgm-v2024")) - {"name", "logs_dir"}
    assert v2024 == {"variant", "memory", "jitter_infrared"}


# --- the test command ---


def use_network(patch, resnet):
    """The network that a run was trained with."""
    (narrow_resnet.use if resnet else tiny_runs.use_small_encoder)(patch)


def table(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith(tuple(HEADINGS.values()))]


@every_run
def test_test_command_reproduces_the_training_report(trained, name, resnet, monkeypatch, capsys):
    folder = trained(name, resnet)
    use_network(monkeypatch, resnet)
    expected = (folder / "report.json").read_text()
    rows = table((folder / "report.txt").read_text())
    (folder / "report.json").unlink()
    capsys.readouterr()
    cli.test("sysu", [str(folder), "--draws", "2", "--device", "cpu"])
    assert (folder / "report.json").read_text() == expected
    assert table(capsys.readouterr().out) == rows


@pytest.mark.parametrize(
    ("name", "resnet"),
    [pytest.param("pgm", False), pytest.param("pgm", True, marks=pytest.mark.slow)],
)
def test_a_saved_model_alone_scores_as_in_the_report(trained, name, resnet, monkeypatch, capsys):
    folder = trained(name, resnet)
    use_network(monkeypatch, resnet)
    if not resnet:
        monkeypatch.setattr(weights, "read", lambda path: torch.load(path)["weights"])
    model = folder / "cross" / "best_test.pth"
    place = ["--data-dir", str(tiny_runs.dataset()), *tiny_runs.SIZE, "--device", "cpu"]
    capsys.readouterr()
    cli.test("sysu", [str(model), *place, "--draws", "2"])
    rows = table(capsys.readouterr().out)
    label = results.MODELS["test"]
    reported = [x for x in table((folder / "report.txt").read_text()) if label in x]
    assert [x.split(model.name)[1].split() for x in rows] == [
        x.split(label)[1].split() for x in reported
    ]


def test_an_earlier_stage_can_be_tested(trained, monkeypatch, capsys):
    tiny_runs.use_small_encoder(monkeypatch)
    folder = trained("adca")
    cli.test("sysu", [str(folder), "--stage", "intra", "--draws", "2", "--device", "cpu"])
    assert "stage intra" in capsys.readouterr().out
    reports = folder / "report.json", folder / "intra" / "report.json"
    rows = [read_json(report)["results"] for report in reports]
    cross, intra = ({r["model"]: r for r in found if r["mode"] == "all"} for found in rows)
    assert intra[results.MODELS["start"]] == cross[results.MODELS["start"]]
    assert intra[results.MODELS["last"]] != cross[results.MODELS["last"]]
