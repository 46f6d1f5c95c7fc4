"""Which module may know which: the table in `docs/design.md`, as the import statements are."""

import ast
import re
from pathlib import Path

import source_calltouch_sms

PACKAGE = Path(source_calltouch_sms.__file__).parent
DESIGN = PACKAGE.parent / "docs/design.md"


def imports(path: Path) -> set[str]:
    """Return the modules of the package that a module imports."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = (name.split(".") for name in found if name.startswith(f"{PACKAGE.name}."))
    return {module for _, module, *_ in parts if (PACKAGE / f"{module}.py").exists()}


def test_each_module_imports_what_the_table_says_from_above_it_alone() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", DESIGN.read_text("utf-8"), re.MULTILINE)
    table = {module: set(re.findall(r"\w+", known)) for module, known in rows}
    assert {path.stem: imports(path) for path in PACKAGE.glob("[!_]*.py")} == table
    above = set[str]()
    for module, known in table.items():
        assert known <= above, module
        above.add(module)
