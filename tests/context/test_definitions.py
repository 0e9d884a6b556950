"""Imports and signatures, by tree-sitter, from what was learnt."""

from __future__ import annotations

from local_runtime.context.definitions import Definitions, definitions, imports
from local_runtime.prompts.hole import Hole

READER = '''
import os

LIMIT = 10

@dataclass
class Reader(Base):
    """Reads."""

    path: str
    limit: int = LIMIT

    def read(self, size: int = -1) -> str:
        """Read it all.

        And more."""
        return self.path * size

    @property
    async def name(self) -> str:
        return "x"


def total(items,
          start=0):
    return sum(items, start)
'''
SHAPES = """
export interface Shape {
  area: number;
  scale(by: number): Shape;
}
export class Circle<T> extends Round implements Shape {
  private radius = 1;
  constructor(radius: number) { super(); }
  async scale(by: number): Promise<Shape> {
    return this;
  }
}
export const twice = (n: number) => n * 2;
export default function draw(shape: Shape): void { }
type Point = { x: number; y: number };
"""


def test_python_definitions_are_signatures_without_bodies() -> None:
    found = definitions(READER, "python")
    assert found["Reader"].splitlines() == [
        "class Reader(Base):",
        "    path: str",
        "    limit: int = LIMIT",
        "    def read(self, size: int = -1) -> str:  # Read it all.",
        "    async def name(self) -> str:",
    ]
    assert found["total"] == "def total(items,\n          start=0):\n"
    assert found["LIMIT"] == "LIMIT = 10\n"
    assert "return" not in "".join(found.values())


def test_typescript_definitions() -> None:
    found = definitions(SHAPES, "typescript")
    assert found["Circle"].splitlines() == [
        "class Circle<T> extends Round implements Shape",
        "  private radius = 1",
        "  constructor(radius: number)",
        "  async scale(by: number): Promise<Shape>",
    ]
    assert "scale(by: number): Shape" in found["Shape"]
    assert found["draw"] == "function draw(shape: Shape): void\n"
    assert found["twice"].startswith("const twice = (n: number)")
    assert found["Point"].startswith("type Point")
    assert set(definitions("export function f(a) { return 1 }\nvar b = 2", "javascript")) == {"f", "b"}


def test_imports_name_the_files_they_may_come_from() -> None:
    python = imports(
        "src/app/main.py", "from .reader import Reader as R\nfrom lib.x import (a,\n b)\nimport os\n", "python"
    )
    assert [(i.name, i.known_as) for i in python] == [("Reader", "R"), ("a", "a"), ("b", "b")]
    assert python[0].paths == ("src/app/reader.py", "src/app/reader/__init__.py")
    assert "src/lib/x.py" in python[1].paths
    script = imports(
        "web/a.ts", "import Draw, { Circle as C } from '../shapes.js';\nimport r from 'react';\n", "typescript"
    )
    assert [(i.name, i.known_as) for i in script] == [("Circle", "C")]
    assert "shapes.ts" in script[0].paths


def test_definitions_of_names_at_the_cursor_come_from_learnt_files() -> None:
    known = Definitions()
    hole = Hole("src/app/main.py", "python", "from .reader import Reader, total\n\n\nr = Reader(", ")\n")
    assert known.wanted(hole) == ["src/app/reader.py", "src/app/reader/__init__.py"] * 2
    assert known.of(hole, frozenset({"Reader"}), 5) == []
    known.learn("src/app/reader.py", READER)
    assert "src/app/reader.py" not in known.wanted(hole)
    (found,) = known.of(hole, frozenset({"Reader"}), 5)
    assert found.path == "src/app/reader.py"
    assert found.text.startswith("class Reader(Base):")
    known.forget("src/app/reader.py")
    assert known.of(hole, frozenset({"Reader"}), 5) == []


def test_a_definition_with_a_secret_is_not_learnt() -> None:
    known = Definitions()
    known.learn("conf.py", 'PASSWORD = "correct-h0rse-battery"\nNAME = "x"\n')
    hole = Hole("main.py", "python", "from conf import PASSWORD, NAME\n", "")
    assert [e.text for e in known.of(hole, frozenset({"PASSWORD", "NAME"}), 5)] == ['NAME = "x"\n']


def test_other_languages_and_broken_files_have_none() -> None:
    assert definitions("fn main() {}", "rust") == {}
    assert imports("a.rs", "use x::y;", "rust") == ()
    assert definitions("class (((\n\0 def", "python") == {}
    assert isinstance(definitions("\ud800 def f(): pass", "python"), dict)


def test_only_so_many_files_are_remembered() -> None:
    known = Definitions(max_files=3)
    for n in range(10):
        known.learn(f"m{n}.py", f"def f{n}(): pass\n")
    hole = Hole("a.py", "python", "".join(f"from m{n} import f{n}\n" for n in range(10)), "")
    assert [e.path for e in known.of(hole, frozenset(f"f{n}" for n in range(10)), 10)] == ["m7.py", "m8.py", "m9.py"]
