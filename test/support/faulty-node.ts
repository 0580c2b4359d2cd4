import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '@temporalio/activity';
import { instantBackend } from '../../bench/instant-backend.ts';
import { openTicket } from '../../crypto/ticket.ts';
import { Attempts } from '../../nodes/attempts.ts';
import type { Backend, ModelDescription } from '../../nodes/backends/backend.ts';
import { openDatabase } from '../../prisma/client.ts';
import { runRole, type RunningRole } from '../../workers/role.ts';
import { startTestNode, type Behaviour, type TestNode } from './test-node.ts';
import { until } from './until.ts';

/** Around the outer limit: a return of some of them meets the re-dispatch. */
const RACE_MS = [-300, -100, -30, 0, 30, 150] as const;

/** What each of them does with a unit; canaries they all answer as they should. */
const FAULTY_NODES = {
  /** Honest, and its backend takes longer than the deadline. */
  slow: (honest) => honest({ backend: { ...instantBackend({ pieceMs: 1_500 }), model } }),

  /** Its heartbeats go on, to the coordinator and to Temporal. */
  'stalls after decrypt': (honest) => honest({ backend: after(new Promise(() => {})) }),

  'never polls': (honest) => honest(),

  /** Nothing of it is heard any more: it hangs as a whole. */
  silent: async (honest) => {
    process.kill(process.pid, 'SIGSTOP');
    return honest();
  },

  'crashes mid-run': async (honest) => {
    process.kill(process.pid, 'SIGKILL');
    return honest();
  },

  /** It decrypts, or so it says, once it was given up; and then it is quick. */
  'lies about decrypt time': async (honest, input, keys) => {
    const { unitId } = await openTicket(input.ticket, keys.encryption.privateKey);
    const where = { unitId, nodeId: keys.nodeId };
    const outcome = async () => (await database.dispatch.findFirstOrThrow({ where })).outcome;
    await until(async () => (await outcome()) !== null, 'it is given up');
    // Whatever it was told meanwhile.
    return honest({ attempts: new Attempts() });
  },

  /** The coordinator waits that long, but the deadline is over; it says so itself. */
  'returns late': async (honest, input, keys) => {
    const { deadlineSeconds } = await openTicket(input.ticket, keys.encryption.privateKey);
    const returned = await honest();
    await sleep(returned.decryptedAtMs + deadlineSeconds * 1_000 + 20 - Date.now());
    return { ...returned, finishedAtMs: Date.now() };
  },

  /** Each of its returns at another moment around the outer limit. */
  'returns too late': async (honest) => {
    const limitMs = Date.now() + Context.current().info.startToCloseTimeoutMs;
    const raceMs = RACE_MS[taken++ % RACE_MS.length] ?? 0;
    const returned = await honest();
    await sleep(limitMs + raceMs - Date.now());
    return { ...returned, finishedAtMs: Date.now() };
  },

  /** Twice its heartbeats don't arrive; each time it waits until somebody was served meanwhile. */
  flapping: (honest) => {
    const flaps = async () => {
      for (const servedMin of [1, 2]) {
        node?.mute();
        await until(async () => !(await row()).isOnline, 'it is offline');
        await until(async () => (await served()) >= servedMin, 'another one was asked');
        node?.speak();
        await until(async () => (await row()).isOnline, 'it is online');
      }
    };
    return honest({ backend: after(flaps()) });
  },

  /** It is told to stop in the middle, and ends what it has. */
  drains: (honest) => {
    const drains = until(async () => (await row()).status === 'draining', 'it drains');
    return honest({ backend: after(drains) });
  },
} as const satisfies Record<string, Behaviour>;

export type FaultName = keyof typeof FAULTY_NODES;

const fault = setting('FAULT') as FaultName;
const database = openDatabase(setting('DATABASE_URL'), 2);
const model: ModelDescription = {
  ...instantBackend().model,
  id: setting('PLX_MODEL_ID'),
  digest: setting('PLX_MODEL_DIGEST') as ModelDescription['digest'],
};
const backend: Backend = { ...instantBackend({ slots: Number(setting('PLX_NODE_SLOTS')) }), model };
let node: TestNode | undefined;
let taken = 0;

function setting(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} isn't set`);
  return value;
}

/** The backend, once something has happened; nothing that the node is told stops it. */
function after(happened: Promise<unknown>): Backend {
  return {
    ...backend,
    async generate(...call) {
      await happened;
      return backend.generate(...call);
    },
  };
}

const row = () => database.node.findUniqueOrThrow({ where: { id: node?.keys.nodeId ?? '' } });
const served = () =>
  database.request.count({ where: { modelId: model.id, finishedAt: { not: null } } });

const say = (what: string) => process.stderr.write(`faulty-node // ${what}\n`);

const behave: Behaviour = FAULTY_NODES[fault];

async function start(): Promise<RunningRole> {
  const started = await startTestNode({
    database,
    edge: { address: setting('PLX_EDGE_ADDRESS'), ca: setting('PLX_EDGE_CA') },
    name: setting('PLX_NODE_NAME'),
    tier: Number(setting('PLX_NODE_TIER')),
    backend,
    async behaviour(...call) {
      say('took');
      try {
        return await behave(...call);
      } finally {
        say('ended');
      }
    },
  });
  node = started;
  if (fault === 'never polls') await started.stopPolling();
  return {
    ready: { nodeId: started.keys.nodeId },
    async stop() {
      await started.drain();
      await database.$disconnect();
    },
  };
}

await runRole(start);
