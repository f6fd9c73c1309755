"""The tests of a real GPU begin and end without one: some of them, on the simulated device.

There both devices compute alike, so nothing is learnt of a GPU; but a test that could not run at
all would waste the minutes of one.
"""

import pytest

from simulated import launch

SOME = "progressive or agreed or selftrain or restored or fakes or (recomputed and not plan)"


@launch.needed
@pytest.mark.slow
def test_they_pass(tmp_path):
    done = launch.run(tmp_path, "-m", "pytest", "-m", "gpu", "tests/gpu", "-k", SOME)
    assert " passed" in done.output
    assert "failed" not in done.output
