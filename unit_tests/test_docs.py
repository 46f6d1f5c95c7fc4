"""Holds the documentation to the code: its messages, settings, fields, and both languages."""

import ast
import importlib
import json
import re
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from source_calltouch_sms.config import SCHEMA

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
ENGLISH, RUSSIAN = DOCS / "calltouch-sms.md", DOCS / "calltouch-sms.ru.md"
TROUBLES = DOCS / "troubleshooting.md"

FIELDS: dict[str, Any] = json.loads(
    (ROOT / "source_calltouch_sms/schemas/sms_messages.json").read_text(encoding="utf-8")
)["properties"]

NOT_A_REQUEST = re.compile(r"\b(call(s|ed|ing)?|вызов\w*)\b", re.IGNORECASE)
"""In call tracking a call is a phone call; to users, the connector sends API requests."""
OTHER_RUSSIAN_TERMS = re.compile(r"\b(загру[жз]|хранилищ|соединени|аккаунт|сайт)\w*", re.IGNORECASE)
"""Beside синхронизация and выгрузка, приёмник, подключение, личный кабинет."""
SYNC_MODES = [
    "Incremental | Append + Deduped",
    "Incremental | Append",
    "Full Refresh | Overwrite",
    "Full Refresh | Overwrite + Deduped",
    "Full Refresh | Append",
]
"""All that Airbyte has."""

Table = list[list[str]]


def squeezed(text: str) -> str:
    return " ".join(text.split())


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


# Messages: every string of the code that holds words, with "…" for what varies.


class Message(NamedTuple):
    """A string of the code, and where it stands."""

    text: str
    place: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class Strings(ast.NodeVisitor):
    """Collects the strings of a module, but for docstrings and annotations."""

    def __init__(self, path: Path) -> None:
        self.module = importlib.import_module(f"{path.parent.name}.{path.stem}")
        self.path = path
        self.found: list[Message] = []
        self.known: dict[str, ast.expr] = {}
        """The local names that stand for one string in the function being visited."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self.known
        assigned: dict[str, list[ast.expr]] = {}
        for inner in ast.walk(node):
            if isinstance(inner, ast.Assign) and isinstance(inner.targets[0], ast.Name):
                assigned.setdefault(inner.targets[0].id, []).append(inner.value)
            elif isinstance(inner, ast.AugAssign) and isinstance(inner.target, ast.Name):
                begun = assigned.get(inner.target.id, [])
                begun[-1:] = [ast.JoinedStr([*begun[-1:], inner.value])]
        strings = (ast.Constant, ast.JoinedStr)
        self.known = {
            name: values[0]
            for name, values in assigned.items()
            if len(values) == 1 and isinstance(values[0], strings)
        }
        for statement in node.body:
            self.visit(statement)
        self.known = outer

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        self.take(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.take(node)
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)

    def take(self, node: ast.expr) -> None:
        text = squeezed(self.template(node))
        if " " in text and len(re.findall(r"[^\W\d_]{2,}", text)) > 1:
            self.found.append(Message(text, f"{self.path.name}:{node.lineno}"))

    def template(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=str(text)):
                return re.sub(r"%(\.\d+)?[sdf]", "…", text)
            case ast.JoinedStr(values=parts):
                return "".join(self.template(part) for part in parts)
            case ast.FormattedValue(value=value):
                return self.template(value)
            case ast.Name(id=name) if name in self.known:
                return self.template(self.known[name])
            case ast.Name(id=name) | ast.Attribute(attr=name) if name.isupper():
                return str(attrgetter(ast.unparse(node))(self.module))
            case _:
                return "…"


def messages_of_the_code() -> Iterator[Message]:
    for path in sorted((ROOT / "source_calltouch_sms").glob("*.py")):
        if path.stem != "__init__":
            strings = Strings(path)
            strings.visit(ast.parse(text_of(path)))
            yield from strings.found


def quotes_of(text: str) -> list[str]:
    """Return the messages that the page quotes: as block quotes, and in a table's first column."""
    blocks = re.findall(r"(?:^> ?.*\n?)+", text, re.MULTILINE)
    quotes = [squeezed(re.sub(r"^> ?", "", block, flags=re.MULTILINE)) for block in blocks]
    cells = [row[0] for table in tables_of(text) if table[0][0] == "It says" for row in table[1:]]
    return [*quotes, *(cell.strip("`") for cell in cells)]


MESSAGES = list(messages_of_the_code())


@pytest.mark.parametrize("message", MESSAGES, ids=str)
def test_each_message_of_the_code_is_in_the_documentation(message: Message) -> None:
    page = squeezed(text_of(TROUBLES).replace("\n>", "\n"))
    assert message.text in page, f"{message} is not in docs/{TROUBLES.name}"


@pytest.mark.parametrize("message", MESSAGES, ids=str)
def test_messages_call_settings_by_their_titles_in_the_form(message: Message) -> None:
    for name, setting in SCHEMA["properties"].items():
        for before in message.text.split(f"({name})")[:-1]:
            assert before.rstrip().endswith(setting["title"]), name


@pytest.mark.parametrize("message", MESSAGES, ids=str)
def test_messages_speak_of_requests(message: Message) -> None:
    assert not NOT_A_REQUEST.search(message.text)


def test_each_quoted_message_stems_from_the_code() -> None:
    known = {message.text for message in MESSAGES}
    quotes = quotes_of(text_of(TROUBLES))
    assert len(quotes) > 40, "the page quotes no messages, or in another form than this test reads"
    strays = [quote for quote in quotes if quote not in known]
    assert not strays, f"docs/{TROUBLES.name} quotes what the code does not say: {strays}"
    assert len(set(quotes)) == len(quotes)


# Pages for users, in two languages.


def tables_of(text: str) -> list[Table]:
    """Return the tables of a page: rows of cells, the head first, without the line below it."""
    return [
        [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("| \n"))]
            for number, line in enumerate(block.splitlines())
            if number != 1
        ]
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    ]


def table_with(path: Path, *, column: int, names: list[str]) -> Table:
    """Return the rows of the table whose column holds all these names, in the page's order."""
    wanted = {f"`{name}`" for name in names}
    for head, *rows in tables_of(text_of(path)):
        if len(head) > column and wanted & {row[column] for row in rows}:
            return rows
    raise AssertionError(f"{path.name} has no table of {names}")


def headings_of(path: Path) -> list[tuple[int, str]]:
    text = re.sub(r"^```.*?^```", "", text_of(path), flags=re.MULTILINE | re.DOTALL)
    return [(len(m[1]), m[2]) for m in re.finditer(r"^(#+) (.+)$", text, re.MULTILINE)]


@pytest.mark.parametrize("path", [ENGLISH, RUSSIAN], ids=lambda path: path.name)
def test_settings_are_those_of_the_form(path: Path) -> None:
    settings = SCHEMA["properties"]
    rows = table_with(path, column=1, names=list(settings))
    by_order = sorted(settings, key=lambda name: int(settings[name]["order"]))
    assert [row[1] for row in rows] == [f"`{name}`" for name in by_order]
    for title, name, default, *_ in rows:
        setting = settings[name.strip("`")]
        assert title == setting["title"]
        if "default" in setting:
            value = setting["default"]
            assert default == f"`{value if isinstance(value, str) else json.dumps(value)}`"
        else:
            assert "`" not in default
            required = name.strip("`") in SCHEMA["required"]
            assert (default in {"required", "обязательно"}) == required, (name, default)


@pytest.mark.parametrize("path", [ENGLISH, RUSSIAN], ids=lambda path: path.name)
def test_fields_are_those_of_the_schema(path: Path) -> None:
    rows = table_with(path, column=0, names=list(FIELDS))
    assert [row[0] for row in rows] == [f"`{name}`" for name in FIELDS]
    for name, kind, *_ in rows:
        field = FIELDS[name.strip("`")]
        nullable = "null" in field["type"]
        assert kind.startswith(field.get("airbyte_type", "string")), name
        assert bool(re.search(r"null|пуст", kind)) == nullable, name


@pytest.mark.parametrize("path", [ENGLISH, RUSSIAN], ids=lambda path: path.name)
def test_all_sync_modes_are_explained(path: Path) -> None:
    columns = [
        [row[0].replace("\\|", "|") for row in table[1:]] for table in tables_of(text_of(path))
    ]
    assert SYNC_MODES in columns


@pytest.mark.parametrize("path", [ENGLISH, RUSSIAN], ids=lambda path: path.name)
def test_the_most_common_errors_are_those_of_the_code(path: Path) -> None:
    heads = {"It begins with", "Начало сообщения"}
    [errors] = [
        [r[0] for r in table[1:]] for table in tables_of(text_of(path)) if table[0][0] in heads
    ]
    assert len(errors) == 8
    known = [message.text for message in MESSAGES]
    strays = [error for error in errors if not any(error.strip("`") in text for text in known)]
    assert not strays


@pytest.mark.parametrize(
    "path",
    [
        *sorted(DOCS.glob("*.md")),
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
    ],
    ids=lambda path: path.name,
)
def test_texts_for_users_speak_of_requests(path: Path) -> None:
    assert not NOT_A_REQUEST.findall(text_of(path))


def test_the_form_and_the_schema_speak_of_requests() -> None:
    texts = [
        item[key] for item in [*SCHEMA["properties"].values(), *FIELDS.values()] for key in item
    ]
    assert not [text for text in texts if isinstance(text, str) and NOT_A_REQUEST.search(text)]


def test_one_term_for_one_thing_in_russian() -> None:
    assert not OTHER_RUSSIAN_TERMS.findall(text_of(RUSSIAN))


def test_both_languages_have_the_same_parts() -> None:
    levels = [[level for level, _ in headings_of(path)] for path in (ENGLISH, RUSSIAN)]
    assert levels[0] == levels[1]
    pages = [text_of(path) for path in (ENGLISH, RUSSIAN)]
    shapes = [
        [(len(table), len(table[0])) for table in tables_of(page) if table[0]] for page in pages
    ]
    assert shapes[0] == shapes[1]
    queries = [re.findall(r"```sql\n(.*?)```", page, re.DOTALL) for page in pages]
    assert queries[0] == queries[1]
    assert len(queries[0]) >= 3


def test_headings_are_in_the_order_that_airbyte_checks() -> None:
    required = [
        "Calltouch SMS",
        "Prerequisites",
        "Setup guide",
        "Set up Calltouch SMS",
        "Set up the Calltouch SMS connector in Airbyte",
        "For Airbyte Cloud:",
        "For Airbyte Open Source:",
        "Supported sync modes",
        "Supported Streams",
        "Performance considerations",
        "Data type map",
        "Limitations & Troubleshooting",
        "Changelog",
    ]
    headings = [re.sub(r"^Step \d: ", "", heading) for _, heading in headings_of(ENGLISH)]
    assert [heading for heading in headings if heading in required] == required


def test_prerequisites_name_what_is_required() -> None:
    page = text_of(ENGLISH).lower()
    section = page.split("\n## prerequisites\n")[1].split("\n## ")[0]
    for name in SCHEMA["required"]:
        assert SCHEMA["properties"][name]["title"].lower() in section


@pytest.mark.parametrize(
    "path",
    [*sorted(DOCS.glob("*.md")), ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"],
    ids=lambda path: path.name,
)
def test_links_inside_the_repository_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(path)):
        if not re.match(r"https?://", link):
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.exists(), link
            if anchor:
                assert anchor in {_anchor(heading) for _, heading in headings_of(target)}, link


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
