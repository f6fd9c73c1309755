"""The examples of README.md and docs/running.md that train and report, run as a reader would."""

import pytest
import runnable
import tiny_runs

PAGES = runnable.ROOT / "README.md", runnable.ROOT / "docs" / "running.md"
FOLDERS = {"sysu": "SYSU-MM01", "regdb": "RegDB"}


def shorten(dataset, words):
    """Flags of a short training; of RegDB two trials of ten."""
    if words[0] != "--method":
        return tiny_runs.SIZE
    more = ["--trial", "1", "2"] if dataset == "regdb" else []
    return [*tiny_runs.tiny_flags(words[1], dataset), "--epochs", "1", *more]


@pytest.mark.slow
def test_what_is_documented_runs(tmp_path, monkeypatch):
    tiny_runs.use_small_encoder(monkeypatch)
    (tmp_path / "data").mkdir()
    for dataset, name in FOLDERS.items():
        (tmp_path / "data" / name).symlink_to(tiny_runs.dataset(dataset))
    for page in PAGES:
        blocks = runnable.blocks(page, "training")
        assert blocks
        for language, text in blocks:
            said = runnable.run(language, text, tmp_path, shorten)
            assert said
    seed, trials = tmp_path / "logs/sysu/pclhd/seed1", tmp_path / "logs/regdb/pclhd/seed1"
    for made in (seed / "report.html", trials / "report.json", tmp_path / "tables/tables.tex"):
        assert made.is_file()
    assert "rendered" in (tmp_path / "tables" / "each.md").read_text()
