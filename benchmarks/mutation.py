"""Do the tests see it when the code is broken? 150 places, broken one by one.

What: `draw` picks the places at random, by rooms in proportion to their lines, at most five in a
file, and writes them to `mutants.json`. `run` breaks each in a checkout of its own and runs the
tests until the first fails: first the quick ones that cover the line, the cheapest first (a run
under coverage.py tells which), then the slow ones of the room. A test that takes ten times its
time counts as a mutant found; a mutant on which the budget runs out is not found.

Against: the same list at another commit: `run --repo` names its checkout. To reach: no smaller
share found than before, and 85%.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue

HERE = Path(__file__).parent
LIST = HERE / "mutants.json"
ROOMS = ("learning", "sources", "automation", "resources")
PLACES, A_FILE, SEED = 150, 5, 15
#: Seconds for the tests of one mutant.
BUDGET = 300

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}


@dataclass(frozen=True)
class Mutant:
    """A place and what is done to it. `text` is the line, by which it is found again."""

    file: str
    line: int
    column: int
    operator: str
    text: str

    @property
    def room(self) -> str:
        return self.file.split("/")[1]

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column} {self.operator}: {self.text}"


def operators(node: ast.AST) -> Iterator[str]:
    """Name what can be done to a node."""
    match node:
        case ast.Compare(ops=[one]) if type(one) in SWAPS:
            yield f"{type(one).__name__} to {SWAPS[type(one)].__name__}"
        case ast.BoolOp(op=one) | ast.BinOp(op=one) if type(one) in SWAPS:
            yield f"{type(one).__name__} to {SWAPS[type(one)].__name__}"
        case ast.Constant(value=bool()):
            yield "the other truth"
        case ast.Constant(value=int() | float()):
            yield "one more"
        case ast.UnaryOp(op=ast.Not()):
            yield "no not"
        case ast.If() | ast.IfExp():
            yield "the other branch"
        case ast.Return(value=ast.expr()):
            yield "return None"
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise():
            yield "no statement"


def broken(node: ast.AST, operator: str) -> ast.AST:
    """Return the node with that done to it."""
    made = copy.deepcopy(node)
    match made:
        case ast.Compare(ops=[one]):
            made.ops = [SWAPS[type(one)]()]  # type: ignore[list-item]
        case ast.BoolOp(op=one) | ast.BinOp(op=one):
            made.op = SWAPS[type(one)]()  # type: ignore[assignment]
        case ast.Constant(value=bool(value)):
            made.value = not value
        case ast.Constant(value=int(value) | float(value)):
            made.value = value + 1
        case ast.UnaryOp(operand=operand):
            return operand
        case ast.If(test=test) | ast.IfExp(test=test):
            made.test = ast.UnaryOp(op=ast.Not(), operand=test)
        case ast.Return():
            made.value = ast.Constant(None)
        case _:
            return ast.Pass()
    assert operator
    return made


def places(repo: Path, file: Path) -> list[Mutant]:
    """Find every place of a file; annotations and docstrings are none."""
    text = file.read_text()
    tree = ast.parse(text)
    apart = {
        id(inner)
        for node in ast.walk(tree)
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if part is not None
        for inner in ast.walk(part)
    }
    lines = text.splitlines()
    return [
        Mutant(
            str(file.relative_to(repo)), node.lineno, node.col_offset, operator,
            lines[node.lineno - 1].strip(),
        )
        for node in ast.walk(tree)
        if id(node) not in apart
        for operator in operators(node)
    ]  # fmt: skip


def draw(repo: Path) -> list[Mutant]:
    """Draw the places, by rooms in proportion to their lines."""
    chance = random.Random(SEED)
    files = {room: sorted((repo / "atx_assets" / room).rglob("*.py")) for room in ROOMS}
    lines = {r: sum(len(f.read_text().splitlines()) for f in files[r]) for r in ROOMS}
    drawn: list[Mutant] = []
    for room in ROOMS:
        wanted = round(PLACES * lines[room] / sum(lines.values()))
        found = [place for file in files[room] for place in places(repo, file)]
        chance.shuffle(found)
        in_file: Counter[str] = Counter()
        seen: set[tuple[str, int]] = set()
        for place in found:
            if wanted == 0:
                break
            if in_file[place.file] < A_FILE and (place.file, place.line) not in seen:
                drawn.append(place)
                in_file[place.file] += 1
                seen.add((place.file, place.line))
                wanted -= 1
    return drawn


class Break(ast.NodeTransformer):
    """Does to a node what the mutant says."""

    def __init__(self, line: int, mutant: Mutant) -> None:
        self._line, self._mutant, self.done = line, mutant, False

    def visit(self, node: ast.AST) -> ast.AST:
        """Break the node of the mutant, and go into all others."""
        here = (getattr(node, "lineno", 0), getattr(node, "col_offset", -1))
        wanted = here == (self._line, self._mutant.column)
        if wanted and not self.done and self._mutant.operator in operators(node):
            self.done = True
            return broken(node, self._mutant.operator)
        return self.generic_visit(node)


def break_file(repo: Path, mutant: Mutant) -> tuple[Path, str]:
    """Break the file in a checkout; return it and what stood there.

    Raises:
        LookupError: the line is gone, or stands there no more.
    """
    path = repo / mutant.file
    text = path.read_text()
    lines = [line.strip() for line in text.splitlines()]
    same = [at for at, line in enumerate(lines, 1) if line == mutant.text]
    if not same:
        raise LookupError(str(mutant))
    change = Break(min(same, key=lambda at: abs(at - mutant.line)), mutant)
    tree = change.visit(ast.parse(text))
    if not change.done:
        raise LookupError(str(mutant))
    path.write_text(ast.unparse(ast.fix_missing_locations(tree)))
    return path, text


def pytest(
    repo: Path, *words: str, seconds: float | None = None, **settings: str
) -> tuple[int, str]:
    """Run tests in a checkout; return the exit status, or -1 where the time is over, and output."""
    command = [
        str(repo / ".venv" / "bin" / "python"),
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    running = subprocess.Popen(
        [*command, *words], cwd=repo, env=os.environ | settings, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        output, _ = running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        return -1, ""
    return running.returncode, output


#: A plugin that tells coverage.py which test runs, and keeps how long each takes.
PLUGIN = """
import json, os, coverage, pytest

times = {}

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    coverage.Coverage.current().switch_context(item.nodeid)
    return (yield)

def pytest_runtest_logreport(report):
    times[report.nodeid] = times.get(report.nodeid, 0) + report.duration

def pytest_sessionfinish():
    json.dump(times, open(os.environ["TIMES"], "w"))
"""


def cover(repo: Path, folder: Path) -> None:
    """Run the quick tests under coverage.py, which must be there; keep which covers what."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "told_coverage.py").write_text(PLUGIN)
    (folder / "rc").write_text(f"[run]\nsource = {repo}/atx_assets\ndata_file = {folder}/data\n")
    command = [str(repo / ".venv" / "bin" / "python"), "-m", "coverage", "run"]
    command += [f"--rcfile={folder}/rc", "-m", "pytest", "-q", "-p", "told_coverage"]
    settings = {"PYTHONPATH": str(folder), "TIMES": str(folder / "times.json")}
    subprocess.run([*command, "-m", "not slow"], cwd=repo, env=os.environ | settings, check=False)


def covering(folder: Path, mutant: Mutant) -> list[str]:
    """Return the tests that run the mutant's line, the cheapest first."""
    times = json.loads((folder / "times.json").read_text())
    found = set()
    with contextlib.closing(sqlite3.connect(folder / "data")) as data:
        rows = data.execute(
            "SELECT c.context, b.numbits FROM line_bits b JOIN file f ON f.id = b.file_id"
            " JOIN context c ON c.id = b.context_id WHERE f.path LIKE ?",
            [f"%/{mutant.file}"],
        )
        for context, bits in rows:
            byte, bit = divmod(mutant.line, 8)
            if context in times and byte < len(bits) and bits[byte] >> bit & 1:
                found.add(context)
    return sorted(found, key=lambda test: times[test])


def judge(repo: Path, folder: Path, mutant: Mutant, slow: list[str]) -> dict[str, object]:
    """Break the code, run the tests, put it right; say what happened."""
    began = time.monotonic()
    tests = covering(folder, mutant)
    try:
        path, before = break_file(repo, mutant)
    except LookupError:
        return {"found": None, "by": "the line is gone"}
    try:
        usual = sum(json.loads((folder / "times.json").read_text())[t] for t in tests)
        if tests:
            status, output = pytest(repo, "-x", *tests, seconds=60 + 10 * usual)
            if status:
                return {"found": True, "by": "a hang" if status < 0 else _failed(output)}
        if not slow:
            return {"found": False, "by": "nothing quick"}
        left = BUDGET - (time.monotonic() - began)
        chosen = [f"atx_assets_tests/{name}" for name in slow]
        status, output = pytest(repo, "-x", "-m", "slow", *chosen, seconds=max(60, left))
        if status == 0 or status == 5:
            return {
                "found": False,
                "by": "nothing" if tests else "nothing; no quick test covers it",
            }
        return {"found": status > 0, "by": "the budget is over" if status < 0 else _failed(output)}
    finally:
        path.write_text(before)


def _failed(output: str) -> str:
    lines = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0][:160] if lines else output[-160:]


#: The slow tests of a room that start no program.
SLOW = {
    "learning": ["learning", "assets/test_graph.py"],
    "sources": ["sources", "fuzz"],
    "automation": ["automation"],
    "resources": ["resources", "assets/test_promotion.py"],
}


def main() -> None:
    """Draw, cover or run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["draw", "cover", "run"])
    parser.add_argument("--repo", type=Path, nargs="+", default=[HERE.parent], help="checkouts")
    parser.add_argument("--covered", type=Path, default=Path("/tmp/atx-covered"))
    parser.add_argument("--to", type=Path, default=Path("mutation.jsonl"), help="results, resumed")
    parser.add_argument("--quick", action="store_true", help="leave the slow tests out")
    options = parser.parse_args()
    repo = options.repo[0].resolve()
    if options.what == "draw":
        drawn = draw(repo)
        LIST.write_text("[\n" + ",\n".join(json.dumps(asdict(m)) for m in drawn) + "\n]\n")
        print(f"{len(drawn)} places: {dict(Counter(m.room for m in drawn))}")
        return
    if options.what == "cover":
        cover(repo, options.covered.resolve())
        return
    done = set()
    if options.to.exists():
        done = {json.loads(line)["mutant"] for line in options.to.read_text().splitlines()}
    free: Queue[Path] = Queue()
    for checkout in options.repo:
        free.put(checkout.resolve())

    def one(mutant: Mutant) -> None:
        checkout = free.get()
        try:
            slow = [] if options.quick else SLOW[mutant.room]
            found = judge(checkout, options.covered.resolve(), mutant, slow)
        finally:
            free.put(checkout)
        with options.to.open("a") as file:
            file.write(json.dumps({"mutant": str(mutant), **found}) + "\n")
        print(found["found"], mutant, "|", found["by"], flush=True)

    mutants = [Mutant(**place) for place in json.loads(LIST.read_text())]
    with ThreadPoolExecutor(len(options.repo)) as pool:
        list(pool.map(one, [m for m in mutants if str(m) not in done]))
    results = [json.loads(line) for line in options.to.read_text().splitlines()]
    found = sum(result["found"] is True for result in results)
    judged = sum(result["found"] is not None for result in results)
    print(f"{found} of {judged} found, {found / judged:.1%}")


if __name__ == "__main__":
    sys.exit(main())
