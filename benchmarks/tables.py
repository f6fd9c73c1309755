"""Fills the tables of docs/benchmarks.md from the JSON files of benchmarks/gpu.sh.

    python -m benchmarks.tables gpu-results
    python -m benchmarks.tables gpu-results --docs FILE

A table stands between the lines ``<!-- table NAME -->`` and ``<!-- end of table -->``.  It is made
anew where there are rows for it; what is between other marks, and all other text, stays as it is.
"""

import argparse
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

TABLES: Mapping[str, Mapping[str, str]] = {
    "machine": {"what": "what", "value": "value"},
    "tests": {"passed": "passed", "failed": "failed", "skipped": "skipped", "seconds": "seconds"},
    "steps": {
        "method": "method",
        "stage": "stage",
        "reference": "plain reference",
        "precision": "precision",
        "bn_groups": "BatchNorm groups",
        "recomputed": "recomputed",
        "channels_last": "channels_last",
        "compiled": "compiled",
        "residence": "images on",
        "images_per_second": "images per s",
        "seconds": "s per step",
        "allocated_gib": "allocated, GiB",
        "reserved_gib": "reserved, GiB",
        "ratio": "times the reference",
        "error": "error",
    },
    "generation": {
        "what": "what",
        "precision": "precision",
        "batch": "batch",
        "seconds_per_image": "s per image",
        "seconds_per_step": "s per training iteration",
        "peak_gib": "peak, GiB",
    },
    "neighbours": {
        "rows": "images",
        "dim": "width",
        "k": "k",
        "seconds": "s on the device",
        "cpu_seconds": "s on the CPU",
        "equal": "equal lists",
        "peak_gib": "peak, GiB",
    },
    "extraction": {
        "precision": "precision",
        "batch": "batch",
        "images": "images",
        "images_per_second": "images per s",
        "peak_gib": "peak, GiB",
    },
    "epoch": {"stage": "stage", "part": "part", "seconds": "s per epoch", "percent": "%"},
    "profile": {
        "operation": "operation",
        "calls": "calls per step",
        "device_ms": "device, ms per step",
        "cpu_ms": "CPU, ms per step",
    },
}
"""Name of a table -> key of a row -> heading.  The rows are of all files NAME*.json."""
BETWEEN_MARKS = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def results(folder: Path, name: str) -> tuple[str, list[dict]]:
    """Machine and date, and the rows, of a table's files."""
    if name == "tests":
        return "", _tests(folder / "tests.xml")
    found = list(filter(None, map(_read, sorted(folder.glob(f"{name}*.json")))))
    rows = [row for content in found for row in content["rows"]]
    heads = dict.fromkeys(f"{content['machine']}, {content['date']}" for content in found)
    return "; ".join(heads), rows


def _read(file: Path) -> dict | None:
    """A file's content; None, and a line, if it is damaged."""
    try:
        return json.loads(file.read_text())
    except json.JSONDecodeError as error:
        print(f"{file} is damaged and left out: {error}")
        return None


def _tests(report: Path) -> list[dict]:
    """Counts of pytest's report, none if it was cut off."""
    if not report.exists():
        return []
    suite = ElementTree.parse(report).getroot().find("testsuite")
    counts = {key: int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped")}
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    seconds = float(suite.get("time"))
    return [{"passed": passed, "failed": failed, "skipped": counts["skipped"], "seconds": seconds}]


def table(columns: Mapping[str, str], rows: list[dict]) -> str:
    """Rows as Markdown; columns that no row has are left out."""
    shown = {
        key: title
        for key, title in columns.items()
        if any(row.get(key) is not None for row in rows)
    }
    lines = [list(shown.values()), ["---"] * len(shown)]
    lines += [[_text(row.get(key)) for key in shown] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return str(value).replace("|", "\\|")


def filled(text: str, folder: Path) -> str:
    """A document with its tables made anew, as far as there are results."""

    def fill(found: re.Match) -> str:
        before, name, after = found.groups()
        where, rows = results(folder, name)
        if not rows:
            return found.group()
        machine = f"Machine: {where}.\n\n" if where else ""
        return f"{before}{machine}{table(TABLES[name], rows)}{after}"

    return BETWEEN_MARKS.sub(fill, text)


def main() -> None:
    """Rewrite the document."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of the JSON files")
    parser.add_argument("--docs", type=Path, default=Path("docs/benchmarks.md"))
    args = parser.parse_args()
    if not args.folder.is_dir():
        parser.error(f"{args.folder} is no folder: give that of the results of benchmarks/gpu.sh")
    args.docs.write_text(
        filled(args.docs.read_text(encoding="utf-8"), args.folder), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
