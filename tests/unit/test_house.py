"""The house rules that a machine can hold: sizes, names, explained ignores, imports.

docs/development.md lists the rules; the numbers are here and nowhere else.
"""

import ast
import io
import re
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("novapulse", "supervisor", "packaging")

MAX_FILE_LINES = 400
MAX_TEST_FILE_LINES = 700
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 8
MAX_POSITIONAL = 2
# So few may all be positional: `next_start(policy, exits, now)` reads well.
FEW_PARAMETERS = 3
MAX_NESTING = 4
MAX_INIT_LINES = 30
MAX_FEATURE_LINES = 1_500

# Packages of novapulse/ that serve all features and may grow with their number.
NOT_FEATURES = {"cli", "console", "core", "migrations", "processes", "stores"}

# A last word that says nothing about what is inside.
EMPTY_WORDS = {"util", "utils", "helper", "helpers", "common", "misc"}
EMPTY_WORDS |= {"manager", "handler", "processor", "base"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (
    *(ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith),
    *(ast.Try, ast.TryStar, ast.Match),
)


def product_files() -> list[Path]:
    return sorted(path for name in PRODUCT for path in (ROOT / name).rglob("*.py"))


def files_of_tests() -> list[Path]:
    return sorted((ROOT / "tests").rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def line_count(path: Path) -> int:
    return len(path.read_text().splitlines())


def functions() -> Iterator[tuple[str, Path, Function]]:
    """Every function of the product with a place to print."""
    for path in product_files():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, Function):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", path, node


def test_files_stay_within_their_size():
    limits = [(path, MAX_FILE_LINES) for path in product_files()]
    limits += [(path, MAX_TEST_FILE_LINES) for path in files_of_tests()]
    assert_none(
        f"{path.relative_to(ROOT)}: {line_count(path)} lines, at most {limit}"
        for path, limit in limits
        if line_count(path) > limit
    )


def test_functions_stay_within_their_size():
    lengths = ((where, (node.end_lineno or 0) - node.lineno + 1) for where, _, node in functions())
    assert_none(
        f"{where}: {lines} lines, at most {MAX_FUNCTION_LINES}"
        for where, lines in lengths
        if lines > MAX_FUNCTION_LINES
    )


def test_feature_packages_stay_within_their_size():
    features = [p.parent for p in (ROOT / "novapulse").glob("*/__init__.py")]
    sizes = {
        feature.name: sum(line_count(path) for path in feature.rglob("*.py"))
        for feature in features
        if feature.name not in NOT_FEATURES
    }
    assert_none(
        f"novapulse/{name}: {lines} lines, at most {MAX_FEATURE_LINES}: split the feature"
        for name, lines in sizes.items()
        if lines > MAX_FEATURE_LINES
    )


def test_functions_take_few_parameters():
    assert_none(
        f"{where}: {count} parameters, at most {MAX_PARAMETERS}"
        for where, _, node in functions()
        if (count := parameter_count(node)) > MAX_PARAMETERS
    )


def test_parameters_after_the_second_are_keyword_only():
    assert_none(
        f"{where}: {', '.join(names)} are positional; at most {MAX_POSITIONAL} may be"
        for where, path, node in functions()
        if parameter_count(node) > FEW_PARAMETERS
        and len(names := own_parameters(node)) > MAX_POSITIONAL
        and not shape_is_given(path, node)
    )


def parameter_count(node: Function) -> int:
    return len(own_parameters(node)) + len(node.args.kwonlyargs)


def own_parameters(node: Function) -> list[str]:
    """The positional parameters without `self` and `cls`."""
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def shape_is_given(path: Path, node: Function) -> bool:
    """Whether somebody else decides how the function is called.

    That is so for special methods, for ASGI applications, and where the line
    of the `def` says `# called by NAME`.
    """
    if node.name != "__init__" and re.fullmatch("__[a-z]+__", node.name):
        return True
    if own_parameters(node)[-3:] == ["scope", "receive", "send"]:
        return len(own_parameters(node)) == 3
    header = path.read_text().splitlines()[node.lineno - 1 : node.body[0].lineno]
    return any(re.search(r"# called by \w", line) for line in header)


def test_nesting_stays_shallow():
    assert_none(
        f"{where}: {depth} blocks deep, at most {MAX_NESTING}"
        for where, _, node in functions()
        if (depth := deepest_block(node.body)) > MAX_NESTING
    )


def deepest_block(body: list[ast.stmt]) -> int:
    return max((depth_of(statement) for statement in body), default=0)


def depth_of(node: ast.AST) -> int:
    """Blocks inside blocks; `elif` is one with its `if`, an inner function counts by itself."""
    if isinstance(node, Function | ast.ClassDef | ast.Lambda):
        return 0
    if isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        return max(1 + deepest_block(node.body), depth_of(node.orelse[0]))
    inner = max((depth_of(child) for child in ast.iter_child_nodes(node)), default=0)
    return inner + isinstance(node, BLOCKS)


@pytest.mark.parametrize(
    ("source", "depth"),
    [
        ("x = 1", 0),
        ("if a:\n  x\nelif b:\n  y\nelif c:\n  z\nelse:\n  w", 1),
        ("if a:\n  x\nelse:\n  for b in c:\n    y", 2),
        ("try:\n  x\nexcept E:\n  if a:\n    y", 2),
        ("match a:\n  case 1:\n    while b:\n      x", 2),
        ("with a:\n  def f():\n    if b:\n      x", 1),
    ],
)
def test_nesting_is_counted_as_a_reader_would(source: str, depth: int):
    assert deepest_block(ast.parse(source).body) == depth


def test_package_files_hold_no_logic():
    broken = []
    for path in product_files():
        if path.name != "__init__.py":
            continue
        if line_count(path) > MAX_INIT_LINES:
            broken.append(f"{path.relative_to(ROOT)}: at most {MAX_INIT_LINES} lines")
        broken += [
            f"{path.relative_to(ROOT)}:{node.lineno} is more than a docstring, an import or a name"
            for node in tree_of(path).body
            if not belongs_in_init(node)
        ]
    assert_none(broken)


def belongs_in_init(node: ast.stmt) -> bool:
    """Docstrings, imports, and `__all__`, `__version__` and their like."""
    if isinstance(node, ast.Assign):
        return all(isinstance(t, ast.Name) and t.id.startswith("__") for t in node.targets)
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_modules_and_classes_are_named_for_what_they_are():
    broken = []
    for path in product_files():
        if path.stem.split("_")[-1] in EMPTY_WORDS:
            broken.append(f"{path.relative_to(ROOT)}: the name says nothing")
        broken += [
            f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: the name says nothing"
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.ClassDef) and last_word(node.name) in EMPTY_WORDS
        ]
    assert_none(broken)


def last_word(name: str) -> str:
    """`JobHandler` ends in `handler`, `Database` only in `database`."""
    return re.split(r"(?<=[a-z0-9])(?=[A-Z])", name.strip("_"))[-1].lower()


IGNORE = re.compile(
    r"#\s*(?:(?:ruff:|flake8:)?\s*noqa|type:\s*ignore|mypy:|pragma:)", re.IGNORECASE
)
EXPLAINED = re.compile(
    r"#\s*(?:noqa:\s*[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*|type:\s*ignore\[[a-z-]+(?:,\s*[a-z-]+)*\])"
    r"\s*(?:#|-|–|—|:)\s*\w.{5,}"
)


def test_every_ignore_names_its_code_and_its_reason():
    here = Path(__file__).resolve()
    assert_none(
        f"{path.relative_to(ROOT)}:{line}: {comment}"
        for path in [*product_files(), *files_of_tests()]
        for line, comment in comments_of(path)
        if path != here and IGNORE.search(comment) and not EXPLAINED.search(comment)
    )


def comments_of(path: Path) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


@pytest.mark.parametrize(
    ("comment", "is_explained"),
    [
        ("# noqa", False),
        ("# noqa: S311", False),
        ("# noqa: S311 - jitter is no secret", True),
        ("# noqa: S311, S603  # jitter is no secret", True),
        ("# type: ignore", False),
        ("# type: ignore[arg-type]", False),
        ("# type: ignore[arg-type]  # the stub lacks None", True),
        ("# ruff: noqa", False),
    ],
)
def test_an_ignore_without_code_or_reason_is_noticed(comment: str, is_explained: bool):
    assert IGNORE.search(comment)
    assert bool(EXPLAINED.search(comment)) is is_explained


# A file to plant, one line in it, and the contract that the line breaks.
WRONG_IMPORTS = [
    ("novapulse/core/planted.py", "import novapulse.identity", "Layers of novapulse"),
    ("novapulse/work/planted.py", "import novapulse.webhooks", "Layers of novapulse"),
    ("novapulse/planted/__init__.py", "import novapulse.core", "Layers of novapulse"),
    ("novapulse/work/model.py", "import novapulse.work.routes", "Rooms of a feature"),
    ("novapulse/identity/planted.py", "import novapulse.stores", "stores is for processes and cli"),
    ("supervisor/planted.py", "import novapulse.core", "supervisor knows nothing of novapulse"),
    ("novapulse/core/planted.py", "import supervisor", "supervisor is for processes and cli"),
    ("novapulse/work/planted.py", "import pymongo", "MongoDB's driver stays in its modules"),
    ("novapulse/work/planted.py", "import redis", "Redis's driver stays in its modules"),
]


@pytest.fixture
def scratch_tree(tmp_path: Path) -> Path:
    """A copy of what the import contracts are about."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("novapulse", "supervisor"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


def lint_imports(tree: Path) -> str:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [tool, "--no-cache", "--no-logo"],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.stdout + done.stderr


def test_imports_follow_the_contracts(scratch_tree: Path):
    said = lint_imports(scratch_tree)
    assert " 0 broken" in said, said


@pytest.mark.parametrize(("file", "line", "contract"), WRONG_IMPORTS)
def test_a_wrong_import_breaks_its_contract(
    scratch_tree: Path, file: str, line: str, contract: str
):
    planted = scratch_tree / file
    planted.parent.mkdir(exist_ok=True)
    with planted.open("a") as module:
        module.write(f"\n{line}\n")
    said = lint_imports(scratch_tree)
    assert f"{contract} BROKEN" in said, said


def assert_none(findings: Iterator[str] | list[str]) -> None:
    """Fail with one finding a line."""
    if found := list(findings):
        pytest.fail("\n".join(found), pytrace=False)
