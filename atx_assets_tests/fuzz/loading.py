"""Loads files of any kind, each in a process of its own, and holds them to the law of a load.

The law: the load ends by itself, in time, with a report or with one clear line; the database
then holds all of the file's good rows, or what it held before. Not here: the files.
"""

import json
import os
import resource
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atx_assets.errors import AtxError
from atx_assets.local.cli import _line
from atx_assets.local.correct import plain
from atx_assets.local.memory import bounded_memory
from atx_assets.resources.database import connect, explained
from atx_assets.settings import Database
from atx_assets.sources.load import load_file

#: Seconds that a load of some hundred rows may take on a busy machine.
PATIENCE = 120
#: Bytes that it may take.
MEMORY = 2**30


@dataclass(frozen=True)
class Outcome:
    """How a load ended: its report or its line, or else what it should not have done."""

    said: str
    counts: tuple[int, ...] = ()
    fault: str = ""


class Loading:
    """A database with some rows in it, to load files into again and again."""

    def __init__(self, database: Database, rows: pa.Table, folder: Path) -> None:
        self.database = database
        self.path = folder / "mutant.parquet"
        self._errors = folder / "errors"
        known = folder / "known.parquet"
        pq.write_table(rows, known)
        self._connection = connect(database, statement_timeout=PATIENCE)
        self._connection.autocommit = True
        load_file(self._connection, known)
        self.table = "media" if "hash" in rows.column_names else "training"
        self._connection.execute(f"CREATE TABLE public.kept AS TABLE atp.{self.table}".encode())
        self._before = self._held()

    def close(self) -> None:
        self._connection.close()

    def load(self, content: bytes, *, memory: int = MEMORY) -> Outcome:
        """Load a file's content, say how it ended, and put the database back."""
        self.path.write_bytes(content)
        return self.load_file(memory=memory)

    def load_file(self, *, memory: int = MEMORY) -> Outcome:
        """Load what stands in the file."""
        outcome = self._in_a_child(memory)
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
            "SELECT count(*), md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), ''))"
            f" FROM atp.{self.table} t".encode()
        ).fetchone()
        assert found
        return found[0], found[1]

    def _in_a_child(self, memory: int) -> Outcome:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            self._be_the_child(writing, memory)
        os.close(writing)
        told = b""
        end = time.monotonic() + PATIENCE
        while select.select([reading], [], [], max(end - time.monotonic(), 0))[0]:
            piece = os.read(reading, 65_536)
            told += piece
            if not piece:
                break
        else:
            os.kill(child, signal.SIGKILL)
        os.close(reading)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            words = self._errors.read_text(errors="replace")[-300:].strip()
            return Outcome("", fault=f"ended by {name}: {words}")
        answer = json.loads(told)
        return Outcome(answer["said"], tuple(answer["counts"]), answer["fault"])

    def _be_the_child(self, writing: int, memory: int) -> None:
        try:
            errors = os.open(self._errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(errors, 1)
            os.dup2(errors, 2)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            with bounded_memory(memory):
                answer = json.dumps(self._told())
            os.write(writing, answer.encode())
        finally:
            os._exit(0)

    def _told(self) -> dict[str, Any]:
        said, counts, fault = "", (), ""
        try:
            with (
                explained(self.database),
                connect(self.database, statement_timeout=PATIENCE) as connection,
            ):
                report = load_file(connection, self.path)
            said = report.lines()[0]
            counts = (
                *(report.rows, report.added, report.changed),
                *(report.unchanged, report.refused_rows),
            )
            for line in report.lines():
                fault = fault or _unclear(plain(line))
        except AtxError as error:
            said = _line(error, verbose=False)
            fault = _unclear(said)
        except Exception as error:
            fault = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return {"said": said[:4000], "counts": counts, "fault": fault}


def _unclear(said: str) -> str:
    """What is wrong with a line for a person, as the program prints it."""
    if len(said) > 1000:
        return f"a line of {len(said)} characters: {said[:300]!r}"
    if not said or not said.isprintable():
        return f"no line: {said[:300]!r}"
    return ""
