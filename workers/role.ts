import pino, { type Logger } from 'pino';
import { EnvelopeError } from '../crypto/errors.ts';
import { CodedError } from '../protocol/errors.ts';

/** What a role gives back once it runs. */
export interface RunningRole {
  /** Told to whoever started the process, on the first line of stdout. */
  readonly ready: Readonly<Record<string, unknown>>;
  /** Settles when the role's work ends; if that is before `stop`, the process exits with 1. */
  readonly ended?: Promise<unknown>;
  stop(): Promise<void>;
}

/** Fields that must never reach a log, wherever they sit in an object. */
const SECRET_PATHS = [
  'authorization',
  'apiKey',
  'adminKey',
  'PLX_OPENAI_API_KEY',
  'PLX_NODE_KEYS_PASSPHRASE',
  'PLX_NODE_KEYS_PASSPHRASE_BEFORE',
  'PLX_EDGE_TOKEN',
  'PLX_CA',
  'passphrase',
  'joinToken',
  'plaintext',
  'messages',
  'text',
  'content',
  'privateKey',
  'token',
].flatMap((name) => [name, `*.${name}`, `*.*.${name}`]);

/** Logs of a role: JSON lines on stderr, with secrets cut out. */
export function createLogger(role: string, level: string): Logger {
  return pino(
    { level, base: { role }, redact: { paths: SECRET_PATHS, censor: '[redacted]' } },
    pino.destination({ fd: 2, sync: false }),
  );
}

/**
 * Runs one role as this process: announces `{"ready":true,…}` on stdout, stops cleanly on SIGTERM
 * and SIGINT, and exits 1 with one readable message if it can't start.
 */
export async function runRole(start: () => Promise<RunningRole>): Promise<void> {
  try {
    const role = await start();
    let stopping = false;
    const stop = () => {
      if (stopping) return;
      stopping = true;
      role.stop().then(
        () => process.exit(0),
        (error: unknown) => fail(error),
      );
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
    // Half a role is worse than none, which is started again.
    role.ended?.then(
      () => stopping || fail(new Error('The work ended without being stopped')),
      (error: unknown) => stopping || fail(error),
    );
    process.stdout.write(`${JSON.stringify({ ready: true, ...role.ready })}\n`);
  } catch (error) {
    fail(error);
  }
}

function fail(error: unknown): never {
  process.stderr.write(`${readable(error)}\n`);
  process.exit(1);
}

/** What people can do something about is said in words; anything else is ours to find. */
function readable(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'ConfigError') return error.message;
  const isForPeople = error instanceof CodedError || isOfFiles(error);
  return isForPeople ? `${error.code}: ${error.message}` : (error.stack ?? String(error));
}

/** Of keys and CAs that an operator keeps. */
function isOfFiles(error: Error): error is EnvelopeError {
  return error instanceof EnvelopeError && /^(key|ca)\./.test(error.code);
}
