"""The examples of docs/using.md, run one after the other as a reader would."""

import pytest
import runnable

PAGE = runnable.ROOT / "docs/using.md"


@pytest.mark.slow
def test_the_examples_run(world):
    pytest.importorskip("faiss")
    blocks = runnable.blocks(PAGE, "using")
    said = [runnable.run(language, text, world) for language, text in blocks]
    assert "(6, 512) queries/0001.jpg" in said[0]
    for name in ("queries.npz", "result.csv", "result.html", "gallery.index", "again.csv"):
        assert (world / name).exists()
    assert (world / "again.csv").read_text() == (world / "result.csv").read_text()
