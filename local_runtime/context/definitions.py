"""What the names that a file imports stand for: signatures from the files that define them, read by tree-sitter.

Nothing is read here at a keystroke. `wanted` names the files that would help, their owner reads them when there is time and
hands them to `learn`; `of` answers from what was learnt. Python, JavaScript and TypeScript; other languages have none.
"""

from __future__ import annotations

import posixpath
import re
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from local_runtime.context.chunks import Excerpt
from local_runtime.context.secrets import has_secret
from local_runtime.prompts.hole import Hole

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

MAX_FILES = 500
_MAX_FILE_CHARS = 256_000
_HEAD_CHARS = 16_000
_IMPORT_CHARS = 2000
_IMPORT_LINE = re.compile(r"^(?:from|import)\b|^\} from\b", re.MULTILINE)
_MAX_DEFINITION_LINES = 24
_SCRIPT_ENDINGS = (".ts", ".tsx", ".d.ts", ".js", ".jsx", ".mjs", ".cjs", "/index.ts", "/index.tsx", "/index.js")
_GRAMMARS = {
    "python": "python",
    "javascript": "javascript",
    "javascriptreact": "javascript",
    "typescript": "typescript",
    "typescriptreact": "tsx",
}
_LANGUAGE_BY_ENDING = {
    ".py": "python",
    ".pyi": "python",
    ".js": "javascript",
    ".jsx": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".ts": "typescript",
    ".mts": "typescript",
    ".tsx": "typescriptreact",
}
_HOLDERS = frozenset({"class_definition", "class_declaration", "abstract_class_declaration", "interface_declaration"})
_CALLABLES = frozenset(
    {"function_definition", "function_declaration", "generator_function_declaration", "method_definition"}
)
_WHOLE = frozenset({"type_alias_declaration", "enum_declaration", "abstract_method_signature", "method_signature"})
_FIELDS = frozenset({"public_field_definition", "property_signature", "field_definition"})


@dataclass(frozen=True, slots=True)
class Import:
    """A name that a file takes from another."""

    name: str
    """As the other file calls it."""
    known_as: str
    """As this file calls it."""
    paths: tuple[str, ...]
    """Where the other file may be, relative to the workspace, likeliest first."""


class Definitions:
    """Signatures of the files that were learnt, and the imports of the file at hand."""

    def __init__(self, max_files: int = MAX_FILES) -> None:
        self._max_files = max_files
        self._learnt: OrderedDict[str, dict[str, str]] = OrderedDict()
        self._imports: tuple[str, str, tuple[Import, ...]] = ("", "", ())

    def learn(self, path: str, text: str) -> None:
        """Take the definitions of a file; a file in another language, or a huge one, has none."""
        language = _LANGUAGE_BY_ENDING.get(posixpath.splitext(path)[1], "")
        found = definitions(text, language) if len(text) <= _MAX_FILE_CHARS else {}
        self._learnt[path] = {name: lines for name, lines in found.items() if not has_secret(lines, path)}
        self._learnt.move_to_end(path)
        if len(self._learnt) > self._max_files:
            self._learnt.popitem(last=False)

    def forget(self, path: str) -> None:
        """Drop what was learnt of a file."""
        self._learnt.pop(path, None)

    def wanted(self, hole: Hole) -> list[str]:
        """Files that the file at hand imports from and that were not learnt yet; most will not exist."""
        return [path for imported in self._of(hole) for path in imported.paths if path not in self._learnt]

    def of(self, hole: Hole, names: frozenset[str], n: int) -> list[Excerpt]:
        """Definitions of imported names that are among `names` (those used near the cursor), in the order of import."""
        found: list[Excerpt] = []
        for imported in self._of(hole):
            if imported.known_as in names and len(found) < n:
                home = next((p for p in imported.paths if imported.name in self._learnt.get(p, ())), None)
                if home and home != hole.path:
                    found.append(Excerpt(home, self._learnt[home][imported.name]))
        return found

    def _of(self, hole: Hole) -> tuple[Import, ...]:
        """The imports at the head of a file, remembered while the head stays the same."""
        head = _head(hole.prefix[:_HEAD_CHARS] + hole.suffix[:_HEAD_CHARS])
        if self._imports[:2] != (hole.path, head):
            self._imports = (hole.path, head, imports(hole.path, head, hole.language))
        return self._imports[2]


def _head(text: str) -> str:
    """The beginning of a file up to its last import: what is typed below does not change it."""
    last = max((found.start() for found in _IMPORT_LINE.finditer(text, 0, _HEAD_CHARS)), default=-1)
    if last < 0:
        return ""
    end = text.find("\n\n", last, last + _IMPORT_CHARS)
    return text[: end + 1 if end >= 0 else last + _IMPORT_CHARS]


def imports(path: str, text: str, language: str) -> tuple[Import, ...]:
    """What a file imports by name from files that may be in the workspace."""
    parser = parser_of(language)
    if parser is None:
        return ()
    root = parser.parse(text.encode("utf-8", "replace")).root_node
    of_statement = _python_imports if language == "python" else _script_imports
    return tuple(found for node in root.children for found in of_statement(path, node))


def definitions(text: str, language: str) -> dict[str, str]:
    """Name → signature of everything that a file defines at its top level."""
    parser = parser_of(language)
    if parser is None:
        return {}
    source = text.encode("utf-8", "replace")
    found: dict[str, str] = {}
    for node in parser.parse(source).root_node.children:
        inner = _unwrapped(node)
        for name in _names(inner):
            lines = _signature(inner, source).splitlines()[:_MAX_DEFINITION_LINES]
            found.setdefault(name, "\n".join(lines) + "\n")
    return found


def _unwrapped(node: Node) -> Node:
    """What stands behind a decorator or `export`."""
    if node.type == "decorated_definition":
        return node.child_by_field_name("definition") or node
    if node.type == "export_statement":
        return node.child_by_field_name("declaration") or node
    if node.type == "expression_statement" and node.named_children:
        return node.named_children[0]
    return node


def _names(node: Node) -> list[str]:
    if node.type == "assignment":
        left = node.child_by_field_name("left")
        return [_text(left)] if left is not None and left.type == "identifier" else []
    if node.type in ("lexical_declaration", "variable_declaration"):
        declared = [child.child_by_field_name("name") for child in node.named_children]
        return [_text(name) for name in declared if name is not None and name.type == "identifier"]
    if node.type in _HOLDERS | _CALLABLES | _WHOLE:
        name = node.child_by_field_name("name")
        return [_text(name)] if name is not None else []
    return []


def _signature(node: Node, source: bytes) -> str:
    """A definition without the bodies of its functions."""
    body = node.child_by_field_name("body")
    if node.type in _HOLDERS and body is not None:
        members = [line for child in body.named_children for line in _member(child, source)]
        return "\n".join([_upto(node, body, source), *members])
    if node.type in _CALLABLES and body is not None:
        return _upto(node, body, source) + _docstring(body, source)
    whole = _slice(source, node.start_byte, node.end_byte)
    return whole if node.type in _WHOLE else whole.split("\n", 1)[0]


def _member(node: Node, source: bytes) -> list[str]:
    inner = _unwrapped(node)
    indent = " " * min(node.start_point[1], 8)
    if inner.type in _CALLABLES:
        return [indent + _signature(inner, source)]
    if inner.type in _FIELDS | _WHOLE | {"assignment", "call_signature", "construct_signature"}:
        return [indent + _slice(source, inner.start_byte, inner.end_byte).split("\n", 1)[0]]
    return []


def _docstring(body: Node, source: bytes) -> str:
    """The first line of a Python docstring, as a comment."""
    first = body.named_children[0] if body.named_children else None
    if first is None or first.type != "expression_statement" or not first.named_children:
        return ""
    string = first.named_children[0]
    if string.type != "string":
        return ""
    words = _slice(source, string.start_byte, string.end_byte).lstrip("rRuUbB").strip("\"' \n").split("\n", 1)[0]
    return f"  # {words}" if words else ""


def _upto(node: Node, body: Node, source: bytes) -> str:
    return _slice(source, node.start_byte, body.start_byte).rstrip().removesuffix("{").rstrip()


def _python_imports(path: str, node: Node) -> list[Import]:
    if node.type != "import_from_statement":
        return []
    module = node.child_by_field_name("module_name")
    paths = _python_paths(path, _text(module)) if module is not None else ()
    return [_imported(name, paths) for name in node.children_by_field_name("name")]


def _script_imports(path: str, node: Node) -> list[Import]:
    source = node.child_by_field_name("source") if node.type == "import_statement" else None
    if source is None or not (place := _text(source).strip("'\"`")).startswith("."):
        return []  # a package: not in the workspace
    base = posixpath.normpath(posixpath.join(posixpath.dirname(path), place))
    stem, ending = posixpath.splitext(base)
    bases = (stem, base) if ending in (".js", ".jsx", ".mjs", ".cjs") else (base,)
    paths = (base, *(b + end for b in bases for end in _SCRIPT_ENDINGS))
    return [_imported(specifier, paths) for specifier in _specifiers(node)]


def _specifiers(node: Node) -> list[Node]:
    if node.type == "import_specifier":
        return [node]
    return [found for child in node.named_children for found in _specifiers(child)]


def _imported(node: Node, paths: tuple[str, ...]) -> Import:
    """`name`, or `name as alias`."""
    name = node.child_by_field_name("name") or node
    alias = node.child_by_field_name("alias") or name
    return Import(_text(name), _text(alias), paths)


def _python_paths(path: str, module: str) -> tuple[str, ...]:
    folder = posixpath.dirname(path)
    level = len(module) - len(module.lstrip("."))
    below = module[level:].replace(".", "/")
    if level:
        for _ in range(level - 1):
            folder = posixpath.dirname(folder)
        bases = [folder]
    else:
        bases = [""]
        while folder:  # the root of the package may be any folder above the file
            bases.insert(0, folder)
            folder = posixpath.dirname(folder)
        bases.append("src")
    stems = [posixpath.join(base, below) if below else base for base in bases]
    return tuple(dict.fromkeys(p for stem in stems for p in (f"{stem}.py", posixpath.join(stem, "__init__.py"))))


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _slice(source: bytes, start: int, end: int) -> str:
    return source[start:end].decode("utf-8", "replace")


@cache
def parser_of(language: str) -> Parser | None:
    """The grammar of a language, loaded when first needed; None for a language without one."""
    grammar = _GRAMMARS.get(language)
    if grammar is None:
        return None
    import tree_sitter_javascript  # noqa: PLC0415
    import tree_sitter_python  # noqa: PLC0415
    import tree_sitter_typescript  # noqa: PLC0415
    from tree_sitter import Language, Parser  # noqa: PLC0415

    load = {
        "python": tree_sitter_python.language,
        "javascript": tree_sitter_javascript.language,
        "typescript": tree_sitter_typescript.language_typescript,
        "tsx": tree_sitter_typescript.language_tsx,
    }
    return Parser(Language(load[grammar]()))
