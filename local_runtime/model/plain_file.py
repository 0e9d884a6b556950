"""Opens files that somebody else made: plain ones only, without ever waiting."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from local_runtime.errors import ModelInvalid, ModelMissing

BUFFER_BYTES = 1 << 20


def open_plain(path: Path) -> BinaryIO:
    """`path`, opened for reading. Raises ModelMissing, or ModelInvalid for what is not a plain file or cannot be read."""
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for ever.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", BUFFER_BYTES)
    except FileNotFoundError:
        raise ModelMissing(f"{path} is not there") from None
    except IsADirectoryError:
        raise ModelInvalid(f"{path}: expected a plain file") from None
    except OSError as problem:
        raise ModelInvalid(f"{path} cannot be read: {problem.strerror}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ModelInvalid(f"{path}: expected a plain file")
    return file
