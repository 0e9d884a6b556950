"""Notebooks: their code cells are learnt from, one after another, as if they were one file."""

from __future__ import annotations

import msgspec

ENDING = ".ipynb"


class _Cell(msgspec.Struct):
    cell_type: str = ""
    source: str | list[str] = ""


class _Language(msgspec.Struct):
    name: str = "python"


class _Metadata(msgspec.Struct):
    language_info: _Language = msgspec.field(default_factory=_Language)


class _Notebook(msgspec.Struct):
    """nbformat 4, https://nbformat.readthedocs.io/en/latest/format_description.html: what we need of it."""

    cells: list[_Cell]
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


def code_cells(notebook: str) -> tuple[str, str] | None:
    """The language of a notebook and its code cells, a blank line between them; None for what is no notebook.

    Outputs, markdown and lines for the notebook's own shell (`%`, `!`) are left out.
    """
    try:
        found = msgspec.json.decode(notebook, type=_Notebook)
    except msgspec.DecodeError:
        return None
    sources = ["".join(cell.source) for cell in found.cells if cell.cell_type == "code"]
    kept = ["\n".join(line for line in source.split("\n") if not line.startswith(("%", "!"))) for source in sources]
    return found.metadata.language_info.name.lower(), "".join(
        cell.strip("\n") + "\n\n" for cell in kept if cell.strip()
    )
