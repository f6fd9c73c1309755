"""The worked example of docs/datasets.md, from two folders of crops, with flags for a short run."""

import narrow_resnet
import pytest
import runnable
import tiny_runs
from own_crops import write_crops

PAGE = runnable.ROOT / "docs" / "datasets.md"


def shortened(text: str) -> str:
    """The commands of the page with what makes them quick: small images, few steps."""
    train = " ".join(tiny_runs.tiny_flags("pclhd", "custom"))
    small = " ".join(tiny_runs.SIZE)
    return (
        text.replace("prepare --dataset custom", f"prepare --dataset custom {small}")
        .replace("--method pclhd", f"--method pclhd {train}")
        .replace("single\n", "single --device cpu --draws 2\n")
        .replace("html logs", "html --device cpu logs")
    )


@pytest.mark.slow
def test_two_folders_of_crops_become_a_tested_model_with_a_page(tmp_path, monkeypatch):
    narrow_resnet.use(monkeypatch)
    write_crops(tmp_path / "crops")
    ((language, table), (shell, commands)) = runnable.blocks(PAGE, "custom")
    runnable.run(language, table, tmp_path)
    shown = runnable.run(shell, shortened(commands), tmp_path)
    assert "test: 5 identities, 0 images of unknown identity, 0 tracks" in shown
    assert "cross-modality mAP: chance" in shown
    assert "rendered identities: not a custom dataset result" in shown
    folder = tmp_path / "logs" / "custom" / "pclhd" / "seed1"
    assert (folder / "report.html").stat().st_size > 100_000
    assert len(list(folder.glob("tested-on-custom-*-both-single-other-cameras.json"))) == 1
    ((shell, command),) = runnable.blocks(PAGE, "custom-search")
    runnable.run(shell, command, tmp_path)
    queries = len(list((tmp_path / "crops/infrared").rglob("*.jpg")))
    assert len((tmp_path / "result.csv").read_text().splitlines()) == 1 + 10 * queries
    assert "crops/visible/" in (tmp_path / "result.html").read_text()
