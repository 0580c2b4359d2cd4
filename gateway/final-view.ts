import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../prisma/client.ts';
import { countAttempts, readRequest, type RequestRecord } from '../prisma/requests.ts';
import { readVerification, type VerificationRecord } from '../prisma/verifications.ts';
import { CodedError } from '../protocol/errors.ts';
import { verificationView } from './verification-view.ts';

/** Between looks at a request that is about to be settled: a matter of milliseconds. */
const SETTLE_POLL_MS = [15, 25, 50, 100, 200, 400];

/**
 * What a stream says of its request at its end. `charged_wei` is null while a check is under way:
 * what is charged depends on it. Otherwise Settle is waited for a little.
 *
 * @throws CodedError `gateway.request_not_found`
 */
export async function finalView(database: Database, id: string) {
  let [record, verification] = await readBoth(database, id);
  for (const pollMs of SETTLE_POLL_MS) {
    if (record.finishedAt || isPending(verification)) break;
    await sleep(pollMs);
    [record, verification] = await readBoth(database, id);
  }
  const { status, proof, chargedWei, finishedAt } = record;
  return {
    request_id: id,
    state: status,
    proof_of_execution: proof,
    verification: verificationView(record, verification),
    charged_wei: finishedAt ? chargedWei : null,
    attempts: await countAttempts(database, id),
    node: proof?.node ?? null,
  };
}

function isPending({ isSampled, outcome }: VerificationRecord): boolean {
  return isSampled === true && outcome === null;
}

async function readBoth(
  database: Database,
  id: string,
): Promise<[RequestRecord, VerificationRecord]> {
  const [record, verification] = await Promise.all([
    readRequest(database, id),
    readVerification(database, id),
  ]);
  if (!record) throw new CodedError('gateway.request_not_found');
  return [record, verification];
}
