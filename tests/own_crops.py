"""Rendered crops as somebody's own: a folder per modality, in it one per person."""

import shutil
from pathlib import Path

import tiny_runs

INFRARED = ("cam3", "cam6")


def write_crops(root: Path) -> list[tuple[str, str, str, str, bool]]:
    """Copy the tiny rendered set into ``root/visible/PERSON`` and ``root/infrared/PERSON``.

    Returns:
        (path, modality, person, camera, whether the layout has the person in its test) of every
        image.
    """
    source = tiny_runs.dataset()
    tested = {int(word) for word in (source / "exp" / "test_id.txt").read_text().split(",")}
    rows = []
    for file in sorted(source.glob("cam*/*/*.jpg")):
        camera, person = file.parts[-3:-1]
        modality = "infrared" if camera in INFRARED else "visible"
        path = Path(modality) / f"p{person}" / f"{camera}-{file.name}"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / path)
        rows.append((path.as_posix(), modality, f"p{person}", camera, int(person) in tested))
    shutil.copy(source / "rendered.json", root)
    return rows
