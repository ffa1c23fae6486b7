"""`atx run` killed while it makes each asset, at a moment in the life of its file, in one home.

The killed program is the real one; a hook that Python itself calls (`sys.addaudithook`) sends it
SIGKILL at the chosen moment, which no look from outside would meet.
"""

import json
import shutil
import signal
from pathlib import Path

from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.settings import Database
from atx_assets.sources.load.load import load_file
from atx_assets.sources.read.database import connect
from atx_assets.storage.data_folder import FILES
from atx_assets_tests.builders.homes import Home, bare
from atx_assets_tests.system.faults.conftest import storage_on

#: Ends the process at a moment in the life of a file: when half of it is written, when it is
#: about to take the place of the old one, and when it just has.
DIES = """
import os, signal, sys
name, moment = os.environ["TEST_DIES_AT"].split()
new, replaced = f".{name}.new", False
def look(event, about):
    global replaced
    if event not in ("open", "os.rename", "os.remove") or not isinstance(about[0], (str, bytes)):
        return
    folder, _, file = os.fsdecode(about[0]).rpartition("/")
    if event == "open" and moment == "half" and file == f".{name}.sha256.new":
        os.truncate(f"{folder}/{new}", os.path.getsize(f"{folder}/{new}") // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    if event == "os.rename" and file == new:
        if moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replaced = True
    if event == "os.remove" and file == new and replaced:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(look)
"""
MOMENTS = ("half", "before", "after")


def test_a_run_killed_in_any_asset_leaves_whole_files_and_the_next_makes_the_same(
    tmp_path: Path, postgres: EmbeddedPostgres, database: Database, small_library: Path
) -> None:
    with connect(database, statement_timeout=60) as connection:
        load_file(connection, small_library)
    where = storage_on(postgres) | {
        "PG_HOST": database.host,
        "PG_DB": database.name,
        "PG_USER": database.user,
    }
    home = Home(tmp_path / "a", bare(), **where)
    never_killed = Home(tmp_path / "b", bare(), **where)
    dies = tmp_path / "dies"
    dies.mkdir()
    (dies / "sitecustomize.py").write_text(DIES)
    first = home.run("run", "--quiet")
    assert first.returncode == 0, first.stderr
    old = home.contents()
    shutil.copytree(home.data, never_killed.data)
    with connect(database, statement_timeout=60) as connection:  # so that every file changes
        connection.execute(
            "UPDATE atp.media SET rejection_status = 'override', rejection_reason = NULL,"
            " imdb_votes = 9999999 WHERE hash IN (SELECT hash FROM atp.media"
            " WHERE rejection_status = 'rejected' ORDER BY rt_score DESC NULLS LAST, hash LIMIT 20)"
        )
    made = never_killed.run("run", "--json")
    assert made.returncode == 0, made.stderr
    order = list(json.loads(made.stdout)["assets"])
    new = never_killed.contents()
    assert sorted(order) == sorted(FILES)
    assert not [asset for asset in order if old[FILES[asset]] == new[FILES[asset]]]

    for number, asset in enumerate(order):
        moment = MOMENTS[number % len(MOMENTS)]
        # The one before it, too: over what its kill has left, it is made whole.
        selected = " or ".join(f"key:{name}" for name in order[max(number - 1, 0) : number + 1])
        at = {"PYTHONPATH": str(dies), "TEST_DIES_AT": f"{FILES[asset]} {moment}"}
        killed = home.run("run", "--quiet", "--select", selected, **at)
        assert killed.returncode == -signal.SIGKILL, (asset, killed.stderr)
        found = home.contents()
        torn = [n for n, content in found.items() if content not in (old.get(n), new.get(n))]
        assert not torn, (asset, moment)
        assert not home.damaged(), (asset, moment)
        for earlier in order[:number]:
            assert found[FILES[earlier]] == new[FILES[earlier]], (asset, earlier)
        for later in order[number + (moment == "after") :]:
            assert found[FILES[later]] == old[FILES[later]], (asset, later)
        assert home.left_over() <= {f".{FILES[asset]}.new"}, (asset, moment)

    last = home.run("run", "--quiet")
    assert last.returncode == 0, last.stderr
    assert home.contents() == new
    assert not home.left_over()
    assert not home.damaged()
