"""The recipe: what makes another of it, and what does not."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import atx_assets
from atx_assets.models.recipe import OTHERS, recipe_version
from atx_assets.settings import read_settings

CODE = """
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, {folder!r})
from pathlib import Path
import atx_assets
from atx_assets.models.recipe import recipe_version
from atx_assets.settings import read_settings
assert Path(atx_assets.__file__).is_relative_to({folder!r}), atx_assets.__file__
print(recipe_version(read_settings({{}})))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package that a test may change."""
    source = Path(atx_assets.__file__).parent
    ignore = shutil.ignore_patterns("__pycache__", "*.parquet")
    return shutil.copytree(source, tmp_path / "atx_assets", ignore=ignore)


@pytest.fixture
def version(package: Path) -> Callable[[], str]:
    """The recipe of the copy, told by a fresh interpreter."""

    def told() -> str:
        # -I: neither the folder it starts in nor PYTHONPATH may bring the other copy in.
        command = [sys.executable, "-I", "-c", CODE.format(folder=str(package.parent))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return told


def test_a_recipe_is_the_same_at_every_call_and_in_every_process(version) -> None:
    first = version()
    assert len(first) == 16
    assert int(first, 16)
    assert version() == first
    settings = read_settings({})
    assert recipe_version(settings) == recipe_version(settings)


def test_a_copy_of_the_code_has_the_same_recipe(version, monkeypatch, package) -> None:
    monkeypatch.setattr("atx_assets.models.recipe.__file__", str(package / "models" / "recipe.py"))
    assert recipe_version(read_settings({})) == version()


@pytest.mark.parametrize(
    ("setting", "default"), [("ATX_COMPANY_MIN_TITLES", "5"), ("ATX_CATEGORY_MIN_TITLES", "2")]
)
def test_the_least_titles_of_a_category_are_part_of_it(setting, default) -> None:
    found = {recipe_version(read_settings({setting: n})) for n in ("", default, "6", "56")}
    assert len(found) == 3


def test_what_is_searched_and_asked_for_is_part_of_it() -> None:
    others = ({"ATX_SEARCH": "full"}, {"ATX_SEARCH": "off"}, {"ATX_OBJECTIVE": "f1"})
    others += ({"ATX_OPERATING_POINT": "recall>=0.9"}, {"ATX_OPERATING_POINT": "recall>=0.95"})
    found = {recipe_version(read_settings(values)) for values in ({}, *others)}
    assert len(found) == 1 + len(others)


def test_settings_that_change_no_model_are_no_part_of_it(tmp_path: Path) -> None:
    others = {
        "ATX_HOME": str(tmp_path),
        "ATX_LABEL_QUIET_SECONDS": "1",
        "ATX_EXECUTOR": "multiprocess",
        "ATX_MLFLOW": "off",
        "ATX_MODEL_NAME": "another",
        "PG_HOST": "elsewhere",
    }
    assert recipe_version(read_settings(others)) == recipe_version(read_settings({}))


def test_a_library_of_another_version_makes_another_recipe(monkeypatch) -> None:
    before = recipe_version(read_settings({}))
    monkeypatch.setattr("atx_assets.models.recipe.version", lambda library: "9.9")
    assert recipe_version(read_settings({})) != before


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    ["learning/tuning.py", "sources/titles.py", "schemas.py", "defs/assets/tuned_classifier.py"],
)
def test_a_changed_source_file_makes_another_recipe_until_it_is_put_back(
    version, package: Path, file: str
) -> None:
    before, content = version(), (package / file).read_text()
    (package / file).write_text(content + "# changed\n")
    assert version() != before
    (package / file).write_text(content)
    assert version() == before


def test_a_new_a_renamed_and_a_removed_source_file_make_another_recipe(
    version, package: Path
) -> None:
    found = [version()]
    (package / "learning" / "more.py").write_text("")
    found.append(version())
    (package / "learning" / "more.py").rename(package / "learning" / "other.py")
    found.append(version())
    assert len(set(found)) == 3
    (package / "learning" / "other.py").unlink()
    assert version() == found[0]


def test_what_only_runs_the_graph_and_what_python_leaves_behind_change_nothing(
    version, package: Path
) -> None:
    before = version()
    for folder in OTHERS:
        first = next((package / folder).glob("*.py"))
        first.write_text(first.read_text() + "# changed\n")
        (package / folder / "more.py").write_text("")
    cache = package / "learning" / "__pycache__"
    cache.mkdir()
    (cache / "tuning.cpython-311.pyc").write_bytes(b"compiled")
    assert version() == before


#: What assets ask whether to begin at all, and by which the made-up viewer is known.
ASKED = {"automation", "alerts", "sample"}


def test_all_that_assets_import_is_part_of_it() -> None:
    """Kept out: a room left out by a name that after a move is another's, or nobody's."""
    root = Path(atx_assets.__file__).parent
    assert {room for room in OTHERS if not (root / room / "__init__.py").exists()} == set()
    seen, waiting = set[Path](), list((root / "defs" / "assets").glob("*.py"))
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("atx_assets"):
                base = root.joinpath(*node.module.split(".")[1:])
                places = [base, *(base / alias.name for alias in node.names)]
                files = [place.with_suffix(".py") for place in places]
                waiting += [file for file in files if file.exists()]
    rooms = {path.relative_to(root).parts[0] for path in seen}
    assert {"learning", "models", "sources", "storage", "schemas.py"} <= rooms
    assert rooms & set(OTHERS) == ASKED & rooms


def test_an_editors_lock_beside_a_file_is_no_part_of_it(version, package) -> None:
    """Kept out: a link to nowhere that failed the search and the nightly run."""
    before = version()
    (package / "learning" / ".#tuning.py").symlink_to("somebody@somewhere.1")
    assert version() == before
