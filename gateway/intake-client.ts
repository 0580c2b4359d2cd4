import { setTimeout as sleep } from 'node:timers/promises';
import { CodedError, isErrorCode, type ErrorMetadata } from '../protocol/errors.ts';
import type { IntakeEvent } from '../protocol/intake.ts';
import { LineSplitter } from '../protocol/lines.ts';
import type { IntakeCall, RequesterKey } from '../protocol/receive.ts';

export interface IntakeClientOptions {
  readonly coordinatorUrl: string;
  readonly intakeToken: string;
}

/** Between two tries to reach a coordinator. */
const RETRY_MS = 250;
/** How long a coordinator may be away beyond the request's own deadline. */
const OUTAGE_SECONDS_MAX = 30;

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
 * Makes one intake call and yields its events. When the connection breaks the call is repeated with
 * the same intake key, which joins the request instead of making another: so a coordinator may be
 * killed and restarted under it. The last event is an outcome, or `ended` if the call asks for it.
 *
 * @throws CodedError when the request is refused, or no coordinator answers for too long.
 */
export async function* intakeEvents(
  options: IntakeClientOptions,
  call: IntakeCall,
  signal: AbortSignal,
): AsyncGenerator<Exclude<IntakeEvent, { type: 'refused' | 'ping' }>> {
  const patienceMs = (call.parameters.deadlineSeconds + OUTAGE_SECONDS_MAX) * 1_000;
  let lastHeardMs = Date.now();
  for (;;) {
    try {
      for await (const event of oneCall(options, call, signal)) {
        lastHeardMs = Date.now();
        if (event.type === 'refused') throw refused(event.code, event.detail, event.metadata);
        if (event.type === 'ping') continue;
        yield event;
        if (event.type === (call.untilEnd ? 'ended' : 'outcome')) return;
      }
    } catch (error) {
      if (error instanceof CodedError || signal.aborted) throw error;
      if (Date.now() - lastHeardMs > patienceMs)
        throw new CodedError('gateway.coordinator_unreachable', undefined, { cause: error });
    }
    await sleep(RETRY_MS, undefined, { signal });
  }
}

async function* oneCall(
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

function refused(code: string, detail: string | undefined, metadata?: ErrorMetadata): CodedError {
  return new CodedError(isErrorCode(code) ? code : 'coordinator.internal', detail, { metadata });
}
