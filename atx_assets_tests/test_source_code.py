"""What the source of atx may not hold: SQL put together from values, ways to load code, writes to
the environment, late imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import atx_assets

ROOT = Path(atx_assets.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# -- SQL

#: What takes a statement, and what makes one of a text.
_RUNS = {"execute", "executemany", "executescript", "copy", "exec_", "SQL"}
_COMPOSED = {"SQL", "Identifier", "Literal", "Placeholder", "Composed"}

#: What is no literal, and why it may be there: by file, function and text.
REVIEWED = {
    (
        "sources/load/tables.py",
        "_definition",
        "sql.SQL(column.sql)",
    ): "types, from schemas.py alone",
    ("automation/pruning.py", "_prune_rows", "tables.execute(statement, values)"): (
        "one of the constants in _LEFT_OVERS"
    ),
    ("home/mlflow_store.py", "_replaced", "connection.execute(statement, values)"): (
        "SQLite's names cannot be values: those of the store itself, quoted"
    ),
    ("report/drawing.py", "_lay_out", "engine.execute(figure)"): "matplotlib's, which is no SQL",
}


class Statements:
    """The statements of one module, and which of them are put together from what is no literal."""

    def __init__(self, source: str) -> None:
        self.tree = ast.parse(source)
        self.module = _assigned(self.tree)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the function and the text of each such statement."""
        for function, node in _calls(self.tree, "<module>"):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if name not in _RUNS or not node.args or (name == "copy" and not _texts(node.args[0])):
                continue
            known = self.module | (_assigned(function) if function is not self.tree else {})
            if not self._is_fixed(node.args[0], known, ()):
                yield getattr(function, "name", "<module>"), ast.unparse(node)

    def _is_fixed(
        self, node: ast.AST, known: dict[str, list[ast.AST]], seen: tuple[str, ...]
    ) -> bool:
        """Whether a text is known before anything runs, or was composed by psycopg."""
        match node:
            case ast.Constant(value=str() | bytes()):
                return True
            case ast.IfExp(body=one, orelse=other):
                return self._is_fixed(one, known, seen) and self._is_fixed(other, known, seen)
            case ast.JoinedStr(values=parts):
                # Of constants of the same module alone.
                return all(
                    isinstance(p, ast.Constant)
                    or (
                        isinstance(p, ast.FormattedValue)
                        and isinstance(p.value, ast.Name)
                        and p.value.id.isupper()
                        and self._is_fixed(p.value, self.module, seen)
                    )
                    for p in parts
                )
            case ast.Name(id=name) if name in known and name not in seen:
                return all(self._is_fixed(v, known, (*seen, name)) for v in known[name])
            case ast.Call(func=ast.Attribute(attr="as_bytes" | "as_string", value=value)):
                return self._is_composed(value, known, seen)
            case ast.Subscript(value=ast.Name(id=name)) if name in self.module:
                values = self.module[name]
                return all(
                    isinstance(v, ast.Dict)
                    and all(self._is_fixed(x, known, seen) for x in v.values)
                    for v in values
                )
        return self._is_composed(node, known, seen)

    def _is_composed(
        self, node: ast.AST, known: dict[str, list[ast.AST]], seen: tuple[str, ...]
    ) -> bool:
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="sql"), attr=name)):
                return name in _COMPOSED  # what is in an sql.SQL is looked at by itself
            case ast.Call(func=ast.Attribute(value=value, attr="format" | "join")):
                return self._is_composed(value, known, seen)
            case ast.arg(annotation=ast.Attribute(value=ast.Name(id="sql"))):
                return True
            case ast.Name(id=name) if name in known and name not in seen:
                return all(self._is_composed(v, known, (*seen, name)) for v in known[name])
        return False


def _texts(node: ast.AST) -> bool:
    return isinstance(node, (ast.JoinedStr, ast.BinOp)) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _calls(
    node: ast.AST, _: str, function: ast.AST | None = None
) -> Iterator[tuple[ast.AST, ast.Call]]:
    function = function or node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield function, child
        inner = child if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
        yield from _calls(child, _, inner)


def _assigned(scope: ast.AST) -> dict[str, list[ast.AST]]:
    """Every value that a name gets in a scope; of a loop over literals, each of them."""
    found: dict[str, list[ast.AST]] = {}
    body = ast.walk(scope) if not isinstance(scope, ast.Module) else iter(scope.body)
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found.setdefault(name, []).append(value)
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                for one, value in zip(names, values, strict=False):
                    found.setdefault(getattr(one, "id", ""), []).append(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if value:
                found.setdefault(name, []).append(value)
            case ast.AugAssign(target=ast.Name(id=name), value=value):
                found.setdefault(name, []).append(value)
            case ast.For(target=target, iter=ast.Tuple(elts=rows) | ast.List(elts=rows)):
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                for at, name in enumerate(names):
                    for row in rows:
                        value = row.elts[at] if isinstance(row, ast.Tuple) else row
                        found.setdefault(getattr(name, "id", ""), []).append(value)
            case ast.arg(arg=name):
                found.setdefault(name, []).append(node)  # whatever the caller gives
    return found


def test_no_statement_is_put_together_from_values() -> None:
    found = {
        (str(path.relative_to(ROOT)), *fault)
        for path in MODULES
        for fault in Statements(path.read_text()).faults()
    }
    assert found - REVIEWED.keys() == set()
    assert REVIEWED.keys() - found == set(), "what is gone needs no exception"


@pytest.mark.parametrize(
    "source",
    [
        "c.execute(f'SELECT {x}')",
        "c.execute('SELECT %s' % x)",
        "c.execute('SELECT ' + x)",
        "c.execute('SELECT {}'.format(x))",
        "def f(q): c.execute(q)",
        "def f(x):\n    q = f'SELECT {x}'\n    c.execute(q)",
        "def f(x):\n    q = 'SELECT 1'\n    q += x\n    c.execute(q)",
        "sql.SQL('SELECT ' + x)",
        "sql.SQL(x)",
        "sql.SQL('SELECT {}').format(sql.SQL(x))",
        "c.execute(' '.join(parts))",
        "cursor.copy(f'COPY {x} TO STDOUT')",
        "c.executemany(statement(), rows)",
        "A = f'{x}'\nc.execute(A)",
    ],
)
def test_a_statement_put_together_would_be_found(source: str) -> None:
    assert list(Statements(source).faults())


@pytest.mark.parametrize(
    "source",
    [
        "c.execute('SELECT %s', (x,))",
        "c.execute(sql.SQL('SELECT {}').format(sql.Identifier(x)))",
        "A = 'x'\nB = f'SELECT {A}'\nc.execute(B)",
        "def f(x):\n    q = sql.SQL('SELECT {}').format(sql.Literal(x))\n    c.execute(q)",
        "def f():\n    for q, v in (('SELECT 1', 1), ('SELECT 2', 2)):\n        c.execute(q)",
        "def f(q: sql.SQL, x):\n    c.execute(q.format(sql.Literal(x)))",
        "A, B = 'SELECT 1', 'SELECT 2'\nc.execute(A if x else B)",
        "shutil.copy(a, b)",
    ],
)
def test_a_statement_of_literals_is_let_through(source: str) -> None:
    assert list(Statements(source).faults()) == []


# -- code


_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
_MODULES |= {"jsonpickle", "skops"}
_BUILTINS = {"eval", "exec", "compile", "__import__"}
_METHODS = {"load_model", "read_pickle", "to_pickle", "unsafe_load", "full_load"}


def ways_to_run_code(source: str) -> Iterator[str]:
    """Yield what imports or calls a way to turn a file into code that runs."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (n.name for n in names if n.name.split(".")[0] in _MODULES)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in _MODULES:
                yield module
            case ast.Call(func=ast.Name(id=name)) if name in _BUILTINS:
                yield name
            case ast.Call(func=ast.Attribute(attr=name, value=value), keywords=keywords):
                of = ast.unparse(value)
                plain = any(
                    k.arg in ("allow_pickle", "weights_only") and ast.unparse(k.value) != "False"
                    for k in keywords
                )
                unsafe = name == "load" and of in ("yaml", "torch", "joblib", "pickle", "dill")
                if (name in _METHODS and of != "booster") or unsafe or plain:
                    yield f"{of}.{name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_loaded_can_run_code(path: Path) -> None:
    assert list(ways_to_run_code(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import cloudpickle as c",
        "eval(x)",
        "exec(x)",
        "yaml.load(f)",
        "torch.load(f)",
        "np.load(f, allow_pickle=True)",
        "mlflow.xgboost.load_model(uri)",
        "pd.read_pickle(f)",
    ],
)
def test_a_way_to_run_code_would_be_found(source: str) -> None:
    assert list(ways_to_run_code(source))


# -- the environment

#: The one file that writes it, and says why.
_WRITES = "process_environment.py"
_CHANGING = {"update", "setdefault", "pop", "popitem", "clear", "__setitem__", "__delitem__"}


def written_environment(tree: ast.AST) -> list[str]:
    """Return the places that change `os.environ`."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=value, attr=name) if name in _CHANGING:
                at = value
            case ast.Subscript(value=value, ctx=ast.Store() | ast.Del()):
                at = value
            case ast.AugAssign(target=target):
                at = target
            case ast.Attribute(value=ast.Name(id="os"), attr="putenv" | "unsetenv"):
                at = ast.Attribute(ast.Name("os"), "environ")
            case _:
                continue
        if ast.unparse(at) == "os.environ":
            found.append(ast.unparse(node))
    return found


def test_the_environment_is_written_in_one_file_alone() -> None:
    """Kept out: settings that are passed through the environment, and seen by all that comes."""
    writes = {path.name for path in MODULES if written_environment(ast.parse(path.read_text()))}
    assert writes == {_WRITES}


# -- imports

#: Rooms whose imports stand at the top of each file; heavy ones are kept out by who calls them.
_ROOMS = ("learning", "models", "report", "sources")
#: What is imported later all the same, and whom it would keep waiting at the top.
LATE = {
    ("sources/extracted.py", "pyarrow"): "the definitions; it is a type here",
    ("sources/label_changes.py", "pyarrow"): "the definitions",
    ("sources/label_changes.py", "pyarrow.compute"): "the definitions",
    ("sources/layouts.py", "psycopg"): "the definitions; it is a type here",
    ("sources/read/database.py", "psycopg"): "the definitions",
    ("sources/read/database.py", "psycopg.conninfo"): "the definitions",
    ("sources/read/database.py", "atx_assets.sources.read.session"): "the same: it imports psycopg",
    ("models/bundle.py", "xgboost"): "whoever looks at versions and asks none, as atx promote",
    ("models/bundle.py", "atx_assets.models"): "the same: boosters, which imports XGBoost",
    ("models/bundles.py", "atx_assets.models.new_bundle"): "the same; it is a type here",
    ("models/embedded_registry.py", "atx_assets.models.bundle"): "atx up and Dagster; a type here",
    ("models/mlflow_answers.py", "requests"): "who has the embedded store; it is a type here",
    ("models/mlflow_server.py", "atx_assets.models.mlflow_http"): "the same: it imports requests",
    ("models/sqlite_faults.py", "atx_assets.models.lock_holders"): "all whose store is not locked",
}


def late_imports(source: str) -> Iterator[str]:
    """Yield the modules that are imported in a function, or for the type checker alone."""
    tree = ast.parse(source)
    for node in set(ast.walk(tree)) - set(tree.body):
        match node:
            case ast.Import(names=names):
                yield from (n.name for n in names)
            case ast.ImportFrom(module=str(module)):
                yield module


def test_imports_of_what_learns_and_reports_stand_at_the_top() -> None:
    found = {
        (str(path.relative_to(ROOT)), module)
        for path in MODULES
        if path.relative_to(ROOT).parts[0] in _ROOMS
        for module in late_imports(path.read_text())
    }
    assert found - LATE.keys() == set()
    assert LATE.keys() - found == set(), "what is gone needs no exception"


@pytest.mark.parametrize(
    "source",
    [
        "os.environ['A'] = 'b'",
        "del os.environ['A']",
        "os.environ |= more",
        "os.environ.update(more)",
        "threading.Timer(1, os.environ.__setitem__, ('A', 'b'))",
        "os.putenv('A', 'b')",
    ],
)
def test_a_write_to_the_environment_would_be_found(source: str) -> None:
    assert written_environment(ast.parse(source))
    assert not written_environment(ast.parse("os.environ.get('A'); x = os.environ['A'] | y"))


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    import numpy",
        "class A:\n    def f(self):\n        from scipy import stats",
        "if TYPE_CHECKING:\n    import numpy",
    ],
)
def test_a_late_import_would_be_found(source: str) -> None:
    assert list(late_imports(source))
