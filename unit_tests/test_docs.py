"""Holds the documentation to the code: its messages, settings, fields, and both languages."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from source_calltouch_sms.config import SCHEMA

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, DOCS = ROOT / "source_calltouch_sms", ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
HERE = "https://github.com/OWNER/source-calltouch-sms/blob/main/"
"""The user's pages link by it: in Airbyte's panel, which shows them, no relative link works."""
SETTINGS: dict[str, Any] = SCHEMA["properties"]

NOT_A_REQUEST = re.compile(r"\b(call(s|ed|ing)?|вызов\w*)\b", re.IGNORECASE)
"""In call tracking a call is a phone call; to users, the connector sends API requests."""
OTHER_RUSSIAN_TERMS = re.compile(r"\b(загру[жз]|хранилищ|соединени|аккаунт|сайт)\w*", re.IGNORECASE)
"""Beside синхронизация and выгрузка, приёмник, подключение, личный кабинет."""


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


ENGLISH, RUSSIAN = USER_PAGES = [read(DOCS / f"calltouch-sms{end}.md") for end in ("", ".ru")]
TROUBLES = read(DOCS / "troubleshooting.md")
FIELDS: dict[str, Any] = json.loads(read(PACKAGE / "schemas/sms_messages.json"))["properties"]
of_both_pages = pytest.mark.parametrize("page", USER_PAGES, ids=["English", "Russian"])


def strings(node: ast.AST) -> Iterator[str]:
    """Yield the strings in a tree, with "…" for what varies, but no docstrings."""
    match node:
        case ast.Expr(value=ast.Constant()):
            pass
        case ast.Constant(value=str(text)):
            yield re.sub(r"%(\.\d+)?[sdf]", "…", text)
        case ast.JoinedStr(values=parts):
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in parts)
            for part in parts:
                if isinstance(part, ast.FormattedValue):
                    yield from strings(part.value)
        case _:
            for child in ast.iter_child_nodes(node):
                yield from strings(child)


FOUND = {" ".join(t.split()) for p in PACKAGE.glob("*.py") for t in strings(ast.parse(read(p)))}
WORDS = {text for text in FOUND if " " in text and len(re.findall(r"[^\W\d_]{2,}", text)) > 1}
MESSAGES = sorted(WORDS - {"calltouch … page …"})  # a thread's name


@pytest.mark.parametrize("message", MESSAGES)
def test_each_message_is_in_the_documentation_in_the_users_words(message: str) -> None:
    assert message in " ".join(TROUBLES.replace("\n>", "\n").split())
    assert not NOT_A_REQUEST.search(message)
    for name, setting in SETTINGS.items():
        for before in message.split(f"({name})")[:-1]:
            assert before.rstrip().endswith(setting["title"]), name


def test_each_quoted_message_stems_from_the_code() -> None:
    blocks = re.findall(r"(?:^> ?.*\n?)+", TROUBLES, re.MULTILINE)
    quotes = [" ".join(block.replace("\n>", "\n").lstrip(">").split()) for block in blocks]
    quotes += [row[0].strip("`") for table in tables_of(TROUBLES, "It says") for row in table]
    assert len({*quotes}) == len(quotes) > 60
    assert sorted({*quotes} - {*MESSAGES}) == []


def tables_of(page: str, *heads: str) -> list[list[list[str]]]:
    """Return the rows of the tables whose first head is one of these, without the head."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        rows = [re.split(r"(?<!\\)\|", line.strip("| ")) for line in block.splitlines()]
        head, _, *table = [[cell.strip() for cell in row] for row in rows]
        if not heads or head[0] in heads:
            found.append(table)
    return found


def headings_of(page: str) -> list[tuple[str, str]]:
    text = re.sub(r"^ *```.*?^ *```", "", page, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^(#+) (.+)$", text, re.MULTILINE)


@of_both_pages
def test_settings_are_those_of_the_form(page: str) -> None:
    rows = tables_of(page, "Setting", "Поле")[0]
    by_order = sorted(SETTINGS, key=lambda name: int(SETTINGS[name]["order"]))
    assert [row[0] for row in rows] == [f"{SETTINGS[n]['title']}<br>`{n}`" for n in by_order]
    for name, (_, default, _meaning) in zip(by_order, rows, strict=True):
        value = SETTINGS[name].get("default")
        assert (default in {"required", "обязательно"}) == (name in SCHEMA["required"]), name
        if name == "api_url":
            assert f"`{value}`" in page
        elif value is not None:
            assert default == f"`{value if isinstance(value, str) else json.dumps(value)}`"


@of_both_pages
def test_fields_are_those_of_the_schema(page: str) -> None:
    [rows] = [t for t in tables_of(page, "Field", "Поле") if t[0][0].startswith("`")]
    assert [row[0].strip("`") for row in rows] == list(FIELDS)
    for (_, kind, _), field in zip(rows, FIELDS.values(), strict=True):
        assert kind.startswith(field.get("airbyte_type", "string"))
        assert ("null" in kind) == ("null" in field["type"])


@of_both_pages
def test_all_of_airbytes_sync_modes_are_explained(page: str) -> None:
    full = [f"Full Refresh \\| {how}" for how in ("Overwrite", "Overwrite + Deduped", "Append")]
    incremental = [f"Incremental \\| {how}" for how in ("Append + Deduped", "Append")]
    assert [row[0] for row in tables_of(page, "Mode", "Режим")[0]] == incremental + full


@of_both_pages
def test_the_common_errors_are_those_of_the_code(page: str) -> None:
    [errors] = tables_of(page, "It begins with", "Начало сообщения")
    quotes = [quote for row in errors for quote in re.findall("`(.+?)`", row[0])]
    assert len(quotes) > 20
    assert [q for q in quotes if not any(q.rstrip(" …") in text for text in MESSAGES)] == []


def test_both_languages_have_the_same_parts() -> None:
    def parts(page: str) -> list[object]:
        for_airbyte_alone = re.compile("For Airbyte|IP allow list")
        levels = [n for n, text in headings_of(page) if not for_airbyte_alone.match(text)]
        tables = [[len(row) for row in table] for table in tables_of(page)]
        return [levels, tables, re.findall(r"```sql\n(.*?)```", page, re.DOTALL)]

    assert parts(ENGLISH) == parts(RUSSIAN)


def test_headings_are_in_the_order_that_airbyte_checks() -> None:
    required = """Calltouch SMS|Prerequisites|Setup guide|Set up Calltouch SMS|
        Set up the Calltouch SMS connector in Airbyte|For Airbyte Cloud:|For Airbyte Open Source:|
        Supported sync modes|Supported Streams|Performance considerations|Data type map|
        Limitations & Troubleshooting|Changelog"""
    names = re.split(r"\|\s*", required)
    headings = [re.sub(r"^Step \d: ", "", text) for _, text in headings_of(ENGLISH)]
    assert [text for text in headings if text in names] == names


def test_words_are_those_that_users_know() -> None:
    for path in {*PAGES} - {ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"}:
        assert not NOT_A_REQUEST.findall(read(path)), path.name
    assert not NOT_A_REQUEST.findall(json.dumps([SETTINGS, FIELDS], ensure_ascii=False))
    assert not OTHER_RUSSIAN_TERMS.findall(RUSSIAN + json.dumps(SETTINGS, ensure_ascii=False))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_inside_the_repository_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", read(path)):
        if link.startswith(HERE) or not link.startswith("https://"):
            file, _, anchor = link.removeprefix(HERE).partition("#")
            target = (ROOT if link.startswith(HERE) else path.parent) / file if file else path
            assert target.exists(), link
            texts = [text for _, text in headings_of(read(target))] if anchor else []
            names = [re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts]
            assert not anchor or anchor in names, link
