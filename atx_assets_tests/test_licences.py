"""The page of licences: of all that is installed, and of nothing else."""

import re
from importlib.metadata import PackageNotFoundError, version

from atx_assets.settings import ROOT
from docs.make_licences import COPYLEFT, PAGE, licence_of, pinned

ROWS = {
    name: (versions.split(", "), licence)
    for name, versions, licence in re.findall(
        r"(?m)^\| ([\w.-]+) \| ([\w., ]+) \| (.+) \|$", PAGE.read_text()
    )
    if name != "package"
}
PINNED = pinned((ROOT / "requirements.txt").read_text())


def test_every_package_that_is_pinned_has_its_versions_and_a_licence_on_the_page() -> None:
    assert len(PINNED) > 100
    assert {name: sorted(v) for name, (v, _) in ROWS.items()} == {
        name: sorted(v) for name, v in PINNED.items()
    }, "run python docs/make_licences.py"


def test_licences_are_those_that_the_packages_state() -> None:
    wrong = {}
    for name, (versions, licence) in ROWS.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        if installed in versions and licence_of(name) != licence:
            wrong[name] = licence
    assert wrong == {}, "run python docs/make_licences.py"


def test_copyleft_is_named() -> None:
    (named,) = re.findall(r"\*\*Copyleft\*\*: ([^.]*)\.", PAGE.read_text())
    copyleft = {name for name, (_, licence) in ROWS.items() if COPYLEFT.search(licence)}
    assert set(named.replace("\n", " ").split(", ")) == copyleft
    assert "psycopg" in copyleft
