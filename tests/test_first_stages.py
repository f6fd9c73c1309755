"""Which weights later stages start from, as the log says it; what authors publish is offered."""

import pytest

from clustercontrast.commands.training import first_stages
from clustercontrast.methods import METHODS
from clustercontrast.settings.command_line import parse
from clustercontrast.settings.recipes import all_recipes

PUBLISHED = "baseline/sysu_s1/model_best.pth.tar"
OFFER = (
    f"{PUBLISHED} is there, where the authors' first stage belongs: --stage1 {PUBLISHED} takes "
    "it in place of stage intra (with a --name of its own)"
)
OWN = "robust starts from stage intra of this run (test model)"


def lines(*words, method="rpnr", dataset="sysu"):
    options = parse(dataset, ["--method", method, *words])
    asked = options.stages or [stage.name for stage in METHODS[method]]
    own = [stage for stage in METHODS[method] if stage.name in asked and not stage.reads]
    return first_stages(options, own)


@pytest.fixture
def published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / PUBLISHED
    file.parent.mkdir(parents=True)
    file.touch()


def test_published_weights_are_offered_where_they_are_there(published):
    assert lines() == [OWN, OFFER]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stage1", PUBLISHED], [f"robust starts from {PUBLISHED}"]),
        (["--start-from", "cycle"], ["robust starts from stage intra of this run (cycle model)"]),
        (["--start-from", "pretrained"], ["robust starts from pretrained"]),
        (["--stages", "intra"], []),
        (["--stages", "robust"], [OWN]),
    ],
)
def test_who_has_said_where_to_start_is_offered_nothing(published, words, said):
    assert lines(*words) == said


def test_there_is_no_offer_without_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lines() == [OWN]


def test_there_is_no_offer_on_another_dataset_or_to_another_method(published):
    assert lines(dataset="regdb") == [OWN]
    assert OFFER not in lines(method="pclhd")


@pytest.mark.parametrize("method", [name for name in all_recipes() if name != "supervised"])
def test_every_stage_that_starts_from_another_says_so(method):
    said = lines(method=method)
    later = [s for s in METHODS[method][1:] if s.starts_from and s.name != "finetune"]
    assert [line.split()[0] for line in said] == [stage.name for stage in later]
