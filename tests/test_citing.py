"""Whom the repository cites: CITATION.cff and the BibTeX entries name the same papers."""

import re
from pathlib import Path

import pytest
import yaml

from clustercontrast.report.model_card import citation, cited
from clustercontrast.settings.official import CODES
from clustercontrast.settings.recipes import all_recipes

ROOT = Path(__file__).parents[1]
CFF = yaml.safe_load((ROOT / "CITATION.cff").read_text())
PAGE = (ROOT / "docs" / "citing.md").read_text()
BIBTEX = (ROOT / "clustercontrast" / "report" / "citations.bib").read_text(encoding="utf-8")
REFERENCES = {own["title"]: own for own in CFF["references"]}
ENTRY = re.compile(r"^@(\w+)\{(\w+),\n(.*?)\n\}$", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^  (\w+) += \{(.*)\},?$", re.MULTILINE)
FIELDS = [dict(FIELD.findall(body)) for _, _, body in ENTRY.findall(BIBTEX)]
ENTRIES = {own["title"]: own for own in FIELDS}
PAPERS = {name: own for name, own in all_recipes().items() if own.year}


def names(reference):
    authors = reference["authors"]
    return " and ".join(f"{own['family-names']}, {own['given-names']}" for own in authors)


def test_the_file_has_what_its_format_requires():
    assert CFF.keys() >= {"cff-version", "message", "title", "authors"}
    assert CFF["cff-version"] == "1.2.0"
    assert CFF["license"] == "MIT"


@pytest.mark.parametrize("title", REFERENCES)
def test_a_reference_is_whole(title):
    own = REFERENCES[title]
    assert own.keys() >= {"type", "title", "authors", "year", "notes"}
    assert own["type"] in ("article", "conference-paper")
    assert own["conference"]["name"] if own["type"] == "conference-paper" else own["journal"]
    assert own.get("start", 0) <= own.get("end", 0)
    assert all(set(author) == {"family-names", "given-names"} for author in own["authors"])


def test_both_name_the_same_papers():
    assert list(ENTRIES) == list(REFERENCES)
    assert len(FIELDS) == len(CFF["references"])


@pytest.mark.parametrize("title", REFERENCES)
def test_both_say_the_same_of_a_paper(title):
    own, entry = REFERENCES[title], ENTRIES[title]
    assert entry["author"] == names(own)
    assert "others" not in entry["author"].split()
    assert entry["year"] == str(own["year"])
    assert entry.get("doi") == own.get("doi")
    assert entry.get("pages") == (f"{own['start']}--{own['end']}" if "start" in own else None)
    place = own.get("journal") or own["collection-title"]
    assert place == entry.get("journal", entry.get("booktitle"))
    numbers = [other["value"] for other in own.get("identifiers", ())]
    assert numbers == ([entry["note"]] if "note" in entry else [])


def test_the_page_names_every_entry_and_no_other():
    keys = [key for _, key, _ in ENTRY.findall(BIBTEX)]
    assert len(keys) == len(set(keys))
    assert set(re.findall(r"`(\w+)`", PAGE)) == set(keys)


@pytest.mark.parametrize("name", [*PAPERS, "sysu", "regdb", "llcm", "market"])
def test_a_name_of_this_package_finds_its_entry(name):
    (found,) = ENTRY.findall(citation(name).rstrip())
    assert found[1].endswith(name)
    title = dict(FIELD.findall(found[2]))["title"]
    said = REFERENCES[title]["notes"].split(":")[0]
    assert said == PAPERS[name].title if name in PAPERS else title in REFERENCES


def test_what_has_no_paper_has_no_entry():
    assert citation("supervised") == citation("") == ""


def test_every_method_and_what_the_package_is_named_after_are_cited():
    said = {own["notes"].split(":")[0] for own in REFERENCES.values()}
    assert said >= {own.title for own in PAPERS.values()}
    assert said >= {"ClusterContrast", "AGW", "SpCL", "PPLR", "EDM", "TransReID-SSL", "OTLA"}
    years = {own["notes"].split(":")[0]: own["year"] for own in REFERENCES.values()}
    assert all(years[own.title] == own.year for own in PAPERS.values())


@pytest.mark.parametrize("method", PAPERS)
def test_a_methods_page_names_all_authors_its_code_and_how_ours_came_to_be(method):
    head = (ROOT / "docs" / "methods" / f"{method}.md").read_text().split("\n## ")[0]
    (own,) = [x for x in REFERENCES.values() if x["notes"] == PAPERS[method].title]
    words = " ".join(head.split())
    for author in own["authors"]:
        assert f"{author['given-names']} {author['family-names']}" in words
    assert "ours was written from" in words.lower()
    if method in CODES:
        link = r"Official code: \[[\w/-]+\]\(https://github.com/[\w/-]+\), licence "
        assert re.search(link, words)
    else:
        assert "no official code" in words


def test_a_recipe_without_a_paper_cites_those_that_its_parts_are_from():
    assert cited("united") == ("bmil", "posed")
    assert cited("pgm") == ("pgm",)
    assert cited("supervised") == cited("") == ()
