"""Which brackets of a piece of code are left open, and which close nothing. Strings and comments do not count."""

from __future__ import annotations

from dataclasses import dataclass

TWINS = {")": "(", "]": "[", "}": "{"}
CLOSING = {opener: closer for closer, opener in TWINS.items()}
_LINE_COMMENTS = {
    "#": frozenset(
        {"python", "ruby", "perl", "shellscript", "r", "julia", "yaml", "toml", "makefile", "dockerfile", "elixir"}
    ),
    "--": frozenset({"lua", "sql", "haskell", "ada", "elm"}),
    ";": frozenset({"lisp", "clojure", "scheme", "ini", "asm"}),
    "%": frozenset({"tex", "latex", "matlab", "erlang"}),
}


def line_comment(language: str) -> str:
    """What begins a comment that runs to the line's end."""
    return next((marker for marker, languages in _LINE_COMMENTS.items() if language in languages), "//")


@dataclass(frozen=True, slots=True)
class Brackets:
    """What remains of a text after every pair in it is taken out."""

    unopened: tuple[int, ...]
    """Indices of closing brackets whose twin is not in the text."""
    unclosed: str
    """Opening brackets whose twin is not in the text, outermost first."""
    quote: str
    """The quote of a string that is still open at the end, else empty."""
    in_comment: bool
    """Whether the end is in a line comment."""


def brackets(text: str, language: str) -> Brackets:
    """Scan once. A wrong pair (`(]`) counts its closer as unopened; a plain string ends with its line."""
    comment = line_comment(language)
    unopened: list[int] = []
    stack: list[str] = []
    quote, in_comment, index = "", False, 0
    while index < len(text):
        character = text[index]
        if character == "\n":
            in_comment = False
            quote = quote if len(quote) == 3 or quote == "`" else ""
        elif in_comment:
            pass
        elif quote:
            if character == "\\":
                index += 1
            elif text.startswith(quote, index):
                index += len(quote) - 1
                quote = ""
        elif character in "\"'`":
            quote = character * 3 if character != "`" and text.startswith(character * 3, index) else character
            index += len(quote) - 1
        elif text.startswith(comment, index):
            in_comment = True
        elif character in CLOSING:
            stack.append(character)
        elif character in TWINS:
            if stack and stack[-1] == TWINS[character]:
                stack.pop()
            else:
                unopened.append(index)
        index += 1
    return Brackets(tuple(unopened), "".join(stack), quote, in_comment)
