import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { instantBackend } from '../../bench/instant-backend.ts';
import type { Database } from '../../prisma/client.ts';
import { spawnRole, type Role } from '../../workers/embedded/process.ts';
import { seed } from '../../workers/embedded/seed.ts';
import type { Coordination } from './coordination.ts';
import type { FaultName } from './faulty-node.ts';
import { eventTypes, historyOf } from './history.ts';
import { windows } from './presence.ts';
import { API_KEY } from './seeded.ts';
import { testServers } from './servers.ts';
import { startTestNode, type TestNode } from './test-node.ts';
import { until } from './until.ts';

const SLOTS = 8;
export const PROMPT = 'one two three';

interface FaultyNode {
  readonly role: Role;
  readonly nodeId: string;
  readonly logFile: string;
}

/** When the slot of an attempt came back. */
export type SlotRelease =
  /** In the transaction that decided the attempt. */
  | 'at once'
  /** Once its node didn't name it any more. */
  | 'acknowledged'
  /** Once its lease was over. */
  | 'lease';

/** Has a database write down each time that a slot comes back. */
export async function auditSlots(database: Database): Promise<void> {
  await database.$executeRaw`
    CREATE TABLE slot_release (unit_id TEXT, dispatch INT, released_at TIMESTAMPTZ(3),
                               lease_until TIMESTAMPTZ(3))`;
  await database.$executeRaw`
    CREATE FUNCTION note_release() RETURNS TRIGGER LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO slot_release VALUES (OLD.unit_id, OLD.dispatch, now(), OLD.lease_until);
      RETURN NULL;
    END $$`;
  await database.$executeRaw`
    CREATE TRIGGER slot_release AFTER UPDATE ON slot FOR EACH ROW
    WHEN (OLD.unit_id IS NOT NULL
          AND (NEW.unit_id, NEW.dispatch) IS DISTINCT FROM (OLD.unit_id, OLD.dispatch))
    EXECUTE FUNCTION note_release()`;
}

/**
 * Faulty nodes as processes, smallest first, and a larger node that is well. They have a model of
 * their own, so that scenes on one coordination don't meet.
 */
export class FaultScene {
  readonly faulty: readonly FaultyNode[];
  readonly healthy: TestNode;
  readonly #network: Coordination;
  readonly #model: string;

  private constructor(
    network: Coordination,
    model: string,
    healthy: TestNode,
    faulty: readonly FaultyNode[],
  ) {
    this.#network = network;
    this.#model = model;
    this.healthy = healthy;
    this.faulty = faulty;
  }

  static async open(network: Coordination, name: string, faults: readonly FaultName[]) {
    const id = name.replaceAll(' ', '-');
    const digest = `sha256:${createHash('sha256').update(id).digest('hex')}` as const;
    const model = { ...instantBackend().model, id, digest };
    await seed(network.database, API_KEY, model);
    const faulty: FaultyNode[] = [];
    for (const [index, fault] of faults.entries())
      faulty.push(await startFaultyNode(network, model, fault, index + 1));
    const healthy = await startTestNode({
      ...network,
      backend: { ...instantBackend({ slots: SLOTS }), model },
      name: `healthy-${id}`,
      tier: faults.length + 1,
    });
    return new FaultScene(network, id, healthy, faulty);
  }

  /** Asks, and waits for the end. @returns the request's id. */
  async ask(deadlineSeconds: number): Promise<string> {
    // On a busy machine they may have been measured as too slow, or as of a lower tier.
    await this.#network.database.$executeRaw`
      UPDATE node SET tier = claimed_tier, tokens_per_second = 1000
      WHERE model_id = ${this.#model}`;
    const response = await this.#network.chat({
      model: this.#model,
      messages: [{ role: 'user', content: PROMPT }],
      max_tokens: 16,
      deadline_seconds: deadlineSeconds,
    });
    await response.text();
    return response.headers.get('x-request-id') ?? assert.fail('no request');
  }

  /** How a request ended, and all that was written down about it. */
  async outcome(id: string) {
    const { database } = this.#network;
    const where = { unitId: id };
    const view = await this.#network.ended(id);
    const request = await database.request.findUniqueOrThrow({ where: { id } });
    const attempts = await database.dispatch.findMany({ where, orderBy: { dispatch: 'asc' } });
    const events = await database.failureEvent.findMany({ where, orderBy: { createdAt: 'asc' } });
    const flags = await database.nodeEvent.findMany({ where, orderBy: { createdAt: 'asc' } });
    const name = (nodeId: string | null) => this.#nameOf(nodeId);
    return {
      state: view.status,
      error: view.error?.code ?? null,
      text: view.result?.choices[0]?.message.content ?? null,
      servedBy: request.proof && name(view.proof_of_execution?.node ?? null),
      attempts: attempts.map(({ nodeId, outcome }) => [name(nodeId), outcome]),
      events: events.map((event) => [
        event.code,
        event.dispatch,
        name(event.nodeId),
        event.recovery,
      ]),
      flags: flags.map(({ code, dispatch, nodeId }) => [code, dispatch, name(nodeId)]),
      ...(await this.#money(id, BigInt(view.charged_wei))),
    };
  }

  async #money(id: string, chargedWei: bigint) {
    const transfers = await this.#network.database.ledgerTransfer.findMany({
      where: { key: { startsWith: `${id}:` } },
    });
    const wei = (purpose: string) =>
      transfers
        .filter((transfer) => transfer.purpose === purpose)
        .reduce((sum, { amountWei }) => sum + BigInt(amountWei.toFixed()), 0n);
    assert.equal(wei('capture'), chargedWei);
    assert.ok(wei('reserve') > 0n);
    return {
      charges: transfers.filter(({ purpose }) => purpose === 'capture').length,
      stillReservedWei: wei('reserve') - wei('capture') - wei('release'),
    };
  }

  /** How Temporal saw the attempts end, in their order: COMPLETED, FAILED, or TIMED_OUT. */
  async executions(id: string): Promise<string[]> {
    const types = eventTypes(await historyOf(this.#network.client, id));
    return types
      .filter((type) => /^ACTIVITY_TASK_(COMPLETED|FAILED|TIMED_OUT)$/.test(type))
      .map((type) => type.replace('ACTIVITY_TASK_', ''));
  }

  /** Waits until the slots of a request's attempts are back. @returns when, by attempt. */
  async slotReleases(id: string): Promise<SlotRelease[]> {
    const { database } = this.#network;
    const held = () => database.slot.count({ where: { unitId: id } });
    await until(async () => (await held()) === 0, 'its slots are back');
    return (
      await database.$queryRaw<{ release: SlotRelease }[]>`
        SELECT CASE WHEN released_at = decided_at THEN 'at once'
                    WHEN released_at < lease_until THEN 'acknowledged' ELSE 'lease' END AS release
        FROM slot_release JOIN dispatch USING (unit_id, dispatch)
        WHERE unit_id = ${id} ORDER BY dispatch, released_at`
    ).map(({ release }) => release);
  }

  /** What the network thinks of a node: its status, and its uptime by how each window ended. */
  async standing(nodeId: string) {
    const { database } = this.#network;
    const { status } = await database.node.findUniqueOrThrow({ where: { id: nodeId } });
    const uptime = await windows(database, nodeId);
    return { status, uptime: uptime.map(({ endCode }) => endCode) };
  }

  async row(node = 0) {
    const where = { id: this.faulty[node]?.nodeId ?? '' };
    return this.#network.database.node.findUniqueOrThrow({ where });
  }

  /** Waits until a faulty node has said that often that it took, or ended, a unit. */
  async untilSaid(what: 'took' | 'ended', times = 1, node = 0): Promise<void> {
    const { logFile = '' } = this.faulty[node] ?? {};
    const said = async () =>
      (await readFile(logFile, 'utf8')).split(`faulty-node // ${what}`).length - 1;
    await until(async () => (await said()) >= times, `it ${what} ${times}`);
  }

  /** No faulty node is asked whether it wants to end. */
  async close(): Promise<void> {
    for (const { role } of this.faulty) {
      try {
        process.kill(role.pid, 'SIGKILL');
      } catch {
        // It has ended already.
      }
      await role.stop();
    }
    await this.healthy.stop();
  }

  #nameOf(nodeId: string | null): string | null {
    if (nodeId === this.healthy.keys.nodeId) return 'healthy';
    const index = this.faulty.findIndex((node) => node.nodeId === nodeId);
    return index < 0 ? nodeId : `faulty ${index + 1}`;
  }
}

async function startFaultyNode(
  network: Coordination,
  model: { readonly id: string; readonly digest: string },
  fault: FaultName,
  tier: number,
): Promise<FaultyNode> {
  const name = `${model.id}-${tier}`;
  const { directory } = await testServers();
  const logFile = join(directory, `faulty-${name}.log`);
  const role = await spawnRole({
    name: 'faulty node',
    entry: fileURLToPath(new URL('./faulty-node.ts', import.meta.url)),
    logFile,
    env: {
      FAULT: fault,
      DATABASE_URL: network.databaseUrl,
      PLX_EDGE_ADDRESS: network.edge.address,
      PLX_EDGE_CA: network.edge.ca,
      PLX_NODE_NAME: name,
      PLX_NODE_TIER: String(tier),
      PLX_NODE_SLOTS: String(SLOTS),
      PLX_MODEL_ID: model.id,
      PLX_MODEL_DIGEST: model.digest,
    },
  });
  return { role, nodeId: String(role.ready['nodeId']), logFile };
}
