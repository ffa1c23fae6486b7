"""Do the tests notice when the code is broken? 150 places, broken one by one.

What: `draw` picks the places at random, from each room in proportion to its lines, at most five per
file, and writes them to `mutants.json`. `cover` runs tests under coverage.py to learn which tests
run a line. `run` breaks each place in a checkout of its own and runs the tests that cover it, the
cheapest first, until one fails. A test that takes ten times its usual time has found its mutant. A
mutant is not found if the budget runs out, or if no test covers it. One that changes nothing does
not count.

Against: the same list at another commit: `run --repo` names its checkout. To reach: at least the
earlier share found, and 85%.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import dataclasses
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
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
    """A place and what is done to it; `text` is the line, by which it is found again.

    `column` counts from where the text begins. `changes_nothing` says why no test could see it.
    """

    file: str
    line: int
    column: int
    operator: str
    text: str
    changes_nothing: str = ""

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
    made = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.expr | ast.stmt) or id(node) in apart:
            continue
        line = lines[node.lineno - 1]
        column = node.col_offset - _indent(line)
        for operator in operators(node):
            name = str(file.relative_to(repo))
            made.append(Mutant(name, node.lineno, column, operator, line.strip()))
    return made


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


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
    """Does an operator to the node at a line and column."""

    def __init__(self, line: int, column: int, operator: str) -> None:
        self._place, self._operator, self.done = (line, column), operator, False

    def visit(self, node: ast.AST) -> ast.AST:
        """Break the node at that place, and go into all others."""
        here = (getattr(node, "lineno", 0), getattr(node, "col_offset", -1))
        if here == self._place and not self.done and self._operator in operators(node):
            self.done = True
            return broken(node, self._operator)
        return self.generic_visit(node)


def find(repo: Path, mutant: Mutant) -> Mutant:
    """Return where the mutant's line is now: in its file, or in the one that it moved to.

    Raises:
        LookupError: the line stands nowhere any more.
    """
    first = repo / mutant.file
    for path in [first, *sorted((repo / "atx_assets").rglob("*.py"))]:
        lines = path.read_text().splitlines() if path.exists() else []
        if same := [at for at, line in enumerate(lines, 1) if line.strip() == mutant.text]:
            line = min(same, key=lambda at: abs(at - mutant.line))
            return dataclasses.replace(mutant, file=str(path.relative_to(repo)), line=line)
    raise LookupError(str(mutant))


def break_file(repo: Path, mutant: Mutant) -> tuple[Path, str]:
    """Break the file in a checkout; return it and what stood there."""
    path = repo / mutant.file
    text = path.read_text()
    column = _indent(text.splitlines()[mutant.line - 1]) + mutant.column
    change = Break(mutant.line, column, mutant.operator)
    tree = change.visit(ast.parse(text))
    assert change.done, str(mutant)
    path.write_text(ast.unparse(ast.fix_missing_locations(tree)))
    return path, text


#: A plugin. It tells coverage.py which test runs, and keeps how long each takes; where `CHOSEN`
#: names a list, it runs those tests alone, the cheapest first, each for ten times its time at most.
PLUGIN = """
import json, os, pytest

kept = os.environ["TIMES"]
times = json.load(open(kept)) if os.path.exists(kept) else {}

if "CHOSEN" in os.environ:
    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(config, items):
        chosen = set(json.load(open(os.environ["CHOSEN"])))
        items[:] = sorted((i for i in items if i.nodeid in chosen), key=lambda i: times[i.nodeid])
        for item in items:
            item.add_marker(pytest.mark.timeout(20 + 10 * times[item.nodeid]), append=False)
else:
    import coverage

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(item, nextitem):
        coverage.Coverage.current().switch_context(item.nodeid)
        return (yield)

    def pytest_runtest_logreport(report):
        times[report.nodeid] = times.get(report.nodeid, 0) + report.duration

    def pytest_sessionfinish():
        json.dump(times, open(kept, "w"))
"""


def cover(repo: Path, folder: Path, words: list[str]) -> None:
    """Run tests under coverage.py, which must be there; add to what is known of them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "which_covers.py").write_text(PLUGIN)
    (folder / "rc").write_text(f"[run]\nsource = {repo}/atx_assets\ndata_file = {folder}/data\n")
    command = [str(repo / ".venv" / "bin" / "python"), "-m", "coverage", "run", "--append"]
    command += [f"--rcfile={folder}/rc", "-m", "pytest", "-q", "-p", "which_covers"]
    settings = {"PYTHONPATH": str(folder), "TIMES": str(folder / "times.json")}
    subprocess.run([*command, *words], cwd=repo, env=os.environ | settings, check=False)


def covering(folder: Path, mutant: Mutant) -> list[str]:
    """Return the tests that run the mutant's line; of a line run at import, those of its file."""
    times = json.loads((folder / "times.json").read_text())
    line, file, at_import = set(), set(), False
    with contextlib.closing(sqlite3.connect(folder / "data")) as data:
        rows = data.execute(
            "SELECT c.context, b.numbits FROM line_bits b JOIN file f ON f.id = b.file_id"
            " JOIN context c ON c.id = b.context_id WHERE f.path LIKE ?",
            [f"%/{mutant.file}"],
        )
        for context, bits in rows:
            byte, bit = divmod(mutant.line, 8)
            runs = byte < len(bits) and bits[byte] >> bit & 1
            at_import |= bool(runs) and not context
            if context in times:
                file.add(context)
                if runs:
                    line.add(context)
    return sorted(line or (file if at_import else ()))


def judge(repo: Path, folder: Path, mutant: Mutant) -> dict[str, object]:
    """Break the code, run the tests that cover it, put it right; say what happened."""
    try:
        here = find(repo, mutant)
    except LookupError:
        return {"found": None, "by": "the line is gone"}
    path, before = break_file(repo, here)
    try:
        tests = covering(folder, here)
        if not tests:
            return {"found": False, "by": "no test covers it"}
        chosen = folder / f"chosen-{repo.name}.json"
        chosen.write_text(json.dumps(tests))
        status, output = pytest(
            repo, *sorted({test.split("::")[0] for test in tests}), CHOSEN=str(chosen),
            PYTHONPATH=str(folder), TIMES=str(folder / "times.json"),
        )  # fmt: skip
        by = "the budget is over" if status < 0 else _failed(output) if status else "nothing"
        return {"found": status > 0, "by": by, "tests": len(tests)}
    finally:
        path.write_text(before)


def pytest(repo: Path, *words: str, **settings: str) -> tuple[int, str]:
    """Run tests up to the first failure; return the exit status (-1: budget over) and output."""
    command = [str(repo / ".venv" / "bin" / "python"), "-m", "pytest", "-q", "-x"]
    command += ["-p", "no:cacheprovider", "-p", "which_covers"]
    running = subprocess.Popen(
        [*command, *words], cwd=repo, env=os.environ | settings, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        output, _ = running.communicate(timeout=BUDGET)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        return -1, ""
    return running.returncode, output


def _failed(output: str) -> str:
    lines = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0][:160] if lines else output[-160:]


def main() -> None:
    """Draw, cover or run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["draw", "cover", "run"])
    parser.add_argument("--repo", type=Path, nargs="+", default=[HERE.parent], help="checkouts")
    parser.add_argument("--covered", type=Path, default=Path("/tmp/atx-covered"))
    parser.add_argument("--to", type=Path, default=Path("mutation.jsonl"), help="results, resumed")
    parser.add_argument("--tests", nargs="+", default=["-m not slow"], help="words for pytest")
    options = parser.parse_args()
    repo = options.repo[0].resolve()
    if options.what == "draw":
        drawn = draw(repo)
        LIST.write_text("[\n" + ",\n".join(json.dumps(asdict(m)) for m in drawn) + "\n]\n")
        print(f"{len(drawn)} places: {dict(Counter(m.room for m in drawn))}")
        return
    if options.what == "cover":
        cover(repo, options.covered.resolve(), options.tests)
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
            found = judge(checkout, options.covered.resolve(), mutant)
        finally:
            free.put(checkout)
        with options.to.open("a") as file:
            file.write(json.dumps({"mutant": str(mutant), **found}) + "\n")
        print(found["found"], mutant, "|", found["by"], flush=True)

    mutants = [Mutant(**place) for place in json.loads(LIST.read_text())]
    with ThreadPoolExecutor(len(options.repo)) as pool:
        wanted = [m for m in mutants if not m.changes_nothing and str(m) not in done]
        list(pool.map(one, wanted))
    results = [json.loads(line) for line in options.to.read_text().splitlines()]
    found = sum(result["found"] is True for result in results)
    judged = sum(result["found"] is not None for result in results)
    print(f"{found} of {judged} found, {found / judged:.1%}")


if __name__ == "__main__":
    sys.exit(main())
