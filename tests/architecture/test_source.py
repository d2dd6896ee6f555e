"""Rules over the text of the house: what is never called, what is explained, what things are named."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from worker.pipeline import STAGES

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "client", "shared", "worker")
CODE = (*PACKAGES, "benchmarks", "deploy", "tests")
#: Words that name no thing; a module so named takes in whatever has no home.
NAMELESS = {"base2", "common", "helper", "helpers", "manager", "managers", "misc", "part2", "util", "utils"}
#: Explained once for all: stages in worker/pipeline.py, a migration's steps by Alembic, `main` by its module.
EXPLAINED_ELSEWHERE = {
    "worker/tasks/": set(STAGES),
    "shared/migrations/versions/": {"downgrade", "upgrade"},
    "": {"main"},
}
PICKLERS = {"_pickle", "cPickle", "cloudpickle", "dill", "marshal", "pickle", "shelve"}
#: Each of these runs a text as a program, or trusts a name that somebody else can take first.
NEVER_CALLED = {
    "eval": "runs a text",
    "exec": "runs a text",
    "builtins.eval": "runs a text",
    "builtins.exec": "runs a text",
    "os.popen": "runs a shell",
    "os.system": "runs a shell",
    "subprocess.getoutput": "runs a shell",
    "subprocess.getstatusoutput": "runs a shell",
    "tempfile.mktemp": "names a file that another may make first; use mkstemp",
    "ssl._create_unverified_context": "believes any server",
    "torch.hub.load": "runs what it downloads",
}
#: Options that may only be what is safe.
NEVER_TRUE = {
    "shell": "a shell reads the arguments",
    "trust_remote_code": "runs what a checkpoint brings",
    "allow_pickle": "unpickles",
}
NEVER_FALSE = {"verify": "believes any server", "check_hostname": "believes any server"}


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the project."""

    path: str
    tree: ast.Module


def is_ours(file: Path) -> bool:
    """Tell a file of the project from one in a virtual environment of a benchmark's peers."""
    return not any(part.startswith(".") for part in file.relative_to(ROOT).parts)


def sources(*folders: str) -> Iterator[Source]:
    for folder in folders:
        for file in sorted(file for file in (ROOT / folder).rglob("*.py") if is_ours(file)):
            yield Source(file.relative_to(ROOT).as_posix(), ast.parse(file.read_text()))


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` for the expression that says so, else an empty text."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def forbidden(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, what) for each construct that can run what it was handed as data."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").split(".")[0]}
        else:
            names = set()
        for name in names & PICKLERS:
            yield node.lineno, f"import {name}"
        if isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in _forbidden_call(node))


def _forbidden_call(call: ast.Call) -> Iterator[str]:
    name = dotted(call.func)
    options = {option.arg: option.value for option in call.keywords}
    if name in ("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"):
        yield f"{name}: use yaml.safe_load"
    if name == "torch.load":
        weights_only = options.get("weights_only")
        if not (isinstance(weights_only, ast.Constant) and weights_only.value is True):
            yield "torch.load without weights_only=True"
    if name in NEVER_CALLED:
        yield f"{name}: {NEVER_CALLED[name]}"
    for risky, safe in ((NEVER_TRUE, False), (NEVER_FALSE, True)):
        for option in options.keys() & risky:
            value = options[option]
            if not isinstance(value, ast.Constant) or bool(value.value) is not safe:
                yield f"{option}: {risky[option]}"


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Yield each public top-level function and class without a docstring.

    A class that only gives values to what its base explains (an error's code, a record's fields) needs none.
    """
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if node.name.startswith("_") or ast.get_docstring(node) is not None:
            continue
        if isinstance(node, ast.ClassDef) and node.bases and not any(_public_methods(node)):
            continue
        yield node.name


def _public_methods(node: ast.ClassDef) -> Iterator[str]:
    for part in node.body:
        if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)) and not part.name.startswith("_"):
            yield part.name


def test_nothing_unpickles_and_nothing_loads_what_could_run() -> None:
    found = [
        f"{source.path}:{line}: {what}" for source in sources(*CODE) for line, what in forbidden(source.tree)
    ]

    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import os, _pickle",
        "from pickle import loads",
        "def late():\n    import dill",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "torch.load(file, weights_only=flag)",
        "yaml.load(text, Loader=loader)",
        "yaml.unsafe_load(text)",
        "numpy.load(file, allow_pickle=True)",
        "import marshal",
        "eval(text)",
        "exec(text, {})",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=flag)",
        "subprocess.getoutput(text)",
        "tempfile.mktemp()",
        "httpx.get(url, verify=False)",
        "httpx.Client(verify=flag)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "torch.hub.load(name)",
    ],
)
def test_a_loader_of_foreign_code_is_caught(line: str) -> None:
    assert list(forbidden(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(file, weights_only=True)",
        "yaml.safe_load(text)",
        "json.load(file)",
        "model.eval()",
        "subprocess.run(words, shell=False)",
        "httpx.Client(verify=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=False)",
    ],
)
def test_a_loader_of_data_is_let_through(line: str) -> None:
    assert list(forbidden(ast.parse(line))) == []


def test_what_is_public_is_explained() -> None:
    found = [
        f"{source.path}: {name}"
        for source in sources(*PACKAGES)
        for name in undocumented(source.tree)
        if not any(
            source.path.startswith(place) and name in names for place, names in EXPLAINED_ELSEWHERE.items()
        )
    ]

    assert found == []


def test_every_module_says_what_it_is() -> None:
    found = [
        source.path
        for source in sources(*PACKAGES)
        if source.tree.body and ast.get_docstring(source.tree) is None
    ]

    assert found == []


@pytest.mark.parametrize(
    "code", ["def claim(): ...", "class Claim: ...", "class Claim(Base):\n    def run(self): ..."]
)
def test_what_is_public_and_unexplained_is_caught(code: str) -> None:
    assert list(undocumented(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "def _claim(): ...",
        "class NotFound(CallerError):\n    code = 'not_found'",
        "def claim():\n    'Take a job.'",
    ],
)
def test_what_is_private_or_explained_by_its_base_is_let_through(code: str) -> None:
    assert list(undocumented(ast.parse(code))) == []


def test_a_module_is_named_after_what_it_holds() -> None:
    names = {
        file
        for folder in CODE
        for file in (ROOT / folder).rglob("*")
        if is_ours(file) and (file.suffix == ".py" or file.is_dir())
    }
    found = [str(file.relative_to(ROOT)) for file in names if NAMELESS & set(file.stem.lower().split("_"))]

    assert found == []
