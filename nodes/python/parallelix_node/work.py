"""The stock Temporal worker around the one activity, on a connection that stays good."""

import asyncio
import logging
from datetime import timedelta

from temporalio.client import Client, TLSConfig
from temporalio.worker import Worker

from .execute import Executor
from .identity import Identity
from .membership import AWAY, Membership

log = logging.getLogger("node")

#: What runs when the node is stopped may take this long to end; then it is given up.
SHUTDOWN_GRACE = timedelta(seconds=30)
RETRY_SECONDS = (1.0, 30.0)


class Work:
    """Takes what is on the node's own queue, and keeps the certificate by which it may."""

    def __init__(
        self,
        address: str,
        identity: Identity,
        node_id: str,
        executor: Executor,
        membership: Membership,
        slots: int,
    ):
        self._address = address
        self._identity = identity
        self._node_id = node_id
        self._executor = executor
        self._membership = membership
        self._slots = slots
        self._worker: Worker | None = None

    async def run(self) -> None:
        """Goes on until it is cancelled; what runs then has a while to end."""
        renewing = asyncio.create_task(self._renew())
        try:
            while True:
                await self._serve()
                await asyncio.sleep(RETRY_SECONDS[0])
                while self._membership.removed_for is not None:
                    await asyncio.sleep(RETRY_SECONDS[0])
        finally:
            renewing.cancel()

    async def _serve(self) -> None:
        try:
            self._worker = Worker(
                await self._connect(),
                # The one queue that the edge lets this certificate poll.
                task_queue=f"node.{self._node_id}",
                activities=[self._executor.execute],
                max_concurrent_activities=self._slots,
                max_concurrent_activity_task_polls=1,
                graceful_shutdown_timeout=SHUTDOWN_GRACE,
            )
            await self._worker.run()
        except RuntimeError as error:
            # No connection; or a worker that ended, since it takes a refusal for a mistake of its
            # own: a node that was removed hears one, or one whose certificate has ended.
            log.warning("node // takes no work for now: %s", error.__cause__ or error)
        finally:
            self._worker = None

    async def _connect(self) -> Client:
        """A stock client: mutual TLS, and nothing of its own."""
        tls = TLSConfig(
            server_root_ca_cert=self._identity.server_ca(),
            client_cert=self._identity.client_certificate(),
            client_private_key=self._identity.client_private_key(),
        )
        return await Client.connect(self._address, identity=self._node_id, tls=tls)

    async def _renew(self) -> None:
        least, most = RETRY_SECONDS
        while True:
            await asyncio.sleep(max(least, self._identity.renew_in_seconds()))
            try:
                await asyncio.to_thread(self._identity.renew)
                if self._worker is not None:
                    self._worker.client = await self._connect()
            except (*AWAY, RuntimeError) as error:
                log.warning("node // the certificate was not renewed, will try again: %s", error)
                await asyncio.sleep(most)
