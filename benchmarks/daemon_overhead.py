"""What the daemon costs: HTTP over a direct engine call, and the time from `start` to ready.

    python benchmarks/daemon_overhead.py [--model NAME] [--requests 400]

Overhead: one token from a cached prompt of 64 ids, through the daemon's socket (OpenAI's whole reply, `http.client`), less
the same call on an engine in this process; difference of medians,
and of first deciles, which other work on the machine disturbs less. Without `--model` the echo engine answers.
Start: from the client's first call to a model that answers, in new processes, medians of five. One JSON line at the end.
"""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import time
from contextlib import closing

import click

from local_runtime.client.client import Client
from local_runtime.client.sockets import socket_path
from local_runtime.engines.echo import EchoEngine
from local_runtime.engines.protocol import Engine, Prompt, Sampling

N_STARTS = 5
WARM_UP = 20
IDS = tuple(range(40, 104))


class UnixConnection(http.client.HTTPConnection):
    """`http.client` over the daemon's socket."""

    def connect(self) -> None:
        """To the socket, whatever the host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(socket_path()))


def direct_ms(engine: Engine) -> float:
    """One token from the engine itself."""
    began = time.perf_counter()
    for _ in engine.stream(Prompt(IDS), Sampling(max_tokens=1)):
        pass
    return (time.perf_counter() - began) * 1000


def daemon_ms(connection: UnixConnection, body: bytes) -> float:
    """One token through the daemon."""
    began = time.perf_counter()
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    elapsed_ms = (time.perf_counter() - began) * 1000
    assert answer.status == 200, content
    return elapsed_ms


def start_seconds(overrides: dict[str, str]) -> float:
    """From nothing to a model that answers."""
    with Client("overhead", overrides=overrides) as client:
        client.stop()
        began = time.perf_counter()
        client.wait_ready()
        return time.perf_counter() - began


@click.command()
@click.option("--model", help="An imported model, in place of the echo engine.")
@click.option("--requests", default=400, show_default=True)
def main(model: str | None, requests: int) -> None:
    """See the module's docstring."""
    overrides = {"model": model} if model else {"engine": "echo"}
    starts = [start_seconds(overrides) for _ in range(N_STARTS)]
    if model:
        from local_runtime.tvm.run.opening import open_engine  # noqa: PLC0415

        engine: Engine = open_engine(model)
    else:
        engine = EchoEngine()
    body = json.dumps({"prompt": list(IDS), "max_tokens": 1, "user": "bench"}).encode()
    # One after the other: TVM's threads spin for a while after a call, and two engines would fight for the cores.
    with closing(engine):
        direct = [direct_ms(engine) for _ in range(requests + WARM_UP)][WARM_UP:]
    with closing(UnixConnection("understudy")) as connection:
        time.sleep(1)
        through = [daemon_ms(connection, body) for _ in range(requests + WARM_UP)][WARM_UP:]
    with Client("overhead", start=False) as client:
        client.stop()
    print(
        json.dumps(
            {
                "model": model or "echo",
                "direct_ms": round(statistics.median(direct), 3),
                "through_daemon_ms": round(statistics.median(through), 3),
                "overhead_median_ms": round(statistics.median(through) - statistics.median(direct), 3),
                "overhead_decile_ms": round(
                    statistics.quantiles(through, n=10)[0] - statistics.quantiles(direct, n=10)[0], 3
                ),
                "start_to_ready_s": round(statistics.median(starts), 3),
                "starts_s": [round(start, 3) for start in starts],
            }
        )
    )


if __name__ == "__main__":
    main()
