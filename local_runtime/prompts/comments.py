"""How a language writes a comment that ends with its line. Keys are LSP language identifiers."""

from __future__ import annotations

_SLASHES = (
    "c cpp csharp css-modules dart fsharp go groovy java javascript javascriptreact jsonc kotlin less objective-c "
    "objective-cpp php proto rust scala scss solidity swift typescript typescriptreact verilog zig"
)
_DASHES = "ada elm haskell lua sql vhdl"
_OTHERS = {
    "bat": ("REM ", ""),
    "clojure": (";; ", ""),
    "css": ("/* ", " */"),
    "erlang": ("% ", ""),
    "fortran-modern": ("! ", ""),
    "html": ("<!-- ", " -->"),
    "latex": ("% ", ""),
    "lisp": (";; ", ""),
    "markdown": ("<!-- ", " -->"),
    "matlab": ("% ", ""),
    "ocaml": ("(* ", " *)"),
    "prolog": ("% ", ""),
    "scheme": (";; ", ""),
    "svelte": ("<!-- ", " -->"),
    "tex": ("% ", ""),
    "vb": ("' ", ""),
    "vim": ('" ', ""),
    "vue": ("<!-- ", " -->"),
    "xml": ("<!-- ", " -->"),
}


def commented(text: str, language: str) -> str:
    """Every line of `text` as a comment, ending with a newline; `#` for a language we do not know."""
    opening, closing = _marks(language)
    return "".join(f"{opening}{line}{closing}\n" for line in text.splitlines())


def _marks(language: str) -> tuple[str, str]:
    if language in _SLASHES.split():
        return "// ", ""
    if language in _DASHES.split():
        return "-- ", ""
    return _OTHERS.get(language, ("# ", ""))
