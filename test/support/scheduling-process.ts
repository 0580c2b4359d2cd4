import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import pino from 'pino';
import { schedule, type ScheduleInput } from '../../activities/schedule.ts';
import { startSweeper } from '../../intake/sweeper.ts';
import { openDatabase } from '../../prisma/client.ts';
import type { UnitId } from '../../protocol/ids.ts';

/** What the test that starts this process tells it, as its only argument. */
export interface SchedulingTask {
  readonly databaseUrl: string;
  readonly temporalAddress: string;
  readonly units: number;
  readonly inFlight: number;
  readonly request: ScheduleInput['request'];
}

/**
 * A coordinator reduced to Schedule: takes slots and gives them back, as fast as it can. While it
 * has a slot it holds the only row of `holding` for that slot: a slot that two units hold at once
 * would break that table's key. It prints how many units waited.
 */
const { databaseUrl, temporalAddress, units, inFlight, request } = JSON.parse(
  process.argv[2] ?? '',
) as SchedulingTask;
const database = openDatabase(databaseUrl, inFlight);
const connection = await Connection.connect({ address: temporalAddress });
const log = pino({ level: 'silent' });
const sweeper = startSweeper({ database, client: new Client({ connection }), log }, []);
let begun = 0;
let waited = 0;

async function serve(): Promise<void> {
  const unitId = `req_${randomBytes(32).toString('hex')}` as UnitId;
  const input: ScheduleInput = { unitId, dispatch: 1, usedNodes: [], request };
  let answer = await schedule(database, 'http://127.0.0.1:1', input);
  if (answer.kind === 'waiting') {
    waited += 1;
    sweeper.expect();
  }
  while (answer.kind === 'waiting') {
    await sleep(20);
    // What a signal would say; there is no workflow here.
    const row = await database.waiting.findUnique({ where: { unitId } });
    if (row?.assignedAt) answer = await schedule(database, 'http://127.0.0.1:1', input);
  }
  if (answer.kind !== 'assigned') throw new Error(`a unit was ${answer.kind}`);
  await database.$executeRaw`
    INSERT INTO holding SELECT machine_id, index, unit_id FROM slot WHERE unit_id = ${unitId}`;
  await sleep(Math.random() * 4);
  await database.$executeRaw`DELETE FROM holding WHERE unit_id = ${unitId}`;
  await database.$queryRaw`SELECT release_slot(${unitId}, 1)`;
  sweeper.hint();
}

await Promise.all(
  Array.from({ length: inFlight }, async () => {
    while (begun < units) {
      begun += 1;
      await serve();
    }
  }),
);
await sweeper.stop();
await connection.close();
await database.$disconnect();
process.stdout.write(JSON.stringify({ waited }));
