"""Which module may know which: the table in `docs/design.md`, as the import statements are."""

import ast
from pathlib import Path

import source_calltouch_sms

PACKAGE = Path(source_calltouch_sms.__file__).parent
NAME = PACKAGE.name


def imports(path: Path) -> set[str]:
    """Return the modules of the package that a module imports."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith(f"{NAME}.")}
    return found & {module.stem for module in PACKAGE.glob("*.py")}


TABLE = {
    "api": set[str](),
    "errors": set[str](),
    "messages": set[str](),
    "redaction": set[str](),
    "windows": set[str](),
    "records": {"api", "errors"},
    "completeness": {"api", "windows"},
    "config": {"errors", "records"},
    "cursor": {"config", "errors", "records", "windows"},
    "rate_limiter": {"api", "errors"},
    "failures": {"api", "errors", "rate_limiter", "redaction"},
    "error_handler": {"api", "failures", "rate_limiter", "redaction"},
    "fetcher": {"errors", "rate_limiter", "windows"},
    "prefetcher": {"api", "completeness", "errors", "fetcher", "rate_limiter", "windows"},
    "reader": {
        *("api", "completeness", "errors", "fetcher", "prefetcher", "rate_limiter", "windows"),
    },
    "streams": {
        *("api", "completeness", "config", "cursor", "error_handler", "fetcher", "messages"),
        *("prefetcher", "rate_limiter", "reader", "records", "windows"),
    },
    "source": {"config", "errors", "streams"},
    "run": {"config", "error_handler", "source"},
    "__init__": {"source"},
}
"""Each module knows those above it alone."""


def test_modules_import_what_the_table_says() -> None:
    assert {path.stem: imports(path) for path in PACKAGE.glob("*.py")} == TABLE


def test_each_module_knows_those_above_it_alone() -> None:
    above = set[str]()
    for module, known in TABLE.items():
        assert known <= above, module
        above.add(module)
