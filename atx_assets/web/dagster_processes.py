"""The three processes of Dagster under `atx up`: code server, daemon and webserver.

The code server listens on a socket whose path stays the same, so that the other two find a
restarted one. Not here: restarting them (`healing.py`), and ending them (`processes.py`).

Not `dagster dev`, which hides the three behind a fourth process: if one of them dies, it ends them
all, or does not notice. Figures are in `docs/decisions.md`.
"""

import json
import os
import sys
from pathlib import Path

from atx_assets.home.home import exports
from atx_assets.settings import ROOT, Settings
from atx_assets.web.guarded import dagster_command
from atx_assets.web.processes import Child, Children, accepts

WEBSERVER, DAEMON, CODE_SERVER = "Dagster", "Dagster daemon", "Dagster code server"

#: The location's name must not change: Dagster would forget the state of its sensors.
_LOCATION = "atx"


def start_dagster(settings: Settings, children: Children, folder: Path, seconds: float) -> None:
    """Start all three, and wait for the code server; the UI answers some time later.

    Args:
        settings: of the open home, with ports that are free.
        children: takes the processes.
        folder: a private folder, with a path short enough for sockets.
        seconds: how long the code server may take to load our code.

    Raises:
        AtxError: a process ended meanwhile, or the code server did not start in time.
    """
    socket, workspace = folder / "code-server", folder / "workspace.yaml"
    location = {"socket": str(socket), "location_name": _LOCATION}
    workspace.write_text(json.dumps({"load_from": [{"grpc_server": location}]}))
    # The process that has loaded our code puts its socket into the folder for temporary files.
    environment = os.environ | exports(settings) | {"TMPDIR": str(folder)}

    def start(name: str, command: list[str]) -> None:
        children.start(name, command, environment=environment, folder=ROOT)

    start(CODE_SERVER, _code_server(socket))
    start(WEBSERVER, dagster_command(workspace, socket))
    children.wait_until(lambda: accepts(socket), CODE_SERVER, seconds)
    # Started earlier, the daemon would find no code location and look again after ten seconds.
    daemon = ["dagster._daemon", "run", "--workspace", str(workspace)]
    start(DAEMON, [sys.executable, "-m", *daemon])


def serves_code(code_server: Child) -> bool:
    """Return whether the code server's child is running: the process that has loaded our code.

    Dagster restarts it for "Reload definitions", but does not notice if it was killed.
    """
    import psutil

    try:
        below = psutil.Process(code_server.process.pid).children()
        return any(process.status() != psutil.STATUS_ZOMBIE for process in below)
    except psutil.NoSuchProcess:
        return False


def _code_server(socket: Path) -> list[str]:
    command = ["dagster", "code-server", "start", "--socket", str(socket), "--log-level", "warning"]
    # As in `dagster dev`: `.env` is read again together with the code.
    command += ["--location-name", _LOCATION, "--inject-env-vars-from-instance"]
    return [sys.executable, "-m", *command, "--module-name", "atx_assets.definitions"]
