"""What this server changes in the framework's handling of messages.

- Documents are kept in `documents`; the framework's own copies, which it corrupts, are not made at all.
- A request that cannot be understood is answered with an error. The framework only logs it, and the editor waits for ever.
- Inline completion's trigger kinds were 0 (invoked) and 1 (automatic) before LSP 3.18; a client that sends a 0 means these.
"""

from __future__ import annotations

from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.protocol import LanguageServerProtocol

INVOKED, AUTOMATIC = 1, 2


class Protocol(LanguageServerProtocol):
    """The framework's protocol without its copies of documents, and patient with old clients."""

    # Not callable, so not registered as built-in handlers: ours are called instead.
    lsp_text_document__did_open = None  # type: ignore[assignment]
    lsp_text_document__did_change = None  # type: ignore[assignment]
    lsp_text_document__did_close = None  # type: ignore[assignment]
    lsp_notebook_document__did_open = None  # type: ignore[assignment]
    lsp_notebook_document__did_change = None  # type: ignore[assignment]
    lsp_notebook_document__did_close = None  # type: ignore[assignment]

    counts_from_zero = False

    def receive(self, message: dict[str, Any]) -> None:
        """Handle one decoded message."""
        if message.get("method") == types.TEXT_DOCUMENT_INLINE_COMPLETION:
            self._mend_trigger(message.get("params"))
        try:
            structured = self.structure_message(message)
        except JsonRpcException as error:
            if isinstance(message.get("id"), int | str) and "method" in message:
                self._send_response(message["id"], error=error.to_response_error())
            return
        self.handle_message(structured)

    def _mend_trigger(self, params: object) -> None:
        if not isinstance(params, dict):
            return
        context = params.setdefault("context", {"triggerKind": AUTOMATIC})
        if not isinstance(context, dict):
            return
        kind = context.get("triggerKind")
        if kind == 0:
            self.counts_from_zero = True
        if self.counts_from_zero and kind in (0, 1):
            context["triggerKind"] = kind + 1
        elif kind not in (INVOKED, AUTOMATIC):
            context["triggerKind"] = AUTOMATIC
