"""The final choice: stable, never the answer, never what the prompt shows anyway, never late."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from local_runtime.context.chunks import EXCERPT_LINES, Excerpt, excerpts, identifiers
from local_runtime.context.ignore import IgnoreRules
from local_runtime.context.neighbours import OpenFiles
from local_runtime.context.related import Room, admissible, choose
from local_runtime.context.ring import RecentPlaces, around
from local_runtime.context.search import WorkspaceIndex
from local_runtime.context.workspace import Kind, WorkspaceContext
from local_runtime.prompts.hole import Chunk, Hole


def piece(name: str, n_lines: int = 6) -> Excerpt:
    return Excerpt(f"{name}.py", "".join(f"{name}_{i} = make_{name}({i})\n" for i in range(n_lines)))


HOLE = Hole("main.py", "python", "import os\nx = alpha_1 + ", "\nprint(x)\n")
PIECES = [piece(name) for name in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")]
SMALL = Room(related_chars=500)


@given(st.lists(st.permutations(PIECES), min_size=2, max_size=5))
def test_a_piece_keeps_its_place_while_there_is_room(orders: list[list[Excerpt]]) -> None:
    """However the candidates are ranked, as long as all of them fit the prompt does not change."""
    shown: tuple[Chunk, ...] = ()
    for order in orders:
        previous, shown = shown, choose(order, HOLE, shown, Room(related_chars=100_000))
        assert shown[: len(previous)] == previous
    assert len(shown) == len(PIECES)


@given(
    st.lists(st.lists(st.sampled_from(PIECES), max_size=6), max_size=6),
    st.integers(0, 1500),
)
def test_the_room_is_never_exceeded_and_nothing_comes_twice(rounds: list[list[Excerpt]], related_chars: int) -> None:
    shown: tuple[Chunk, ...] = ()
    for candidates in rounds:
        shown = choose(candidates, HOLE, shown, Room(related_chars=related_chars))
        assert sum(len(c.path) + 1 + len(c.text) for c in shown) <= related_chars
        assert len(set(shown)) == len(shown)
        assert set(shown) <= {e.chunk for e in candidates}


def test_new_pieces_are_appended_and_those_no_longer_relevant_go() -> None:
    first = choose(PIECES[:2], HOLE, (), SMALL)
    assert [c.path for c in first] == ["alpha.py", "beta.py"]
    second = choose([PIECES[2], PIECES[1], PIECES[0]], HOLE, first, Room(related_chars=900))
    assert [c.path for c in second] == ["alpha.py", "beta.py", "gamma.py"]
    third = choose([PIECES[2], PIECES[0]], HOLE, second, Room(related_chars=900))
    assert [c.path for c in third] == ["alpha.py", "gamma.py"]


def test_a_far_better_piece_takes_the_place_of_the_worst() -> None:
    room = Room(related_chars=2 * len(PIECES[0].text) + 60)
    shown = choose(PIECES[:2], HOLE, (), room)
    assert [c.path for c in shown] == ["alpha.py", "beta.py"]
    now = choose([PIECES[4], PIECES[0], PIECES[1]], HOLE, shown, room)
    assert [c.path for c in now] == ["alpha.py", "epsilon.py"]
    assert choose([PIECES[0], PIECES[1], PIECES[4]], HOLE, shown, room) == shown


def test_the_answer_is_never_shown() -> None:
    """The file as it was before the hole was made is among the recent places and in the index."""
    above = "".join(f"line_{i} = before({i})\n" for i in range(200))
    below = "".join(f"tail_{i} = after({i})\n" for i in range(200))
    answer = "secret_answer = compute(everything)\n"
    hole = Hole("main.py", "python", above, below)
    candidates = [*excerpts("main.py", above + answer + below, 100), Excerpt("main.py", answer * 3)]
    for room in (Room(), Room(prefix_chars=0, suffix_chars=0)):
        for excerpt in admissible(candidates, hole, room):
            assert "secret_answer" not in excerpt.text
    assert admissible(candidates, hole), "far parts of the same file may be shown"


def test_what_the_prompt_shows_anyway_is_left_out() -> None:
    text = "".join(f"line_{i} = before({i})\n" for i in range(40))
    hole = Hole("main.py", "python", text, "")
    copy = Excerpt("copy_of_main.py", text[-600:])
    assert admissible([Excerpt("main.py", text[-600:]), copy, PIECES[0]], hole) == [PIECES[0]]


def test_pieces_that_repeat_each_other_are_shown_once() -> None:
    again = Excerpt("again.py", PIECES[0].text + "one_more = 1\n")
    assert admissible([PIECES[0], again], HOLE) == [PIECES[0]]


def test_recent_places_evict_what_they_repeat() -> None:
    ring = RecentPlaces(capacity=3)
    for name in ("alpha", "beta", "alpha", "gamma", "delta"):
        ring.add(piece(name, 20))
    assert [e.path for e in ring] == ["delta.py", "gamma.py", "alpha.py"]
    ring.add(Excerpt("alpha2.py", piece("alpha", 20).text + "x9 = 1\n"))
    assert [e.path for e in ring] == ["alpha2.py", "delta.py", "gamma.py"]
    ring.add(Excerpt("blank.py", "\n \n"))
    ring.forget("delta.py")
    assert [e.path for e in ring] == ["alpha2.py", "gamma.py"]
    assert around("a.py", "".join(f"{i}\n" for i in range(100)), 50, 4).text == "48\n49\n50\n51\n"
    assert around("a.py", "1\n2\n", 999, 4).text == "1\n2\n"


def test_neighbours_are_parts_that_share_names() -> None:
    files = OpenFiles(max_files=3)
    files.put(
        "reader.py",
        "".join(f"filler_{i} = 0\n" for i in range(60)) + "\n\ndef read_config(path):\n    return parse(path)\n",
    )
    files.put("other.py", "def unrelated(): pass\n")
    names = identifiers("config = read_config(path)\nparse(config)")
    (best, *_) = files.similar(names, "main.py", 2)
    assert (best.path, "def read_config" in best.text) == ("reader.py", True)
    assert files.similar(names, "reader.py", 2) == []
    for n in range(3):
        files.put(f"f{n}.py", "x = 1\n")
    assert files.similar(names, "main.py", 2) == []
    files.put("late.py", "def read_config(path): ...\n")
    assert files.similar(names, "main.py", 2, late=lambda: True) == []


@given(st.lists(st.text("ab \t", max_size=6), max_size=120))
def test_excerpts_are_whole_lines_that_join_to_the_file(lines: list[str]) -> None:
    text = "".join(line + "\n" for line in lines)
    cut = list(excerpts("a.py", text, 1000))
    assert all(0 < e.text.count("\n") <= EXCERPT_LINES for e in cut)
    assert "".join(e.text for e in cut).split() == text.split()
    assert all("".join(text.splitlines(keepends=True)[e.first_line :]).startswith(e.text) for e in cut)


class Clock:
    """Seconds that pass only when told, or by a step at every look."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def workspace(root: Path, clock: Clock, index: WorkspaceIndex | None = None) -> WorkspaceContext:
    context = WorkspaceContext(IgnoreRules(root), index, clock)
    (root / "lib.py").write_text("def make_alpha(size):\n    return size\n")
    context.opened("alpha.py", PIECES[0].text)
    context.took("beta.py", PIECES[1].text)
    return context


def test_every_kind_brings_its_piece(tmp_path: Path) -> None:
    (tmp_path / "far.py").write_text("def rare_helper(value):\n    return value\n")
    index = WorkspaceIndex(tmp_path / "db" / "index.sqlite", IgnoreRules(tmp_path))
    context = workspace(tmp_path, Clock(), index)
    list(context.refresh())
    hole = Hole("main.py", "python", "from lib import make_alpha\nx = make_alpha(alpha_1)\ny = rare_helper(", ")\n")
    assert context.learn_imports(hole) == 1
    shown = context.related(hole)
    assert [c.path for c in shown.chunks] == ["lib.py", "beta.py", "alpha.py", "far.py"]
    assert set(shown.ms) == set(Kind)
    index.close()


def test_typing_does_not_change_the_order(tmp_path: Path) -> None:
    context = workspace(tmp_path, Clock())
    shown = context.related(HOLE).chunks
    for typed in ("b", "be", "bet", "beta", "beta_1"):
        context.took(f"{typed}.py", piece(typed).text)
        now = context.related(Hole("main.py", "python", HOLE.prefix + typed, HOLE.suffix)).chunks
        assert now[: len(shown)] == shown
        shown = now


def test_without_time_the_answer_is_what_was_shown_before(tmp_path: Path) -> None:
    clock = Clock()
    context = workspace(tmp_path, clock)
    before = context.related(HOLE).chunks
    assert before
    clock.step = 1.0
    late = context.related(HOLE)
    assert late.chunks == before
    assert late.ms == {}


def test_a_late_answer_still_does_not_repeat_the_window(tmp_path: Path) -> None:
    clock = Clock()
    context = workspace(tmp_path, clock)
    before = context.related(HOLE).chunks
    clock.step = 1.0
    inside = Hole("main.py", "python", before[0].text, "")
    assert before[0] not in context.related(inside).chunks


def test_forgotten_secret_and_ignored_files_are_never_shown(tmp_path: Path) -> None:
    context = workspace(tmp_path, Clock())
    assert context.related(HOLE).chunks
    (tmp_path / ".gitignore").write_text("private/\n")
    context.saved(".gitignore", "private/\n")
    context.opened("private/a.py", PIECES[2].text)
    context.took(".env", PIECES[3].text)
    context.opened("keys.py", PIECES[4].text + 'password = "correct-h0rse-battery"\n')
    context.took("keys2.py", PIECES[4].text + 'password = "correct-h0rse-battery"\n')
    context.visited("private/b.py", PIECES[5].text, 1)
    hole = Hole("main.py", "python", "".join(e.text.split("\n")[0] + "\n" for e in PIECES), "")
    assert {c.path for c in context.related(hole).chunks} == {"alpha.py", "beta.py"}
    context.forget("beta.py")
    assert {c.path for c in context.related(hole).chunks} == {"alpha.py"}


def test_a_far_jump_is_remembered_and_a_step_is_not(tmp_path: Path) -> None:
    context = workspace(tmp_path, Clock())
    text = "".join(f"place_{i} = visit({i})\n" for i in range(400))
    context.visited("long.py", text, 20)
    context.visited("long.py", text, 25)
    context.visited("long.py", text, 300)
    paths = [c.path for c in context.related(HOLE, Room(related_chars=10_000)).chunks]
    assert paths.count("long.py") == 2


def test_importing_context_loads_no_grammar_and_no_scanner() -> None:
    code = (
        "import sys, local_runtime.context.workspace;"
        "print([m for m in ('tvm', 'tvm_ffi', 'torch', 'tree_sitter', 'detect_secrets', 'pathspec', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
