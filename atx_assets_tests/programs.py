"""The programs beside Python that some tests need. `python -m atx_assets_tests.programs` gets them.

On Debian, as root, they are installed; elsewhere one line says what is missing and how to get it,
and the tests that need it are skipped. Not here: the packages from PyPI.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path


def _faketime() -> bool:
    return bool(faketime_libraries())


def faketime_libraries() -> list[Path]:
    """Return where Debian's package `faketime` has put its library: a machine's name is in it."""
    return sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


def path_of(name: str) -> str | None:
    """Return where a program lies; Debian's nginx is where only root's PATH leads."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    # Ubuntu calls Chromium by another name.
    names = (name, f"{name}-browser") if name == "chromium" else (name,)
    return next(filter(None, (shutil.which(one, path=path) for one in names)), None)


def _on_path(name: str) -> Callable[[], bool]:
    return lambda: path_of(name) is not None


#: By program: whether it is there, and Debian's package that has it.
PROGRAMS: dict[str, tuple[Callable[[], bool], str]] = {
    "chromium": (_on_path("chromium"), "chromium"),
    "faketime": (_faketime, "faketime"),
    "nginx": (_on_path("nginx"), "nginx-light"),
    "pgbouncer": (_on_path("pgbouncer"), "pgbouncer"),
    "systemd-analyze": (_on_path("systemd-analyze"), "systemd"),
    "useradd": (_on_path("useradd"), "passwd"),
}


def missing(programs: Iterable[str] = PROGRAMS) -> list[str]:
    """Return those of some programs that this machine does not have."""
    return [name for name in programs if not PROGRAMS[name][0]()]


def package_of(program: str) -> str:
    """Return Debian's package that has a program."""
    return PROGRAMS[program][1]


def _apt_get(*words: str) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", *words]
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)


def main() -> int:
    """Install what is missing, or say what that is; 1 only where CI must have it."""
    if not missing():
        return 0
    if os.geteuid() == 0 and shutil.which("apt-get"):
        packages = [package_of(name) for name in missing()]
        print(f"installing what tests need: {' '.join(packages)} …", flush=True)
        _apt_get("update", "-qq")
        for package in packages:  # one by one: a name that is unknown keeps no other out
            _apt_get("install", "-y", "-qq", "--no-install-recommends", package)
    if left := missing():
        packages = " ".join(package_of(name) for name in left)
        print(
            f"missing: {', '.join(left)}; the tests that need them are skipped "
            f"(`sudo apt-get install {packages}` on Debian)",
            file=sys.stderr,
        )
        return 1 if os.environ.get("CI") else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
