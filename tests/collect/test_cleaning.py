"""What may be learnt from a change: no secret in either text, no formatting, nothing that was only moved."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.collect.cleaning import Cleaned, clean_text, cleaned
from trainer.collect.hygiene import hunk_refusal
from trainer.collect.refusals import Refusal

TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEowIBAAKCAQEA0\n-----END RSA " + "PRIVATE KEY-----\n"
SPEECH = "def speak(name):\n    text = f'good morning, {name}'\n    print(text)\n"


def _cleaned(before: str, after: str, language: str = "python") -> Cleaned:
    result = cleaned(before, after, "a.py", language)
    assert isinstance(result, Cleaned)
    return result


def test_an_ordinary_change_passes_unchanged() -> None:
    assert _cleaned("a = 1\n", "a = 1\n" + SPEECH) == Cleaned("a = 1\n", "a = 1\n" + SPEECH, {})


def test_a_hunk_with_a_secret_is_not_learnt_from_and_its_line_is_in_neither_text() -> None:
    before = "import os\n\n\ndef f():\n    return 1\n"
    after = f'import os\n\nTOKEN = "{TOKEN}"\nHOST = "here"\n\n\ndef f():\n    return 2\n'
    result = _cleaned(before, after)
    assert TOKEN not in result.before + result.after
    assert "HOST" in result.before and "HOST" in result.after, "the rest of the hunk is seen, and not learnt"
    assert "return 1" in result.before and "return 2" in result.after, "another hunk is learnt from"
    assert result.refused == {Refusal.SECRET: 1}


@pytest.mark.parametrize(
    "line",
    [
        'client = connect(host, password="h7Gq2vLx9mKp")',
        f'os.environ["GITHUB_TOKEN"] = "{TOKEN}"',
        f"client = login(user, token='{TOKEN}')",
    ],
)
def test_a_secret_that_is_an_argument_is_one(line: str) -> None:
    result = _cleaned(SPEECH, f"{SPEECH}\n\n{line}\n")
    assert not result.changed and "h7Gq" not in result.after and "ghp_" not in result.after


@pytest.mark.parametrize(
    "line", ['password = settings["password"]', "token = read_token(path)", 'key = os.environ["API_KEY"]']
)
def test_where_a_secret_comes_from_is_none(line: str) -> None:
    assert line in _cleaned(SPEECH, f"{SPEECH}\n\n{line}\n").after


def test_a_secret_that_was_there_before_is_in_neither_text() -> None:
    result = _cleaned(f'T = "{TOKEN}"\na = 1\n', f'T = "{TOKEN}"\na = 1\nb = 2\n')
    assert result == Cleaned("a = 1\n", "a = 1\nb = 2\n", {})


def test_a_secret_that_was_taken_out_is_in_neither_text() -> None:
    result = _cleaned(f'a = 1\nT = "{TOKEN}"\n', "a = 1\nT = os.environ['T']\n")
    assert TOKEN not in result.before + result.after
    assert not result.changed


def test_a_private_key_takes_the_whole_file() -> None:
    assert cleaned("", SPEECH + KEY, "a.py", "python") is Refusal.PRIVATE_KEY
    assert cleaned(SPEECH + KEY, SPEECH, "a.py", "python") is Refusal.PRIVATE_KEY
    assert clean_text(KEY, "a.py") is Refusal.PRIVATE_KEY


def test_an_address_at_the_top_of_a_new_file_costs_its_paragraph() -> None:
    result = _cleaned("", "# by Ada <ada@lovelace.org>\n# in 1843\n\n" + SPEECH)
    assert "lovelace" not in result.before + result.after
    assert result.after == "# in 1843\n\n" + SPEECH
    assert "speak" not in result.before
    assert result.refused == {Refusal.PERSONAL: 1}


@pytest.mark.parametrize(
    ("before", "after", "language"),
    [
        ("a = 1\n", "a  =  1\n", "python"),
        ("a = 1\n", "a = 1\n\n\n", "python"),
        ("f(a, b)\n", "f(\n    a,\n    b,\n)\n", "python"),
        ("a = 'x'\n", 'a = "x"\n', "python"),
        ("if (a) {\n  b()\n}\n", "if (a) {\n    b()\n}\n", "go"),
        ("const a = 'x'\n", 'const a = "x";\n', "typescript"),
        ("f(a, b)\n", "f(\n  a,\n  b,\n)\n", "javascript"),
    ],
)
def test_formatting_is_not_learnt_from(before: str, after: str, language: str) -> None:
    result = _cleaned(before, after, language)
    assert not result.changed
    assert result.refused.keys() == {Refusal.FORMATTING}
    assert hunk_refusal(before, after, "a", language) is Refusal.FORMATTING


@pytest.mark.parametrize(
    ("before", "after", "language"),
    [
        ("if a:\n    b()\nc()\n", "if a:\n    b()\n    c()\n", "python"),
        ("a = 1  # one\n", "a = 1  # uno\n", "python"),
        ("a = 'x'\n", "a = 'y'\n", "typescript"),
    ],
)
def test_what_only_looks_like_formatting_is_learnt_from(before: str, after: str, language: str) -> None:
    assert _cleaned(before, after, language).changed
    assert hunk_refusal(before, after, "a", language) is None


def test_moved_text_is_not_new() -> None:
    block = "def one(a):\n    b = a + 1\n    return b\n"
    rest = "".join(f"x{n} = {n}\n" for n in range(9))
    result = _cleaned(f"{block}\n\n{rest}", f"{rest}\n\n{block}\n\nlast = 3\n")
    assert result.refused[Refusal.MOVED] == 1
    assert result.before.count("def one") == 2, "where it stands now it stood before"
    assert result.after.endswith("last = 3\n")


def test_text_moved_from_another_file_is_not_new() -> None:
    from trainer.collect.formatting import removed_lines  # noqa: PLC0415

    result = cleaned("a = 1\n", "a = 1\n" + SPEECH, "b.py", "python", removed_lines(SPEECH.split("\n")))
    assert isinstance(result, Cleaned) and not result.changed
    assert result.refused == {Refusal.MOVED: 1}


LINES = st.lists(
    st.sampled_from(
        [
            "a = 1",
            "",
            "    b()",
            "def f():",
            f'k = "{TOKEN}"',
            "# ada@lovelace.org",
            "password = 'hunter2hunter2'",
            "}",
            "x" * 30,
        ]
    ),
    max_size=14,
).map("\n".join)


@settings(deadline=None)
@given(LINES, LINES)
def test_no_text_of_a_cleaned_change_has_a_secret(before: str, after: str) -> None:
    result = cleaned(before, after, "a.py", "python")
    assert isinstance(result, Cleaned | Refusal)
    if isinstance(result, Cleaned):
        for word in (TOKEN, "lovelace", "hunter2"):
            assert word not in result.before + result.after
        if not result.refused and not any(word in before + after for word in (TOKEN, "lovelace", "hunter2")):
            assert (result.before, result.after) == (before, after)
