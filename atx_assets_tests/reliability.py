"""The tests that `docs/reliability.md` names."""

import re

from atx_assets.settings import ROOT

PAGE = ROOT / "docs" / "reliability.md"


def named_tests() -> list[str]:
    """Return the files, classes and tests that the page names, as pytest does."""
    names, file = [], ""
    for path, rest in re.findall(
        r"`((?:\w+/)*test_\w+\.py|…(?=::))((?:::\w+)*)`", PAGE.read_text()
    ):
        file = file if path == "…" else f"atx_assets_tests/{path}"
        names.append(file + rest)
    return names
