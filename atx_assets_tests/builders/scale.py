"""How much of the same a test tries: few in `make test`, many in `make soak`."""

import os

#: Set by `make soak`.
SOAK = "TESTS_SOAK"


def times(few: int, many: int) -> int:
    """Return `many` under `make soak`, else `few`."""
    return many if soaking() else few


def soaking() -> bool:
    """Whether this is `make soak`."""
    return bool(os.environ.get(SOAK))
