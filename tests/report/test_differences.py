"""What differs between configurations, by hand.

Mutations seen to fail: values that are alike listed, stages taken from the first run alone, a value
for all stages not laid against values per stage, flags of the command line not first.
"""

from clustercontrast.report.differences import data, flags, versions

A = {
    "about": {
        "method": "pgm",
        "name": "seed1",
        "images": {"digest": "aa", "rendered": True},
        "changes": {"intra": []},
    },
    "values": {
        "name": "seed1",
        "lr": 0.1,
        "epochs": {"intra": 2, "cross": 3},
        "k1": None,
        "match_always": True,
        "data_dir": "data",
    },
    "origins": {"lr": "official script", "epochs": "official script"},
    "versions": {"torch": "2.1", "git": "0123abc"},
    "commits": ["0123abc", "0123abc-dirty"],
    "hardware": ["one GPU"],
}
B = {
    "about": {
        "method": "pca",
        "name": "other",
        "images": {"digest": "bb", "rendered": True},
        "changes": {},
    },
    "values": {
        "name": "other",
        "lr": {"intra": 0.1, "joint": 0.2},
        "epochs": {"intra": 2, "cross": 4},
        "k1": 30,
        "data_dir": "elsewhere",
    },
    "origins": {"k1": "command line"},
    "versions": {"torch": "2.1", "git": None},
    "hardware": ["one GPU"],
}


def test_flags_that_differ_stage_by_stage_those_given_first():
    assert flags([A, B]) == [
        ("--k1", "–", "30"),
        ("--lr, stage joint", "0.1", "0.2"),
        ("--epochs, stage cross", "3", "4"),
        ("--match-always", "on", "no such flag"),
    ]


def test_versions_and_data():
    assert versions([A, B]) == [
        ("git commit", "0123abc", "–"),
        ("commits that trained (-dirty: with changes)", "0123abc 0123abc-dirty", "–"),
    ]
    assert data([A, B]) == [
        ("digest of all images, of training and test", "aa", "bb"),
        ("method", "pgm", "pca"),
        ("--data-dir", "data", "elsewhere"),
    ]


def test_what_one_of_three_runs_has_is_listed_and_what_all_have_is_not():
    more = A | {"values": A["values"] | {"lr": 0.3}}
    assert flags([A, A, more]) == [("--lr", "0.1", "0.1", "0.3")]
    assert [flags([A, A]), versions([A, A]), data([A, A])] == [[], [], []]
