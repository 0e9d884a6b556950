"""Why nothing was shown. Every non-answer is one of these: counted, and told by `understudy why` in a sentence."""

from __future__ import annotations

from enum import StrEnum


class Skip(StrEnum):
    """A named non-answer."""

    # the place
    NOT_OPEN = "not_open"
    SCHEME = "scheme"
    BINARY = "binary"
    LONG_LINE = "long_line"
    INSIDE_WORD = "inside_word"
    # the user's wish
    DISABLED = "disabled"
    DISABLED_LANGUAGE = "disabled_language"
    DISABLED_FOLDER = "disabled_folder"
    IGNORED_FILE = "ignored_file"
    SECRET_FILE = "secret_file"
    # the moment
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"
    STALE = "stale"
    DEADLINE = "deadline"
    # the runtime
    NO_RUNTIME = "no_runtime"
    NO_MODEL = "no_model"
    MODEL_FAILED = "model_failed"
    LOADING = "loading"
    RUNTIME_DIED = "runtime_died"
    REFUSED = "refused"
    # the model's answer
    EMPTY = "empty"
    ALREADY_THERE = "already_there"
    REPETITION = "repetition"
    NOISE = "noise"
    LOW_CONFIDENCE = "low_confidence"
    # ours
    FAILED = "failed"

    @property
    def sentence(self) -> str:
        """For the user: what happened, and what to do where something can be done."""
        return _SENTENCES[self]

    @property
    def is_fault(self) -> bool:
        """Whether the status item should stay on it: something is missing or broken."""
        return self in _FAULTS


_FAULTS = (
    Skip.NO_RUNTIME,
    Skip.NO_MODEL,
    Skip.MODEL_FAILED,
    Skip.LOADING,
    Skip.RUNTIME_DIED,
    Skip.REFUSED,
    Skip.FAILED,
)
_SENTENCES = {
    Skip.NOT_OPEN: "The editor asked about a document that it has not opened.",
    Skip.SCHEME: "The document is neither a file on this machine nor a new, untitled one.",
    Skip.BINARY: "The text around the cursor is binary.",
    Skip.LONG_LINE: "The line is too long to be written by hand.",
    Skip.INSIDE_WORD: "The cursor is inside a word; ask by hand to complete there all the same.",
    Skip.DISABLED: "Suggestions are switched off; `toggle` switches them on again.",
    Skip.DISABLED_LANGUAGE: "Suggestions are switched off for this language.",
    Skip.DISABLED_FOLDER: "Suggestions are switched off for this folder.",
    Skip.IGNORED_FILE: "The file is ignored by .gitignore, .understudyignore or a pattern in the settings.",
    Skip.SECRET_FILE: "The file may hold secrets; such files are never read.",
    Skip.SUPERSEDED: "A newer request of the same document took its place.",
    Skip.CANCELLED: "The editor cancelled the request.",
    Skip.STALE: "The document changed while the answer was being written.",
    Skip.DEADLINE: "The model had nothing worth showing by the deadline.",
    Skip.NO_RUNTIME: "The runtime does not answer; `understudy doctor` says why.",
    Skip.NO_MODEL: "There is no model yet; `understudy setup` brings one.",
    Skip.MODEL_FAILED: "The runtime has no model that works; `understudy doctor` says why, and what to type.",
    Skip.LOADING: "The model is being loaded or compiled.",
    Skip.RUNTIME_DIED: "The runtime went away in the middle of an answer; the next request starts it again.",
    Skip.REFUSED: "The runtime refused the request; `understudy runtime logs` says why.",
    Skip.EMPTY: "The model thinks that nothing is missing here.",
    Skip.ALREADY_THERE: "The model repeated what already stands around the cursor.",
    Skip.REPETITION: "The model went round in circles.",
    Skip.NOISE: "The answer held nothing but comments, punctuation or blanks.",
    Skip.LOW_CONFIDENCE: "The model was less sure than what you usually accept in this language.",
    Skip.FAILED: "The language server failed on this request; its log has the details.",
}
