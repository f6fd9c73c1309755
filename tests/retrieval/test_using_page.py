"""The examples of README.md and docs/using.md, run one after the other as a reader would."""

import pytest
import runnable

PAGE, README = runnable.ROOT / "docs/using.md", runnable.ROOT / "README.md"


@pytest.mark.slow
def test_the_examples_run(world):
    pytest.importorskip("faiss")
    blocks = runnable.blocks(PAGE, "using")
    said = [runnable.run(language, text, world) for language, text in blocks]
    assert "(6, 512) queries/0001.jpg" in said[0]
    for language, text in runnable.blocks(README, "using"):
        said.append(runnable.run(language, text, world))
    assert "gallery/" in said[-2]
    for name in ("queries.npz", "result.csv", "result.html", "gallery.index", "again.csv"):
        assert (world / name).exists()
