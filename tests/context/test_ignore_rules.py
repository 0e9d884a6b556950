"""Which files are left alone, and why: git's semantics, linguist's rules, hostile trees."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_runtime.context.ignore import FileLimits, Ignored, IgnoreRules, is_generated, read_source, walk


def tree(root: Path, files: dict[str, str]) -> IgnoreRules:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return IgnoreRules(root)


NESTED = {
    ".gitignore": "*.log\nbuild/\n/only_root.txt\n!keep.log\ndocs/**/drafts\n\\#odd\nfoo*\n!foo_not\n",
    "sub/.gitignore": "!again.log\nlocal.txt\n/anchored.txt\n",
    "sub/deep/.gitignore": "*\n!wanted.py\n",
    ".git/info/exclude": "excluded.py\n",
}


@pytest.mark.skipif(shutil.which("git") is None, reason="compares with git itself")
def test_the_rules_are_those_of_git(tmp_path: Path) -> None:
    """Every path below is ignored by us exactly when `git check-ignore` says so."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    rules = tree(tmp_path, NESTED)
    paths = [
        *(
            "a.log",
            "keep.log",
            "sub/again.log",
            "sub/a.log",
            "build/x.py",
            "sub/build/x.py",
            "only_root.txt",
            "sub/only_root.txt",
        ),
        *(
            "docs/drafts/a.py",
            "docs/x/drafts/b.py",
            "docs/x/y.py",
            "#odd",
            "foo1.py",
            "foo_not",
            "sub/foo_not",
            "sub/local.txt",
        ),
        *(
            "local.txt",
            "sub/anchored.txt",
            "sub/x/anchored.txt",
            "sub/deep/other.py",
            "sub/deep/wanted.py",
            "excluded.py",
        ),
        *("sub/excluded.py", "sub/deep/more/wanted.py", "build.py", "sub/x/local.txt"),
    ]
    asked = subprocess.run(
        ["git", "-C", str(tmp_path), "-c", "core.excludesFile=/dev/null", "check-ignore", "--no-index", *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    git_ignores = {line.strip('"').replace("\\\\", "\\") for line in asked.stdout.splitlines()}
    assert {path for path in paths if rules.ignored(path) is Ignored.RULE} == git_ignores


def test_understudyignore_adds_to_gitignore(tmp_path: Path) -> None:
    rules = tree(tmp_path, {".gitignore": "a.py\n", ".understudyignore": "!a.py\nb.py\n", "x/.understudyignore": "*\n"})
    assert rules.ignored("a.py") is Ignored.RULE
    assert rules.ignored("b.py") is Ignored.RULE
    assert rules.ignored("x/y.py") is Ignored.RULE
    assert rules.ignored("c.py") is None


def test_changed_rules_count_after_they_are_forgotten(tmp_path: Path) -> None:
    rules = tree(tmp_path, {".gitignore": "a.py\n"})
    assert rules.ignored("a.py") is Ignored.RULE
    (tmp_path / ".gitignore").write_text("")
    rules.forget_rules()
    assert rules.ignored("a.py") is None


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("node_modules/x/index.js", Ignored.RULE),
        (".git/config", Ignored.RULE),
        ("vendor/lib.go", Ignored.VENDORED),
        ("a/third_party/b.c", Ignored.VENDORED),
        ("static/jquery-3.6.0.min.js", Ignored.VENDORED),
        ("app.min.js", Ignored.GENERATED),
        ("app.js.map", Ignored.GENERATED),
        ("proto/x_pb2.py", Ignored.GENERATED),
        ("package-lock.json", Ignored.GENERATED),
        ("Cargo.lock", Ignored.GENERATED),
        (".env", Ignored.SECRET),
        ("deploy/id_ed25519", Ignored.SECRET),
        ("../other/a.py", Ignored.OUTSIDE),
        ("/etc/hosts", Ignored.OUTSIDE),
        ("", Ignored.OUTSIDE),
        ("src/app.py", None),
        ("src/vendoring.py", None),
        ("src/lock.py", None),
        ("src/generated_names.py", None),
    ],
)
def test_names_that_tell(path: str, reason: Ignored | None, tmp_path: Path) -> None:
    assert IgnoreRules(tmp_path).ignored(path) is reason


def test_gitattributes_overrule_linguist(tmp_path: Path) -> None:
    rules = tree(
        tmp_path,
        {
            ".gitattributes": "vendor/** -linguist-vendored\nschema.py linguist-generated=true\nhand_pb2.py linguist-generated=false\n",
            "sub/.gitattributes": "schema.py -linguist-generated\n",
        },
    )
    assert rules.ignored("vendor/ours.py") is None
    assert rules.ignored("schema.py") is Ignored.GENERATED
    assert rules.ignored("sub/schema.py") is None
    assert rules.ignored("hand_pb2.py") is None


def test_text_that_no_person_wrote(tmp_path: Path) -> None:
    rules = IgnoreRules(tmp_path, FileLimits(max_bytes=5000, max_lines=100))
    assert rules.unwanted("a.py", "x = 1\n") is None
    assert rules.unwanted("a.py", "x\0y") is Ignored.BINARY
    assert rules.unwanted("a.py", "x\n" * 101) is Ignored.TOO_LARGE
    assert rules.unwanted("a.py", "x" * 1001) is Ignored.LONG_LINES
    assert rules.unwanted("a.js", ("x" * 200 + "\n") * 10) is Ignored.LONG_LINES
    assert rules.unwanted("a.go", "// Code generated by mockgen. DO NOT EDIT.\npackage a\n") is Ignored.GENERATED
    assert not is_generated("# generates code\nimport os\n")


def test_links_are_not_followed_and_loops_end(tmp_path: Path) -> None:
    root = tmp_path / "work"
    rules = tree(root, {"a/b.py": "x = 1\n"})
    (tmp_path / "outside.py").write_text("private = 1\n")
    (root / "a" / "loop").symlink_to(root)
    (root / "link.py").symlink_to(tmp_path / "outside.py")
    os.mkfifo(root / "pipe.py")
    assert [path for path, _ in walk(rules, 100)] == ["a/b.py"]
    assert read_source(root / "pipe.py") is Ignored.BINARY
    with pytest.raises(OSError, match=r"link\.py"):
        read_source(root / "link.py")


def test_reading_is_bounded_and_text_only(tmp_path: Path) -> None:
    limits = FileLimits(max_bytes=100)
    for name, data, expected in [
        ("ok.py", b"\xef\xbb\xbfx = 1\n", "x = 1\n"),
        ("big.py", b"x" * 101, Ignored.TOO_LARGE),
        ("nul.py", b"a\0b", Ignored.BINARY),
        ("latin.py", b"\xe9\xff", Ignored.BINARY),
    ]:
        (tmp_path / name).write_bytes(data)
        assert read_source(tmp_path / name, limits) == expected


def test_a_walk_stops_at_its_bound(tmp_path: Path) -> None:
    rules = tree(tmp_path, {f"d{n % 10}/f{n}.py": "" for n in range(50)})
    assert len(list(walk(rules, 20))) == 20


def test_a_hostile_gitignore_costs_nothing(tmp_path: Path) -> None:
    """Twenty stars would backtrack for hours; the pattern is made wider, so what it meant to hide stays hidden."""
    evil = "*a" * 20 + "b"
    rules = tree(
        tmp_path,
        {".gitignore": f"{evil}\n!{evil}\n" + "**/x/" * 20 + "y\n" + "[z-a]\n[\n" + "q" * 10_000 + "\n*.log\n"},
    )
    began = time.process_time()
    assert rules.ignored("a" * 200 + ".py") is Ignored.RULE
    assert time.process_time() - began < 5  # hours without the bound
    huge = tree(tmp_path / "two", {".gitignore": "x.py\n" * 200_000})
    assert huge.ignored("x.py") is Ignored.RULE


@given(content=st.binary(max_size=300), path=st.text(min_size=1, max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_no_ignore_file_and_no_name_raises(content: bytes, path: str, tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_bytes(content)
    (tmp_path / ".gitattributes").write_bytes(content)
    IgnoreRules(tmp_path).ignored(path.replace("\0", "x"))
