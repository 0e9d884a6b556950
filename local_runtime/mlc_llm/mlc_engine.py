"""An engine on MLC's own runtime: its server serves, ours asks. Adapters are merged into the weights before they serve.

Not yet run with the real mlc_llm: its command line and its protocol are kept as its sources document them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet

from local_runtime.engines.admission import check_adapter, check_prompt, check_sampling, check_target
from local_runtime.engines.protocol import Adapter, EngineModel, Piece, Prompt, Sampling, TokenScore
from local_runtime.errors import BadRequest, EngineDied, NotReady
from local_runtime.mlc_llm.command import MlcCommand, Running
from local_runtime.mlc_llm.server_process import MlcServer
from local_runtime.mlc_llm.variants import Say, Variant, Workshop, check_served, ensure_folder, ensure_library
from local_runtime.model.model_folder import ModelFolder
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.remote.remote_engine import RemoteEngine
from local_runtime.remote.wording import TokenWording

CONTEXT_TOKENS = 8192
WAIT_SECONDS = 0.05
"""How long one step waits for a variant."""


class Served:
    """One variant, and the server that has it."""

    def __init__(self, variant: Variant, server: MlcServer, engine: RemoteEngine) -> None:
        self.variant = variant
        self.server = server
        self.engine = engine
        self.n_streams = 0

    def close(self) -> None:
        """End the server."""
        self.server.close()


class MlcEngine:
    """One variant serves at a time. `prepare` makes another one; what runs meanwhile goes on with the old one."""

    def __init__(self, model: ModelFolder, command: MlcCommand, say: Say) -> None:
        """Raises BadRequest, ModelInvalid. Nothing is compiled before `prepare`; `say` is told what the first one does."""
        check_served(model)
        self._fim = FimTokenizer.open(model.path)
        details = {"family": model.config.family, "served by": "mlc_llm"}
        self.model = EngineModel(
            model.path.name, model.base_hash, model.path, min(model.config.context_tokens, CONTEXT_TOKENS),
            model.config.vocab_size, model.quantization.name, f"mlc_llm ({command.device})", details, scores=False,
        )  # fmt: skip
        self._served: Served | None = None
        self._retired: list[Served] = []
        self._coming: tuple[str, Future[Served]] | None = None
        self._say = say
        self._shop = Workshop(model, command, Running(), self._tell)
        self._ending = threading.Event()
        self._worker = ThreadPoolExecutor(1, "mlc_llm")

    def prepare(self, adapter: Adapter | None, strength: float = 1.0) -> Iterator[None]:
        """Have a variant serve: merge, convert, compile what is not there yet, start its server; a step waits, at most, a little.

        Raises BadRequest, AdapterInvalid, BuildFailed; then what served before goes on.
        """
        check_adapter(self.model, adapter, strength)
        variant = Variant(adapter, strength)
        while not self._serves(variant):
            if self._coming is None:
                self._coming = variant.key, self._worker.submit(self._make, variant)
            key, coming = self._coming
            try:
                made = coming.result(WAIT_SECONDS)
            except NotYet:
                yield
                continue
            except BaseException:
                self._coming = None
                if key == variant.key:
                    raise
                continue
            self._coming = None
            self._take(made)

    def stream(
        self, prompt: Prompt, sampling: Sampling, adapter: Adapter | None = None, strength: float = 1.0
    ) -> Iterator[Piece]:
        """Complete `prompt` with the variant that serves. Raises NotReady for another one, which is not made for a single request."""
        check_prompt(self.model, prompt)
        check_sampling(sampling)
        check_adapter(self.model, adapter, strength)
        served = self._served
        if served is None or not self._serves(Variant(adapter, strength)):
            name = adapter.path.name if adapter else "the base"
            raise NotReady(
                f"{name} x {strength:g} is not merged for mlc_llm",
                f"understudy adapter {'use NAME' if adapter else 'base'}",
            )
        if not served.server.alive:
            raise EngineDied("mlc_llm's server has ended", "understudy runtime stop")
        served.n_streams += 1
        try:
            yield from served.engine.stream(prompt, sampling)
        finally:
            served.n_streams -= 1
            self._end_retired()

    def score(
        self, prompt: Prompt, target: tuple[int, ...], adapter: Adapter | None = None, strength: float = 1.0
    ) -> Iterator[TokenScore]:
        """Not possible: mlc_llm's server tells no probability of a given text. Raises BadRequest."""
        check_prompt(self.model, prompt)
        check_target(self.model, prompt, target)
        check_adapter(self.model, adapter, strength)
        raise BadRequest(
            "mlc_llm's server scores nothing: judging and learning need the compiled engine",
            'engine = "compiled" in config.toml, then: understudy runtime stop',
        )
        yield

    def close(self) -> None:
        """End what is being made, and all servers."""
        self._ending.set()
        self._shop.running.end()
        self._worker.shutdown()
        if self._coming is not None and self._coming[1].exception() is None:
            self._retired.append(self._coming[1].result())
        for served in (*self._retired, *([self._served] if self._served else [])):
            served.close()

    def _tell(self, doing: str) -> None:
        """Once something serves, it goes on serving while another variant is made: that is no state of the engine."""
        if self._served is None:
            self._say(doing)

    def _serves(self, variant: Variant) -> bool:
        return self._served is not None and self._served.variant.key == variant.key

    def _make(self, variant: Variant) -> Served:
        """On the worker's thread."""
        shop = self._shop
        library = ensure_library(shop)
        folder = ensure_folder(shop, variant, self._fim.stop_ids.union(shop.model.eos_ids))
        shop.say("mlc_llm loads the weights")
        server = MlcServer(shop.command, folder, library, folder / "serve.log", self._ending)
        engine = RemoteEngine(
            server.connection, TokenWording(self._fim), str(folder),
            context_tokens=self.model.context_tokens, vocab_size=self.model.vocab_size, folder=self.model.folder,
            sends_stops=False,  # it would drop the text of the token in which a stop string begins
        )  # fmt: skip
        return Served(variant, server, engine)

    def _take(self, made: Served) -> None:
        if self._served is not None:
            self._retired.append(self._served)
        self._served = made
        self._end_retired()

    def _end_retired(self) -> None:
        """Servers of variants that served before, once their last stream has ended."""
        for old in [one for one in self._retired if not one.n_streams]:
            self._retired.remove(old)
            old.close()
