"""What decides a model besides labels and films: code, libraries, settings, as one short text.

Not here: what is learned. Two models with the same recipe, labels and films are the same bytes.
"""

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from atx_assets.settings import Settings

_LIBRARIES = ("numpy", "pyarrow", "scikit-learn", "xgboost", "xgboost-cpu")
#: These run the graph, and do not change what it makes.
OTHERS = ("alerts", "automation", "cli", "commands", "home", "sample", "web")


def recipe_version(settings: Settings) -> str:
    """Return a digest of the code on disk, the libraries and the settings that matter."""
    least = f"{settings.category_min_titles} {settings.company_min_titles}"
    digest = hashlib.sha256(f"{least} {settings.learning}".encode())
    for library in _LIBRARIES:
        digest.update(f"{library} {_version(library)}\n".encode())
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package)
        # An editor's lock file is a dangling link whose name begins with a dot.
        if name.parts[0] not in OTHERS and not path.name.startswith("."):
            digest.update(f"{name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # one of the two builds of XGBoost
        return ""
