"""Backups of small homes, forged ones among them, and what a restore makes of them."""

import hashlib
import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from atx_assets.errors import AtxError
from atx_assets.home.backup.archive import FORMAT, MANIFEST, Manifest, Member
from atx_assets.home.backup.restore import restore
from atx_assets.settings import Settings, read_settings

MADE = "2026-11-24T04:00:00+00:00"


@pytest.fixture
def small(home: Path) -> Settings:
    """Settings of a home without servers: a data folder, and a file that must survive."""
    settings = read_settings({"ATX_HOME": str(home), "ATX_DATA_DIR": str(home.parent / "d")})
    settings.home.mkdir()
    settings.data_dir.mkdir()
    (settings.home / "corrections.jsonl").write_text("{}\n")
    (settings.home / "observed_labels.parquet").write_bytes(os.urandom(100))
    (settings.data_dir / "media.parquet").write_bytes(os.urandom(100_000))
    return settings


def elsewhere(settings: Settings) -> Settings:
    """The same settings with folders that do not exist."""
    folder = settings.home.parent / "elsewhere"
    return replace(settings, home=folder / "h", data_dir=folder / "d")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".writer.lock"
    }


def packed(file: Path, content: dict[str, bytes], /, **changes: object) -> Path:
    """Write a backup of some members; `changes` are made to its list."""
    listed = [Member(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in content.items()]
    about = Manifest(FORMAT, MADE, "/old/h", "/old/d", {"atx": "9"}, {}, [], listed)
    text = json.loads(about.to_json()) | changes
    with tarfile.open(file, "w:gz") as tar:
        for name, part in {MANIFEST: json.dumps(text).encode(), **content}.items():
            info = tarfile.TarInfo(name)
            info.size = len(part)
            tar.addfile(info, io.BytesIO(part))
    return file


def refuses(settings: Settings, file: Path, words: str) -> str:
    """See that a restore says `words` in one line, which is returned, and leaves nothing."""
    new = elsewhere(settings)
    with pytest.raises(AtxError, match=words) as raised:
        restore(new, file, lambda _: None)
    assert "\n" not in str(raised.value)
    assert list(new.home.parent.iterdir()) == []
    return str(raised.value)
