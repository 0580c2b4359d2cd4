import { CodedError, isErrorCode, type ErrorMetadata } from '../protocol/errors.ts';
import type { IntakeEvent } from '../protocol/intake.ts';
import { LineSplitter } from '../protocol/lines.ts';
import type { IntakeCall, RequesterKey } from '../protocol/receive.ts';

export interface IntakeClientOptions {
  readonly coordinatorUrl: string;
  readonly intakeToken: string;
}

/** The coordinator's current public intake key. */
export async function fetchIntakeKey({
  coordinatorUrl,
}: IntakeClientOptions): Promise<RequesterKey> {
  const response = await fetch(`${coordinatorUrl}/v1/intake/key`).catch((cause: unknown) => {
    throw new CodedError('gateway.coordinator_unreachable', undefined, { cause });
  });
  if (!response.ok) throw new CodedError('gateway.coordinator_unreachable');
  return (await response.json()) as RequesterKey;
}

/**
 * One intake call: what it says, until it ends or breaks.
 *
 * @throws CodedError when the coordinator answers with an error; whatever `fetch` throws when the
 *   connection breaks.
 */
export async function* callEvents(
  { coordinatorUrl, intakeToken }: IntakeClientOptions,
  call: IntakeCall,
  signal: AbortSignal,
): AsyncGenerator<IntakeEvent> {
  const response = await fetch(`${coordinatorUrl}/v1/intake`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${intakeToken}` },
    body: JSON.stringify(call),
    signal,
  });
  yield* eventsIn(response);
}

/** What comes of a request that was accepted, as its intake call says it; throws what that does. */
export async function* followEvents(
  { coordinatorUrl, intakeToken }: IntakeClientOptions,
  requestId: string,
  untilEnd: boolean,
  signal: AbortSignal,
): AsyncGenerator<IntakeEvent> {
  const url = `${coordinatorUrl}/v1/intake/requests/${requestId}/events?until_end=${untilEnd}`;
  const headers = { authorization: `Bearer ${intakeToken}` };
  yield* eventsIn(await fetch(url, { headers, signal }));
}

async function* eventsIn(response: Response): AsyncGenerator<IntakeEvent> {
  if (!response.ok || !response.body) throw await errorOf(response);
  const lines = new LineSplitter();
  const decoder = new TextDecoder();
  for await (const bytes of response.body)
    for (const line of lines.push(decoder.decode(bytes, { stream: true })))
      yield JSON.parse(line) as IntakeEvent;
}

/** The failure that a coordinator answered with. */
export async function errorOf(response: Response): Promise<Error> {
  const body = (await response.json().catch(() => undefined)) as
    { error?: { code?: string; message?: string } } | undefined;
  const code = body?.error?.code ?? '';
  return refused(code, `The coordinator answered ${response.status}.`);
}

/** A refusal that came as an event. */
export function refused(
  code: string,
  detail: string | undefined,
  metadata?: ErrorMetadata,
): CodedError {
  return new CodedError(isErrorCode(code) ? code : 'coordinator.internal', detail, { metadata });
}
