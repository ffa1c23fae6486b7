"""Backups that are no longer what they were, and the law to which a restore of them is held.

The law: the restore ends by itself, in time and in 1 GiB of memory, and says short lines that a
terminal can show. Either all is there as the list has it, or it fails with one line and leaves
nothing. Not here: how many are tried (`fuzz_restore.py`, `test_fuzz_restore.py`).
"""

import copy
import gzip
import hashlib
import io
import json
import random
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from atx_assets.cli.main import _line
from atx_assets.errors import AtxError
from atx_assets.home.backup.archive import FORMAT, MANIFEST
from atx_assets.home.backup.restore import restore
from atx_assets.home.memory import bounded_memory
from atx_assets.plain_text import plain
from atx_assets.settings import read_settings

#: Seconds that a restore of some small files may take on a busy machine.
PATIENCE = 60
#: Bytes that it may take.
MEMORY = 2**30
#: Characters of a line at most; the paths in it are short here.
LONGEST_LINE = 1_000

ODD_TEXTS = (
    *("", ".", "..", "/", "data/", "data/../x", "data//a", "home/\0", "home/\ud800", "mlflow.db"),
    *(
        "\x1b[2J",
        "a\nb: all is well",
        "\u202egnp.exe",
        "é" * 300,
        "x" * 5_000,
        "data/" + "y/" * 900,
    ),
    *("2026-11-24", "0001-01-01T00:00+14:00", "file:///etc", "template1", "nan", "../" * 50),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 2**63, 10**400, float("inf"), float("nan"), [], {}, [[]]),
    *({"": ""}, [None], ["x"] * 50, {"name": "data/a"}, "x" * 10**6, list(range(2_000))),
    *ODD_TEXTS,
)


def store() -> bytes:
    """A database like MLflow's, with a path of the old home in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, uri TEXT)")
            connection.execute("INSERT INTO runs (uri) VALUES ('/old/h/mlflow/artifacts/1')")
        return path.read_bytes()


CONTENT = {
    "home/corrections.jsonl": b"{}\n",
    "home/mlflow/artifacts/models/m/artifacts/MLmodel": b"artifact_path: file:///old/h/mlflow/x\n",
    "data/media.parquet": bytes(range(256)) * 8,
    "data/models/1/" + "deep/" * 30 + "model.ubj": b"x" * 700,
    "mlflow.db": store(),
}


def listed(content: dict[str, bytes]) -> dict[str, Any]:
    """The list of a backup of these files."""
    members = [
        {"name": name, "size": len(part), "sha256": hashlib.sha256(part).hexdigest()}
        for name, part in content.items()
    ]
    return {
        "format": FORMAT,
        "made": "2026-11-24T04:00:00+00:00",
        "home": "/old/h",
        "data_dir": "/old/d",
        "versions": {"atx": "9", "mlflow": "3"},
        "databases": {},
        "not_inside": ["your .env"],
        "members": members,
    }


def tarred(about: bytes, content: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, part in {MANIFEST: about, **content}.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(part), 1_796_000_000.25
            tar.addfile(info, io.BytesIO(part))
    return stream.getvalue()


def as_json(said: Any) -> bytes:
    return json.dumps(said).encode()


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, 1)


# -- what is changed; each takes chance, and returns a whole file


def changed_value(rng: random.Random) -> bytes:
    """Something in the list is something else, at any depth."""
    said = listed(CONTENT)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        place: Any = said
        key: Any = rng.choice(list(said))
        while isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8:
            place = place[key]
            key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        # A copy: the next change may go into it.
        place[key] = copy.deepcopy(rng.choice(ODD_VALUES))
    return zipped(tarred(as_json(said), CONTENT))


def changed_keys(rng: random.Random) -> bytes:
    """Names in the list are gone, new, or twice."""
    said = listed(CONTENT)
    place = rng.choice([said, said["versions"], said["databases"], *said["members"]])
    if place and rng.random() < 0.5:
        del place[rng.choice(list(place))]
    for _ in range(rng.choice([1, 1, 3_000])):
        place[rng.choice(ODD_TEXTS[3:]) + str(rng.random())] = rng.choice(ODD_TEXTS)
    text = as_json(said)
    if rng.random() < 0.3:
        text = text[:-1] + b', "format": 1}'
    return zipped(tarred(text, CONTENT))


def changed_text(rng: random.Random) -> bytes:
    """The list is JSON no more, or JSON that no reader likes."""
    text = as_json(listed(CONTENT))
    odd = [
        lambda: _flipped(rng, text),
        lambda: text[: rng.randrange(len(text))],
        lambda: b"[" * rng.choice([10, 10**5]),
        lambda: b'{"format":' * rng.choice([10, 10**5]),
        lambda: text[:-1] + b',"x":[' + b"{}," * 10**6 + b"1]}",
        lambda: text.decode().encode(rng.choice(["utf-16", "utf-32", "utf-8-sig"])),
        lambda: text.replace(b"/old", rng.choice([b"\\ud800", b"\xff", b"\\u0000", b"old"])),
        lambda: text.replace(b'"format": 1', b'"format": ' + b"9" * rng.choice([3, 5_000])),
    ]
    return zipped(tarred(rng.choice(odd)(), CONTENT))


def odd_names(rng: random.Random) -> bytes:
    """List and files agree, on names that no backup has."""
    names = [
        *(rng.choice(["data/", "home/", "databases/", ""]) + text for text in ODD_TEXTS),
        *("home/a", "home/a/b", "home/postgres/PG_VERSION", "home/dagster/dagster.yaml"),
    ]
    content = dict(CONTENT)
    for name in rng.sample(names, rng.choice([1, 2, 4])):
        content[name] = b"1"
    said = listed(content)
    try:
        return zipped(tarred(as_json(said), content))
    except (UnicodeEncodeError, ValueError):  # tar has no such name
        return zipped(tarred(as_json(said), CONTENT))


def changed_header(rng: random.Random) -> bytes:
    """Fields of a header are something else, and its sum is right."""
    tar = bytearray(tarred(as_json(listed(CONTENT)), CONTENT))
    starts = [at for at in range(0, len(tar), 512) if tar[at + 257 : at + 262] == b"ustar"]
    for at in rng.sample(starts, rng.choice([1, 1, 3])):
        for _ in range(rng.choice([1, 2, 6])):
            start, length = rng.choice(
                [(0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (345, 155)]
            )
            odd = rng.choice(
                [
                    rng.choice(b"012345678xgLKSXDMV\0 ").to_bytes() * length,
                    b"77777777777\0"[:length],
                    b"\x80" + b"\xff" * (length - 1),
                    rng.randbytes(length),
                    f"{rng.choice([0, 511, 10**6]):o}".encode(),
                ]
            )
            tar[at + start : at + start + length] = odd.ljust(length, b"\0")[:length]
        _sum_up(tar, at)
    return zipped(bytes(tar))


def long_header(rng: random.Random) -> bytes:
    """A header of pax, or another kind, says anything, of any length, or comes again and again."""
    tar = tarred(as_json(listed(CONTENT)), CONTENT)
    lines = [
        *(
            b"30 mtime=1e999\n",
            b"16 mtime=nan\n",
            b"9999999999999 path=x\n",
            b"-5 a=b\n",
            b"0 a=b\n",
        ),
        *(b"17 size=99999999\n", b"11 size=-1\n", b"23 GNU.sparse.major=1\n", b"\xff" * 9),
        *(b"21 hdrcharset=BINARY\n", b"10 path=\xff\n", b"11 path=\0\0\n", b"5" * 5_000),
    ]
    content = b"".join(rng.choices(lines, k=rng.choice([1, 3, 20])))
    content *= rng.choice([1, 1, 1_000])
    content += b"0" * rng.choice([0, 0, 10**5, 10**7])
    header = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    header[156:157] = rng.choice([b"x", b"x", b"x", b"g", b"L", b"K", b"S", b"X"])
    header[124:136] = f"{len(content):011o}\0".encode()
    _sum_up(header, 0)
    whole = bytes(header) + content + bytes(-len(content) % 512)
    at = rng.choice([0, tar.index(b"home/corr"), len(tar) - 10240 // 2 // 512 * 512])
    if len(content) < 1_000:
        whole *= rng.choice([1, 1, 3_000])
    return zipped(tar[: at // 512 * 512] + whole + tar[at // 512 * 512 :])


def changed_tar(rng: random.Random) -> bytes:
    tar = tarred(as_json(listed(CONTENT)), CONTENT)
    how = rng.choice([_flipped, _cut, _again])
    return zipped(how(rng, tar))


def changed_zip(rng: random.Random) -> bytes:
    whole = zipped(tarred(as_json(listed(CONTENT)), CONTENT))
    how = rng.choice([_flipped, _cut, _again])
    return how(rng, whole)


def changed_store(rng: random.Random) -> bytes:
    """MLflow's store is damaged, and the list has its sum as it is now."""
    how = rng.choice([_flipped, _cut, _again])
    content = CONTENT | {"mlflow.db": how(rng, CONTENT["mlflow.db"])}
    return zipped(tarred(as_json(listed(content)), content))


def _flipped(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 20])):
        changed[rng.randrange(len(changed))] = rng.choice([0, 255, rng.randrange(256)])
    return bytes(changed)


def _cut(rng: random.Random, content: bytes) -> bytes:
    start, end = sorted(rng.choices(range(len(content)), k=2))
    return content[:start] + content[end:]


def _again(rng: random.Random, content: bytes) -> bytes:
    start, end = sorted(rng.choices(range(len(content)), k=2))
    return content[:end] + content[start:]


def _sum_up(tar: bytearray, at: int) -> None:
    tar[at + 148 : at + 156] = b" " * 8
    tar[at + 148 : at + 156] = f"{sum(tar[at : at + 512]):06o}\0 ".encode()


MUTATIONS: dict[str, Callable[[random.Random], bytes]] = {
    "value": changed_value,
    "keys": changed_keys,
    "text": changed_text,
    "names": odd_names,
    "header": changed_header,
    "long header": long_header,
    "tar": changed_tar,
    "zip": changed_zip,
    "store": changed_store,
}


def fault_of(content: bytes, folder: Path) -> tuple[str, str]:
    """Restore a file's content below an empty folder, which is empty again afterwards.

    Returns:
        What was said, and how it broke the law, or nothing.
    """
    file = folder / "b.tar.gz"
    file.write_bytes(content)
    place = folder / "new"
    place.mkdir()
    settings = read_settings({"ATX_HOME": str(place / "h"), "ATX_DATA_DIR": str(place / "d")})
    lines: list[str] = []
    failed, began = False, time.monotonic()
    try:
        with bounded_memory(MEMORY):
            restore(settings, file, lines.append)
    except AtxError as error:
        failed, lines = True, [*lines, _line(error, False)]
    except Exception as error:
        return _line(error, False), f"{type(error).__name__} instead of a line"
    finally:
        took = time.monotonic() - began
        left = sorted(path.name for path in place.iterdir())
        spoilt = [name for name, part in CONTENT.items() if _is_other(place, name, part)]
        shutil.rmtree(place)
        file.unlink()
    said = "\n".join(lines)
    if took > PATIENCE:
        return said, f"took {took:.0f} s"
    if failed and left:
        return said, f"failed and left {left}"
    if not failed and left != ["d", "h"]:
        return said, f"restored {left}"
    if spoilt:
        return said, f"restored other bytes of {spoilt}"
    if odd := [line for line in lines if line != plain(line) or len(line) > LONGEST_LINE]:
        return said, f"said {odd[0][:200]!r}"
    return said, ""


def _is_other(place: Path, name: str, part: bytes) -> bool:
    """Whether a data file is there with other bytes than any of the backups has."""
    if not name.startswith("data/"):
        return False
    restored = place / "d" / name.removeprefix("data/")
    return restored.is_file() and restored.read_bytes() != part
