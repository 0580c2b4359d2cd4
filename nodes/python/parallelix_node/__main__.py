"""`python -m parallelix_node`: one node, until SIGTERM or SIGINT. `--node-id` tells its id."""

import asyncio
import hashlib
import json
import logging
import signal
import sys
import threading
import time
from pathlib import Path

from .answer import BackendFailed
from .attempts import Attempts
from .backend import OpenAiBackend, measure_throughput
from .channel import Channel
from .config import Config, ConfigError, read_config
from .edge_http import Address
from .edge_trouble import connection_advice
from .execute import Executor
from .identity import Identity, Refused
from .keys import KeyFileError, NodeKeys, load_or_create
from .membership import AWAY, Membership
from .work import RETRY_SECONDS, Work

log = logging.getLogger("node")

HEALTH_SECONDS = 2.0


def main() -> int:
    # Until it serves there is nothing to end in order: Ctrl-C ends it at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        config = read_config()
        keys = load_or_create(config.keys, config.passphrase)
        if "--node-id" in sys.argv[1:]:
            print(keys.node_id)
            return 0
        if config.edge_ca is not None and not config.edge_ca.is_file():
            raise ConfigError(f"PLX_EDGE_CA: there is no file {config.edge_ca}")
        binding = read_binding(config.binding, keys.node_id)
        model_digest = digest_of(config)
        if config.log_level != "SILENT":
            logging.basicConfig(
                level=config.log_level, format="%(asctime)s %(levelname)s %(message)s"
            )
            # The SDK logs a whole traceback for each failure that a node reports on purpose.
            logging.getLogger("temporalio").setLevel(logging.CRITICAL)
        asyncio.run(run(config, keys, binding, model_digest))
        return 0
    except (ConfigError, KeyFileError, Refused) as error:
        print(error, file=sys.stderr)
        return 1


async def run(config: Config, keys: NodeKeys, binding: dict, model_digest: str) -> None:
    backend = OpenAiBackend(
        config.openai_url,
        config.openai_key,
        config.openai_model,
        config.equivalence,
        config.context_tokens,
    )
    tokens_per_second = await until_ready(lambda: tried(backend), "the backend", BackendFailed)
    address = Address.parse(config.edge_address)
    identity = Identity(keys, config.keys, address, config.edge_ca, config.join_token)
    await until_ready(identity.ensure, f"the edge at {config.edge_address}", *AWAY)

    attempts = Attempts()
    health = Health(backend)
    channel = Channel(address, identity.context, keys)

    def claims() -> dict:
        """What the node says of itself; the network measures what it relies on."""
        return {
            "name": config.name,
            "binding": binding,
            "tier": config.tier,
            "workloadClasses": ["ai.inference"],
            "modelId": config.model_id,
            "modelDigest": model_digest,
            "engine": backend.engine,
            "features": ["choices", *backend.features],
            "tokensPerSecond": tokens_per_second,
            "slots": config.slots,
            **({"machine": config.machine} if config.machine else {}),
        }

    membership = Membership(channel, attempts, claims, health.is_healthy)
    executor = Executor(
        keys, backend, model_digest, channel, membership, attempts, config.slots
    )
    await asyncio.to_thread(membership.join)
    work = Work(
        config.edge_address, identity, keys.node_id, executor, membership, config.slots
    )
    stopping = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stopping.set)
    working = asyncio.create_task(work.run())
    print(json.dumps({"ready": True, "nodeId": keys.node_id, "engine": backend.engine}), flush=True)
    await stopping.wait()
    await asyncio.to_thread(membership.drain)
    working.cancel()
    await asyncio.wait({working})
    await asyncio.to_thread(membership.leave)


async def until_ready(attempt, what: str, *passing: type[Exception]):
    """Waits for ever, and ever less often: a node that gave up would only be started again."""
    wait, most = RETRY_SECONDS
    while True:
        try:
            return await asyncio.to_thread(attempt)
        except passing as error:
            said = f"{error} {connection_advice(error)}".rstrip()
            log.warning("node // %s is not ready, next try in %.0f s: %s", what, wait, said)
            await asyncio.sleep(wait)
            wait = min(2 * wait, most)


def tried(backend: OpenAiBackend) -> float:
    backend.look()
    backend.probe()
    return measure_throughput(backend)


class Health:
    """Looks at the server every two seconds: a node that isn't ready gets no new work."""

    def __init__(self, backend: OpenAiBackend):
        self._backend = backend
        self._healthy = True
        threading.Thread(target=self._watch, daemon=True).start()

    def is_healthy(self) -> bool:
        return self._healthy

    def _watch(self) -> None:
        while True:
            time.sleep(HEALTH_SECONDS)
            try:
                self._backend.look()
                if not self._healthy:
                    # What comes back may be another version.
                    self._backend.probe()
                    log.info("node // the backend is back")
                self._healthy = True
            except BackendFailed as error:
                # Said once per outage, not every two seconds.
                if self._healthy:
                    log.warning("node // no new work until the backend is back: %s", error)
                self._healthy = False


def read_binding(path: Path, node_id: str) -> dict:
    """The operator's signature for this node, as `prlx operator bind` writes it."""
    try:
        binding = json.loads(path.read_text(encoding="utf-8"))
        return {name: binding[name] for name in ("operator", "expiresAt", "signature")}
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"PLX_OPERATOR_BINDING: {path} is not there, or is no binding.\n"
            f"This node is {node_id}. Its operator signs for it by\n"
            f"  prlx operator bind {node_id} --key-file FILE > {path}"
        ) from None


def digest_of(config: Config) -> str:
    """Of the weights: as declared, or taken of the file. Raises ConfigError if they differ."""
    declared = config.model_digest
    if config.model_path is None:
        # One of the two is set: read_config looks for that.
        return declared or ""
    digest = hashlib.sha256()
    try:
        with config.model_path.open("rb") as file:
            while part := file.read(1024 * 1024):
                digest.update(part)
    except OSError as error:
        raise ConfigError(f"MODEL_PATH: the file can't be read ({error.strerror})") from None
    found = f"sha256:{digest.hexdigest()}"
    if declared not in (None, found):
        raise ConfigError("PLX_MODEL_DIGEST is not the digest of the file at MODEL_PATH")
    return found


if __name__ == "__main__":
    sys.exit(main())
