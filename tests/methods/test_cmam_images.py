"""CMAM-UDA's images, prepared by the run itself: what has to be accepted by a flag."""

import numpy as np
import pytest
import torch
from PIL import Image

from clustercontrast.data.samples import PARTS
from clustercontrast.files import UserError
from clustercontrast.methods.cmam.images import TransferImages
from clustercontrast.settings.command_line import parse

SIZE = ["--height", "16", "--width", "16"]


def images_of(dataset, *flags):
    options = parse(dataset, ["--method", "cmam", *SIZE, *map(str, flags)])
    return TransferImages(dataset, options, torch.device("cpu"))


def test_a_source_of_deep_images_needs_a_range(tmp_path):
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    (tmp_path / "crops").mkdir()
    for row in range(2):
        Image.fromarray(3000 + values).save(tmp_path / "crops" / f"{row}.png")
    flags = ["--source", tmp_path / "crops", "--source-format", "folder"]
    with pytest.raises(UserError, match=r"0\.png has more than 8 bits .*--intensity-range LOW"):
        assert images_of("sysu02", *flags).source
    found = images_of("sysu02", *flags, "--intensity-range", "3000", "3255").source
    np.testing.assert_array_equal(found.pixels[1], values[..., None].repeat(3, axis=2))
    with pytest.raises(UserError, match="--intensity-range 5: give two numbers"):
        assert images_of("sysu02", *flags, "--intensity-range", "5").source


def test_a_target_that_tests_training_identities_is_refused_unless_allowed(tmp_path):
    lines = ["relpath,split,modality,camera,identity"]
    for row, part in enumerate(PARTS):
        Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(
            tmp_path / f"{row}.png"
        )
        lines.append(f"{row}.png,{part.replace('_', ',')},1,3")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    flags = ["--data-dir", tmp_path, "--allow-incomplete"]
    with pytest.raises(UserError, match="identity 3 is in the training and in the test part"):
        assert images_of("sysu02", *flags).prepared
    facts = images_of("sysu02", *flags, "--allow-leak").prepared.facts
    assert (facts["leak"], facts["complete"]) == (True, False)
