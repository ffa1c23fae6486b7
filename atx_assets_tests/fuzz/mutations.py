"""Parquet files gone wrong, made from a good one: bytes, lengths, types, values, metadata.

Not here: loading them (`loading.py`), bombs that need memory to make (`test_fuzz_load.py`).
"""

import base64
import io
import random
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Mutation = Callable[[random.Random, pa.Table], bytes]

_ABSURD = (0, -1, 1, 2**15, 2**24, 2**31 - 1, -(2**31), 2**32, 2**62, 2**63 - 1, -(2**63))
_TEXTS = (
    "",
    "N/A",
    "\0",
    "a\0b",
    "\x1b[31mred\x1b[0m",
    "\r\n",
    '"',
    "\\",
    "\\.",
    "{}",
    "NULL",
    "\u2028",
    "\u202e",
    "\ufeff",
    "\U0001f3ac",
    "tt0000001",
    "tt99999999999",
    "x" * 256,
    "x" * 100_000,
    "'; DROP TABLE atp.media;--",
)


def written(table: pa.Table, rng: random.Random, **options: Any) -> bytes:
    """Write a table as parquet, each time by another of a writer's many ways."""
    chosen: dict[str, Any] = {
        "compression": rng.choice(["none", "snappy", "gzip", "zstd", "lz4", "brotli"]),
        "use_dictionary": rng.random() < 0.6,
        "data_page_version": rng.choice(["1.0", "2.0"]),
        "version": rng.choice(["1.0", "2.4", "2.6"]),
        "write_statistics": rng.random() < 0.7,
        "write_page_index": rng.random() < 0.3,
        "write_page_checksum": rng.random() < 0.3,
        "store_schema": rng.random() < 0.7,
        "row_group_size": rng.choice([1, 7, 50, 1000]),
        "data_page_size": rng.choice([64, 1024, 2**20]),
    }
    stream = io.BytesIO()
    pq.write_table(table, stream, **(chosen | options))
    return stream.getvalue()


# -- bytes


def turned_bits(rng: random.Random, table: pa.Table) -> bytes:
    """Turn some bits anywhere."""
    data = bytearray(written(table, rng))
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def turned_bits_of_the_footer(rng: random.Random, table: pa.Table) -> bytes:
    """Turn some bits of the metadata at the end."""
    data = bytearray(written(table, rng))
    start, end = _footer(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        data[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
    return bytes(data)


def other_bytes_in_page_headers(rng: random.Random, table: pa.Table) -> bytes:
    """Write other bytes where a page's header stands: sizes, counts, encodings."""
    data = bytearray(written(table, rng))
    chunk = _chunk(data, rng)
    offsets = [chunk.data_page_offset]
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        offsets.append(chunk.dictionary_page_offset)
    start = rng.choice(offsets)
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = min(start + rng.randrange(24), len(data) - 1)
        data[at] = rng.choice([0, 0x7F, 0x80, 0xFF, data[at] ^ 1, rng.randrange(256)])
    return bytes(data)


def other_bytes_in_a_page(rng: random.Random, table: pa.Table) -> bytes:
    """Write other bytes at the beginning of an uncompressed page: levels, lengths, indices."""
    data = bytearray(written(table, rng, compression="none", write_page_checksum=False))
    chunk = _chunk(data, rng)
    for _ in range(rng.choice([1, 2, 4, 16])):
        at = chunk.data_page_offset + rng.randrange(max(chunk.total_compressed_size, 1))
        data[min(at, len(data) - 1)] = rng.choice([0, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    return bytes(data)


def cut_short(rng: random.Random, table: pa.Table) -> bytes:
    """Keep the beginning, the end, or both without the middle."""
    data = written(table, rng)
    first, second = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    return rng.choice(
        [data[:first], data[first:], data[:first] + data[second:], b"PAR1", b"PAR1" * 3]
    )


def a_stretch_elsewhere(rng: random.Random, table: pa.Table) -> bytes:
    """Zero, repeat, move in or overwrite a stretch of bytes."""
    data = written(table, rng)
    at, length = rng.randrange(len(data)), rng.choice([1, 4, 16, 256, 4096])
    to = rng.randrange(len(data))
    piece = data[at : at + length]
    return rng.choice(
        [
            data[:at] + bytes(len(piece)) + data[at + length :],
            data[:to] + piece + data[to:],
            data[:to] + piece + data[to + len(piece) :],
            data[:to] + rng.randbytes(length) + data[to + length :],
        ]
    )


def two_files_in_one(rng: random.Random, table: pa.Table) -> bytes:
    """Put the footer of one file behind the pages of another."""
    one = written(table, rng)
    two = written(table.slice(rng.randrange(table.num_rows)), rng)
    return one[: _footer(one)[0]] + two[_footer(two)[0] :]


def an_absurd_footer_length(rng: random.Random, table: pa.Table) -> bytes:
    """Say another length of the metadata, or another magic word."""
    data = bytearray(written(table, rng))
    number = rng.choice([0, 1, 2**31 - 1, 2**32 - 1, len(data), len(data) - 8, rng.randrange(9999)])
    data[-8:-4] = number.to_bytes(4, "little")
    if rng.random() < 0.2:
        data[-4:] = rng.choice([b"PARE", b"PAR2", b"\0\0\0\0"])
    return bytes(data)


def an_absurd_number_in_the_footer(rng: random.Random, table: pa.Table) -> bytes:
    """Replace a count, size or offset of the metadata by an absurd one, all else being right."""
    data = written(table, rng)
    start, end = _footer(data)
    metadata = pq.read_metadata(io.BytesIO(data))
    chunk = _chunk(data, rng)
    known = [
        metadata.num_rows,
        metadata.row_group(0).num_rows,
        metadata.row_group(0).total_byte_size,
        chunk.num_values,
        chunk.data_page_offset,
        chunk.dictionary_page_offset or 4,
        chunk.total_compressed_size,
        chunk.total_uncompressed_size,
    ]
    footer = data[start:end]
    for _ in range(rng.choice([1, 1, 3])):
        absurd = _varint(rng.choice([*_ABSURD, rng.choice(known) + 1, rng.randrange(2**40)]))
        old = _varint(rng.choice(known))
        places = [i for i in range(len(footer)) if footer.startswith(old, i)]
        if places:
            at = rng.choice(places)
            footer = footer[:at] + absurd + footer[at + len(old) :]
    return data[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def _footer(data: bytes | bytearray) -> tuple[int, int]:
    length = int.from_bytes(data[-8:-4], "little")
    return len(data) - 8 - length, len(data) - 8


def _chunk(data: bytes | bytearray, rng: random.Random) -> Any:
    metadata = pq.read_metadata(io.BytesIO(bytes(data)))
    group = metadata.row_group(rng.randrange(metadata.num_row_groups))
    return group.column(rng.randrange(group.num_columns))


def _varint(number: int) -> bytes:
    """An integer as Thrift's compact protocol writes it: zigzag, seven bits a byte."""
    number = ((number << 1) ^ (number >> 63)) & (2**64 - 1)
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


# -- what the writer was given


def a_column_of_another_type(rng: random.Random, table: pa.Table) -> bytes:
    """Give some columns another type with values of that type, odd ones among them."""
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(table.num_columns)
        values = _strange_values(rng, table.num_rows)
        table = table.set_column(at, table.column_names[at], values)
    return _written_or_less(table, rng)


def a_column_cast(rng: random.Random, table: pa.Table) -> bytes:
    """Give a column another type that its values fit."""
    for _ in range(rng.choice([1, 3, 8])):
        at = rng.randrange(table.num_columns)
        column, name = table.column(at), table.column_names[at]
        try:
            if rng.random() < 0.3:
                cast = column.combine_chunks().dictionary_encode()
            else:
                cast = column.cast(rng.choice(_TYPES)(), safe=False)
        except (pa.ArrowException, TypeError, ValueError):
            continue
        table = table.set_column(at, name, cast)
    return _written_or_less(table, rng)


def odd_values(rng: random.Random, table: pa.Table) -> bytes:
    """Put values at the edges of each type in some cells."""
    for _ in range(rng.choice([1, 3, 10])):
        at = rng.randrange(table.num_columns)
        field = table.schema.field(at)
        values = table.column(at).to_pylist()
        try:
            for _ in range(rng.choice([1, 5])):
                values[rng.randrange(len(values))] = _odd(rng, field.type)
            made = pa.array(values, field.type)
        except (pa.ArrowException, OverflowError, ValueError, TypeError):
            continue
        table = table.set_column(at, field.name, made)
    return written(table, rng)


def names_that_moved(rng: random.Random, table: pa.Table) -> bytes:
    """Swap, double, drop, rename or add columns."""
    names = list(table.column_names)
    what = rng.randrange(6)
    one, two = rng.sample(range(len(names)), 2)
    if what == 0:
        names[one], names[two] = names[two], names[one]
    elif what == 1:
        names[one] = names[two]
    elif what == 2:
        names[one] = rng.choice(["", " ", "a\0b", "x" * 100_000, '"; --', names[one].upper()])
    table = table.rename_columns(names)
    if what == 3:
        table = table.select(rng.sample(range(len(names)), rng.randrange(len(names))))
    elif what == 4:
        for i in range(rng.choice([1, 300])):
            table = table.append_column(f"more_{i}", pa.nulls(table.num_rows))
    elif what == 5:
        table = table.slice(0, rng.choice([0, 0, 1]))
    return written(table, rng)


def strange_metadata(rng: random.Random, table: pa.Table) -> bytes:
    """Write metadata of the whole file that lies, or is no metadata."""
    other = pa.schema([pa.field(n, rng.choice(_TYPES)()) for n in table.column_names])
    lie = base64.b64encode(other.serialize().to_pybytes())
    value = rng.choice(
        [b"", b"!", b"\xff\xfe", lie, lie[: len(lie) // 2], rng.randbytes(200), b"{}", b"x" * 10**6]
    )
    name = rng.choice([b"ARROW:schema", b"pandas", b"", b"\xff"])
    return written(table.replace_schema_metadata({name: value}), rng, store_schema=False)


_TYPES: tuple[Callable[[], pa.DataType], ...] = (
    *(pa.int8, pa.uint8, pa.int16, pa.int32, pa.int64, pa.uint32, pa.uint64),
    *(pa.float16, pa.float32, pa.float64, pa.bool_, pa.null, pa.date32, pa.date64),
    *(pa.string, pa.large_string, pa.string_view, pa.binary, pa.large_binary, pa.binary_view),
    lambda: pa.binary(3),
    lambda: pa.decimal128(38, 10),
    lambda: pa.decimal128(5, -3),
    lambda: pa.decimal256(76, 2),
    *(lambda unit=unit: pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
    lambda: pa.timestamp("us", "Europe/Berlin"),
    lambda: pa.timestamp("us", "+14:00"),
    lambda: pa.timestamp("us", "Mars/Olympus"),
    lambda: pa.time64("ns"),
    lambda: pa.duration("us"),
    lambda: pa.list_(pa.string()),
    lambda: pa.large_list(pa.large_string()),
    lambda: pa.list_(pa.string(), 2),
    lambda: pa.list_view(pa.string()),
    lambda: pa.list_(pa.list_(pa.string())),
    lambda: pa.list_(pa.binary()),
    lambda: pa.list_(pa.null()),
    lambda: pa.list_(pa.int64()),
    lambda: pa.list_(pa.dictionary(pa.int32(), pa.string())),
    lambda: pa.map_(pa.string(), pa.int64()),
    lambda: pa.struct([("a", pa.string()), ("b", pa.list_(pa.int8()))]),
    lambda: pa.struct([]),
    lambda: pa.dictionary(pa.int8(), pa.string()),
    lambda: pa.dictionary(pa.int32(), pa.int64()),
    lambda: pa.dictionary(pa.int32(), pa.timestamp("us")),
    lambda: pa.dictionary(pa.int32(), pa.float32()),
    lambda: pa.dictionary(pa.int32(), pa.large_binary()),
    lambda: pa.dictionary(pa.int32(), pa.bool_()),
    lambda: pa.json_(pa.string()),
    lambda: pa.uuid(),
)


def _strange_values(rng: random.Random, rows: int) -> pa.Array:
    while True:
        kind = rng.choice(_TYPES)()
        if rng.random() < 0.1:
            kind = pa.list_(kind)
        stored = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
        wanted = stored.value_type if pa.types.is_dictionary(stored) else stored
        try:
            few = [_odd(rng, wanted) for _ in range(6)]
            values = [rng.choice(few) for _ in range(rows)]
            made = pa.array(values, wanted)
            made = made.cast(stored) if wanted != stored else made
            return kind.wrap_array(made) if stored is not kind else made
        except (pa.ArrowException, OverflowError, ValueError, TypeError, AttributeError):
            continue


def _odd(rng: random.Random, kind: pa.DataType) -> Any:
    t = pa.types
    if rng.random() < 0.2 or t.is_null(kind):
        return None
    if t.is_boolean(kind):
        return rng.random() < 0.5
    if t.is_integer(kind):
        bits = kind.bit_width
        signed = t.is_signed_integer(kind)
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        return rng.choice([low, high, 0, 1, 7, 100, low + 1])
    if t.is_floating(kind):
        return rng.choice([0.0, -0.0, 7.5, 1e308, -1e308, 5e-324, 2.0**63, *_UNREAL])
    if t.is_decimal(kind):
        return rng.choice([Decimal(0), Decimal(7000), Decimal(-1000), Decimal("9e30"), None])
    if t.is_fixed_size_binary(kind):
        return rng.randbytes(kind.byte_width)
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind):
        return rng.choice([b"", b"\xff\xfe", b"\xed\xa0\x80", rng.randbytes(9), b"a" * 40])
    if t.is_list(kind) or t.is_large_list(kind) or t.is_list_view(kind):
        return [_odd(rng, kind.value_type) for _ in range(rng.choice([0, 1, 2, 50]))]
    if t.is_fixed_size_list(kind):
        return [_odd(rng, kind.value_type) for _ in range(kind.list_size)]
    if t.is_map(kind):
        return [("a", 1)]
    if t.is_struct(kind):
        return {field.name: _odd(rng, field.type) for field in kind}
    if t.is_timestamp(kind) or t.is_date(kind) or t.is_time(kind) or t.is_duration(kind):
        return _odd_time(rng, kind)
    return rng.choice(_TEXTS)


_UNREAL = [float("nan"), float("inf"), float("-inf")]


def _odd_time(rng: random.Random, kind: pa.DataType) -> Any:
    if pa.types.is_duration(kind):
        return timedelta(days=rng.randrange(99))
    if kind.bit_width == 32:
        number = rng.choice([0, 1, 2**31 - 1, -(2**31)])
        return pa.scalar(number, pa.int32()).cast(kind)
    number = rng.choice([0, 1, 2**62, -(2**62), 2**63 - 1, -(2**63), 10**15, -(10**17)])
    if pa.types.is_date64(kind):
        number -= number % 86_400_000
    return pa.scalar(number, pa.int64()).cast(kind)


def _written_or_less(table: pa.Table, rng: random.Random) -> bytes:
    """Write it; without the columns that parquet has no type for."""
    try:
        return written(table, rng)
    except (pa.ArrowException, OSError, TypeError, ValueError):
        kept = []
        for name in dict.fromkeys(table.column_names):
            try:
                written(table.select([name]), rng, version="2.6")
            except (pa.ArrowException, OSError, TypeError, ValueError):
                continue
            kept.append(name)
        return written(table.select(kept), rng, version="2.6")


MUTATIONS: dict[str, Mutation] = {
    made.__name__: made
    for made in (
        turned_bits,
        turned_bits_of_the_footer,
        other_bytes_in_page_headers,
        other_bytes_in_a_page,
        cut_short,
        a_stretch_elsewhere,
        two_files_in_one,
        an_absurd_footer_length,
        an_absurd_number_in_the_footer,
        a_column_of_another_type,
        a_column_cast,
        odd_values,
        names_that_moved,
        strange_metadata,
    )
}
