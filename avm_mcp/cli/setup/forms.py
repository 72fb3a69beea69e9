"""The three forms that hosts write their files in. An edit keeps whatever else is in the file, comments included.

tomlkit and ruamel.yaml read TOML and YAML; they are imported only when `avm setup` runs. ruamel.yaml lays a file out
anew when it writes one, so YAML is read with it and edited by line. What an edit gives is read again and compared.
"""

import io
import json
import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol, cast

import tomlkit
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from tomlkit.items import InlineTable

Table = MutableMapping[str, Any]

BYTE_ORDER_MARK = "\ufeff"
"""What some editors on Windows put first. json refuses it, and the host expects it back."""


class Unreadable(Exception):
    """A file that is not changed, because it is not certain what it means; the message says why."""


class Form(Protocol):
    """How files of one form are read and edited. Both methods raise `Unreadable`."""

    def parse(self, text: str) -> Table:
        """Return what a file holds; nothing if it is empty."""
        ...

    def edit(self, text: str, path: tuple[str, ...], name: str, entry: Mapping[str, Any] | None, **lists: Any) -> str:
        """Return the text with another entry, or without it.

        Args:
            text: What is in the file.
            path: The names that lead to the table of entries.
            name: The entry's own name.
            entry: What it shall hold; None takes it out, and the tables that are empty then.
            lists: Lists at the top of the file that shall hold this; an empty one is taken out.
        """
        ...


def table_at(content: Table, path: tuple[str, ...]) -> Table:
    """Return the table at a path, empty if there is none.

    Raises:
        Unreadable: Something else stands there.
    """
    for name in path:
        if content.get(name) is None:
            content[name] = {}
        content = content[name]
        if not isinstance(content, MutableMapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise Unreadable(f"{name} in it is not an object")
    return content


def plain(content: Any) -> Any:
    """Return a content without what its library adds, to compare it."""
    try:
        return json.loads(json.dumps(content, default=str))
    except (TypeError, ValueError, RecursionError) as error:
        raise Unreadable(f"it holds something that cannot be compared ({error})") from None


def change(
    content: Table, path: tuple[str, ...], name: str, entry: Mapping[str, Any] | None, **lists: list[Any]
) -> Table:
    """Make a change in a content, in place: see `Form.edit`."""
    for key, items in lists.items():
        if items:
            content[key] = items
        else:
            content.pop(key, None)
    if entry is not None:
        table_at(content, path)[name] = entry
        return content
    table_at(content, path).pop(name, None)
    for depth in range(len(path), 0, -1):
        above = table_at(content, path[: depth - 1])
        if not above[path[depth - 1]]:
            del above[path[depth - 1]]
    return content


class JsonForm:
    """Plain JSON, laid out as it was: indent, line ends, byte order mark."""

    def parse(self, text: str) -> Table:
        text = text.removeprefix(BYTE_ORDER_MARK)
        if not text.strip():
            return {}
        try:
            content = json.loads(text, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            where = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise Unreadable(f"it is not plain JSON, or has comments ({where})") from None
        if not isinstance(content, dict):
            raise Unreadable("it is not a JSON object")
        return cast("Table", content)

    def edit(self, text: str, path: tuple[str, ...], name: str, entry: Mapping[str, Any] | None, **lists: Any) -> str:
        content = change(self.parse(text), path, name, entry, **lists)
        indent = re.search(r"\n([ \t]+)\S", text)
        try:
            edited = json.dumps(content, ensure_ascii=False, indent=indent[1] if indent else 2, allow_nan=False)
            edited.encode()
        except ValueError:  # 1e999, NaN, half a pair of surrogates: read, but no JSON or no text when written
            raise Unreadable("it holds a number or a character that cannot be written back") from None
        if text.endswith("\n") or not text.strip():
            edited += "\n"
        if "\r\n" in text:
            edited = edited.replace("\n", "\r\n")
        return (BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else "") + edited


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise Unreadable("it has the same name twice")
    return table


class TomlForm:
    """TOML, as Codex has it."""

    def parse(self, text: str) -> Table:
        try:
            return tomlkit.parse(text)
        except ValueError as error:
            raise Unreadable(f"it is not valid TOML: {error}") from None

    def edit(self, text: str, path: tuple[str, ...], name: str, entry: Mapping[str, Any] | None, **_lists: Any) -> str:
        content = self.parse(text)
        (servers,) = path
        expected = change(plain(content), path, name, plain(entry))
        if expected == plain(content):
            return text
        try:
            if isinstance(content.get(servers), InlineTable):
                raise Unreadable(f"{servers} in it is not written as tables")
            if entry is None:
                change(content, path, name, None)
            else:
                if servers not in content:
                    if text.strip():
                        cast("tomlkit.TOMLDocument", content).add(tomlkit.nl())
                    content[servers] = tomlkit.table(is_super_table=True)
                self._update(content[servers].setdefault(name, tomlkit.table()), entry)
            edited = cast("tomlkit.TOMLDocument", content).as_string()
        except (ValueError, KeyError, AttributeError) as error:  # what tomlkit raises where tables are out of order
            raise Unreadable(f"its tables cannot be edited ({error})") from None
        return _checked(self, edited, expected)

    @staticmethod
    def _update(table: Table, entry: Mapping[str, Any]) -> None:
        for key in [key for key in table if key not in entry]:
            del table[key]
        for key, value in entry.items():
            if key not in table or plain(table[key]) != plain(value):
                inline: Any = tomlkit.inline_table()
                table[key] = inline.update(value) or inline if isinstance(value, dict) else value


class YamlForm:
    """YAML in block style, as Goose has it."""

    def parse(self, text: str) -> Table:
        try:
            content: Any = YAML(pure=True).load(io.StringIO(text))  # pyright: ignore[reportUnknownMemberType]
        except (YAMLError, ValueError, RecursionError) as error:
            raise Unreadable(f"it is not valid YAML: {' '.join(str(error).split())[:200]}") from None
        if content is None:
            return {}
        if not isinstance(content, CommentedMap) or text.startswith(BYTE_ORDER_MARK):
            raise Unreadable("it is not written as plain lines of names and values")
        return cast("Table", content)

    def edit(self, text: str, path: tuple[str, ...], name: str, entry: Mapping[str, Any] | None, **_lists: Any) -> str:
        content = self.parse(text)
        (head,) = path
        expected = change(plain(content), path, name, plain(entry))
        if expected == plain(content):
            return text
        end = "\r\n" if "\r\n" in text else "\n"
        lines = re.findall(r"[^\n]*\n", text if text.endswith("\n") or not text else text + end)
        servers: Any = table_at(content, path) if content.get(head) is not None else None
        column = 2
        if servers:
            column = max(1, servers.lc.key(next(iter(servers)))[1])
        if servers and name in servers:
            start: int = servers.lc.key(name)[0]
            below = (at for at in range(start + 1, len(lines)) if not lines[at].startswith(" " * (column + 1)))
            del lines[start : next(below, len(lines))]
        elif head in content:
            start: int = cast("Any", content).lc.key(head)[0]
            lines[start] = re.sub(r"^([^:]+:)\s*(?:\{\s*\}|null|~)", r"\1", lines[start])
            start += 1
        else:
            start = len(lines) + 1
            lines += [f"{head}:{end}"] if entry is not None else []
        if entry is not None:
            # A JSON value is a YAML value too.
            block = [f"{name}:", *(f"  {key}: {json.dumps(plain(value))}" for key, value in entry.items())]
            lines[start:start] = [" " * column + line + end for line in block]
        elif head not in expected and head in content:
            del lines[cast("Any", content).lc.key(head)[0]]
        return _checked(self, "".join(lines), expected)


def _checked(form: Form, edited: str, expected: Any) -> str:
    if plain(form.parse(edited)) != expected:
        raise Unreadable("its layout leaves no sure place for the entry")
    return edited


FORMS: Mapping[str, Form] = {"json": JsonForm(), "toml": TomlForm(), "yaml": YamlForm()}
