"""Loads files of any kind, each in a process of its own, and holds them to the law of a load.

The law: the load ends by itself, in time, with a report or with one clear line; the database
then holds all of the file's good rows, or what it held before. Not here: the files.
"""

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atx_assets.cli.main import _line
from atx_assets.errors import AtxError
from atx_assets.home.memory import bounded_memory
from atx_assets.plain_text import plain
from atx_assets.settings import ROOT, Database
from atx_assets.sources.load.load import load_file
from atx_assets.sources.read.database import connect, explained

#: Seconds that a load of some hundred rows may take on a busy machine.
PATIENCE = 120
#: Bytes that it may take.
MEMORY = 2**30


@dataclass(frozen=True)
class Outcome:
    """How a load ended: its report or its line, or else what it should not have done."""

    said: str
    counts: Sequence[int] = ()
    fault: str = ""


class Loading:
    """A database with some rows in it, to load files into again and again."""

    def __init__(self, database: Database, rows: pa.Table, folder: Path) -> None:
        self.path = folder / "mutant.parquet"
        known = folder / "known.parquet"
        pq.write_table(rows, known)
        self._connection = connect(database, statement_timeout=PATIENCE)
        self._connection.autocommit = True
        load_file(self._connection, known)
        self.table = "media" if "hash" in rows.column_names else "training"
        self._connection.execute(f"CREATE TABLE public.kept AS TABLE atp.{self.table}".encode())
        self._before = self._held()
        # Not forked from here: this process has threads, and locks that nobody would give back.
        self._forking = subprocess.Popen(
            [
                *(sys.executable, "-m", __spec__.name, database.host, str(database.port)),
                *(database.name, database.user, str(folder / "errors")),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def close(self) -> None:
        self._connection.close()
        self._forking.communicate()

    def load(self, content: bytes, *, memory: int = MEMORY) -> Outcome:
        """Load a file's content, say how it ended, and put the database back."""
        self.path.write_bytes(content)
        return self.load_file(memory=memory)

    def load_file(self, *, memory: int = MEMORY) -> Outcome:
        """Load what stands in the file."""
        assert self._forking.stdin
        assert self._forking.stdout
        self._forking.stdin.write(json.dumps([str(self.path), memory]) + "\n")
        self._forking.stdin.flush()
        outcome = Outcome(**json.loads(self._forking.stdout.readline()))
        held = self._held()
        fault = outcome.fault
        if outcome.counts:
            rows, added, changed, unchanged, refused = outcome.counts
            if rows != added + changed + unchanged + refused:
                fault = fault or "the counts do not add up"
            if held[0] != self._before[0] + added:
                fault = fault or f"{added} added, and {held[0] - self._before[0]} rows more"
        elif held != self._before:
            fault = fault or "the load failed, and the table has changed"
        if held != self._before:
            self._connection.execute(
                f"TRUNCATE atp.{self.table};"
                f"INSERT INTO atp.{self.table} SELECT * FROM public.kept".encode()
            )
        return Outcome(outcome.said, outcome.counts, fault)

    def _held(self) -> tuple[int, str]:
        found = self._connection.execute(
            "SELECT count(*), md5(coalesce(string_agg(md5(t::text), '' ORDER BY md5(t::text)), ''))"
            f" FROM atp.{self.table} t".encode()
        ).fetchone()
        assert found
        return found[0], found[1]


def _in_a_child(database: Database, path: Path, memory: int, errors: Path) -> dict[str, Any]:
    """Load a file in a process that is forked for it, and tell how that ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            file = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            told = _loaded(database, path, memory)
            os.write(writing, json.dumps(told).encode())
        finally:
            os._exit(0)
    os.close(writing)
    answer, end = b"", time.monotonic() + PATIENCE
    while select.select([reading], [], [], max(end - time.monotonic(), 0))[0]:
        piece = os.read(reading, 65_536)
        if not piece:
            break
        answer += piece
    else:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    words = errors.read_text(errors="replace")[-300:].strip()
    if os.WIFSIGNALED(status):
        how = f"ended by {signal.Signals(os.WTERMSIG(status)).name}: {words}"
        return {"said": "", "fault": how}
    if words or not answer:
        return {"said": "", "fault": f"ended without a report, or wrote: {words!r}"}
    return json.loads(answer)


def _loaded(database: Database, path: Path, memory: int) -> dict[str, Any]:
    try:
        with (
            explained(database),
            connect(database, statement_timeout=PATIENCE) as connection,
            bounded_memory(memory),
        ):
            report = load_file(connection, path)
    except AtxError as error:
        said = _line(error, verbose=False)
        return {"said": said, "fault": _unclear(said)}
    except Exception as error:
        return {"said": "", "fault": _line(error, verbose=True)[:400]}
    lines = [plain(line) for line in report.lines()]
    counts = [report.rows, report.added, report.changed, report.unchanged, report.refused_rows]
    fault = next(filter(None, map(_unclear, lines)), "")
    return {"said": "\n".join(lines), "counts": counts, "fault": fault}


def _unclear(said: str) -> str:
    """What is wrong with a line for a person, as the program prints it."""
    if len(said) > 1000:
        return f"a line of {len(said)} characters: {said[:300]!r}"
    if not said or not said.isprintable():
        return f"no line: {said[:300]!r}"
    return ""


def _serve(host: str, port: str, name: str, user: str, errors: str) -> None:
    # Once, and not again in each process.
    import numpy  # noqa: F401
    import psutil  # noqa: F401
    import pyarrow.compute
    import pyarrow.csv  # noqa: F401

    for line in sys.stdin:
        path, memory = json.loads(line)
        told = _in_a_child(Database(host, int(port), name, user), Path(path), memory, Path(errors))
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
