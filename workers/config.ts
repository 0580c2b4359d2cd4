import { isIP } from 'node:net';
import { z } from 'zod';
import { samplingPolicy } from '../protocol/sampling.ts';

/** A role can't start with this environment; the message lists every wrong variable. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

const url = z.url({ protocol: /^https?$/ }).transform((text) => text.replace(/\/$/, ''));
/** Only digits: a conversion would take an empty variable for port 0, which is any free one. */
const port = z
  .string()
  .regex(/^\d{1,5}$/, 'must be a port number')
  .transform(Number)
  .pipe(z.int().max(65_535));
const hostPort = z.string().regex(/^[^:\s]+:\d{1,5}$/, 'must be HOST:PORT');
const secret = z.string().min(16, 'must have at least 16 characters');
const passphrase = z
  .string()
  .min(12, 'must have at least 12 characters')
  .max(200, 'must have at most 200 characters');
const databaseUrl = z.string().regex(/^postgres(ql)?:\/\//, 'must be a postgresql:// URL');
const logLevel = z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info');
const namespace = z.string().min(1).default('default');
/** By default that of a development chain on this machine. */
const chainId = z
  .string()
  .regex(/^[1-9]\d{0,14}$/, 'must be a whole number')
  .default('31337')
  .transform(Number);
const host = z.string().min(1).default('127.0.0.1');

const samplingRates = z
  .string()
  .regex(/^([\w.]+=\d*\.?\d+(,|$))*$/, 'must be like ai.inference=0.1')
  .default('')
  .transform((text, context) => {
    const named = text.split(',').filter(Boolean);
    const rates = named.map((each) => each.split('=') as [string, string]);
    if (new Set(rates.map(([name]) => name)).size < rates.length)
      context.addIssue('names a workload class twice');
    try {
      return samplingPolicy(Object.fromEntries(rates.map(([name, rate]) => [name, Number(rate)])));
    } catch (error) {
      context.addIssue(error instanceof RangeError ? error.message : 'invalid');
      return z.NEVER;
    }
  });

/** Environment of `workers/coordinator.ts`. */
export const coordinatorEnv = z.object({
  DATABASE_URL: databaseUrl,
  TEMPORAL_ADDRESS: hostPort,
  TEMPORAL_NAMESPACE: namespace,
  PLX_COORDINATOR_HOST: host,
  PLX_COORDINATOR_PORT: port.default(8421),
  /** Where gateways and edges reach it; by default its host and port. */
  PLX_COORDINATOR_URL: url.optional(),
  /** What gateways present; the same for all of them. */
  PLX_INTAKE_TOKEN: secret,
  /** What edges present; the same for all of them. */
  PLX_EDGE_TOKEN: secret,
  /** Directory of the key rings, mode 0700. Losing it makes running requests unreadable. */
  PLX_COORDINATOR_KEYS: z.string().min(1),
  /** Certificates and keys of the network's CAs, in PEM or a file; by default made and kept. */
  PLX_CA: z.string().min(1).optional(),
  /** How long the certificates of nodes and edges are valid. */
  PLX_CERTIFICATE_SECONDS: z.coerce.number().int().min(30).max(2_592_000).default(604_800),
  /** Shares of units that are checked, such as `ai.inference=0.1`; others have defaults. */
  PLX_SAMPLING_RATES: samplingRates,
  /** How long a sampling secret is used. The same for all coordinators. */
  PLX_SAMPLING_EPOCH_SECONDS: z.coerce.number().int().min(10).max(86_400).default(600),
  /** Whether anybody's nodes may join, or those of known operators with a join token. */
  PLX_JOIN: z.enum(['open', 'token']).default('open'),
  /** Of the chain that operators' signatures are for. */
  PLX_CHAIN_ID: chainId,
  /** On 127.0.0.1, for Prometheus; by default none. */
  PLX_COORDINATOR_METRICS_PORT: port.optional(),
  PLX_LOG_LEVEL: logLevel,
});

/** Addresses, and networks as address/bits, that are told apart by commas. */
const networks = z
  .string()
  .transform((text) => text.split(',').filter(Boolean))
  .refine((all) => all.every(isNetwork), 'must be like 10.0.0.0/8,2001:db8::1')
  .default([]);

function isNetwork(text: string): boolean {
  const [, address = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const bitsMax = { 4: 32, 6: 128 }[isIP(address)] ?? -1;
  return bitsMax > 0 && (bits === undefined || (Number(bits) > 0 && Number(bits) <= bitsMax));
}

/** Environment of `workers/gateway.ts`. */
export const gatewayEnv = z.object({
  DATABASE_URL: databaseUrl,
  PLX_COORDINATOR_URL: url,
  PLX_INTAKE_TOKEN: secret,
  PLX_GATEWAY_HOST: host,
  PLX_GATEWAY_PORT: port.default(8420),
  /** Proxies whose `X-Forwarded-For` is believed; by default none. */
  PLX_TRUSTED_PROXIES: networks,
  /** Where callers reach it, as sign-in messages name it; by default its host and port. */
  PLX_PUBLIC_URL: url.optional(),
  /** Of the chain that sign-in messages name. */
  PLX_CHAIN_ID: chainId,
  /** Directory of the gateway's own X25519 keys: results of its callers are sealed to them. */
  PLX_GATEWAY_KEYS: z.string().min(1),
  TEMPORAL_NAMESPACE: namespace,
  /** Shown to people as a link; optional. */
  PLX_TEMPORAL_UI_URL: url.optional(),
  /** On 127.0.0.1, for Prometheus; by default none. */
  PLX_GATEWAY_METRICS_PORT: port.optional(),
  PLX_LOG_LEVEL: logLevel,
});

const names = z
  .string()
  .regex(/^[\w.:-]+(,[\w.:-]+)*$/, 'must be like edge.example.net,203.0.113.7')
  .transform((text) => text.split(','));

/** Environment of `workers/edge.ts`. */
export const edgeEnv = z.object({
  DATABASE_URL: databaseUrl,
  TEMPORAL_ADDRESS: hostPort,
  TEMPORAL_NAMESPACE: namespace,
  PLX_COORDINATOR_URL: url,
  /** What edges present to coordinators; the same for all of them. */
  PLX_EDGE_TOKEN: secret,
  PLX_EDGE_HOST: host,
  PLX_EDGE_PORT: port.default(8425),
  /** DNS names and IP addresses by which nodes call it, for its certificate. */
  PLX_EDGE_NAMES: names.default(['localhost', '127.0.0.1']),
  /** Directory of the key that seals task tokens, the same for all edges. */
  PLX_EDGE_KEYS: z.string().min(1),
  /** Directory of blobs, the same for all edges. */
  PLX_BLOB_DIR: z.string().min(1),
  /** On 127.0.0.1, for Prometheus; by default none. */
  PLX_EDGE_METRICS_PORT: port.optional(),
  PLX_LOG_LEVEL: logLevel,
});

const modelId = z.string().regex(/^[\w.:/+-]{1,120}$/);
const commonNodeEnv = z.object({
  /** HOST:PORT of an edge: the only address of the network that a node knows. */
  PLX_EDGE_ADDRESS: hostPort,
  /** File of the certificates that the edge is known by, in PEM; the system's by default. */
  PLX_EDGE_CA: z.string().min(1).optional(),
  PLX_NODE_NAME: z.string().regex(/^[\w.:/+-]{1,120}$/),
  /** A JSON file: the operator's signature on this node's id (`prlx operator bind`). */
  PLX_OPERATOR_BINDING: z.string().min(1),
  /** What lets it into a network that isn't open; needed once. */
  PLX_JOIN_TOKEN: secret.optional(),
  PLX_NODE_KEYS: z.string().min(1),
  /** Encrypts the file of its keys; the keys are encrypted by it when it is set later, too. */
  PLX_NODE_KEYS_PASSPHRASE: passphrase.optional(),
  /** The one before: to change it, or to have none any more. */
  PLX_NODE_KEYS_PASSPHRASE_BEFORE: passphrase.optional(),
  PLX_NODE_TIER: z.coerce.number().int().min(1).max(5),
  PLX_NODE_SLOTS: z.coerce.number().int().min(1).max(256).default(1),
  /** Nodes of one operator that name the same machine share its slots; by default its own. */
  PLX_MACHINE: z
    .string()
    .regex(/^[\w.:/+-]{1,120}$/)
    .optional(),
  PLX_MODEL_ID: modelId,
  /** On 127.0.0.1, for Prometheus; by default none. */
  PLX_NODE_METRICS_PORT: port.optional(),
  PLX_LOG_LEVEL: logLevel,
});

/** The model runs within the node's process. */
const llamaNodeEnv = commonNodeEnv.extend({
  PLX_BACKEND: z
    .literal('llama')
    .optional()
    .transform(() => 'llama' as const),
  MODEL_PATH: z.string().min(1),
});

/** The model runs in a server that the operator started (docs/operator-backends.md). */
const openaiNodeEnv = commonNodeEnv
  .extend({
    PLX_BACKEND: z.literal('openai'),
    /** The base URL as OpenAI clients take it. */
    PLX_OPENAI_URL: url.refine(
      (text) => !/[@?#]/.test(text),
      'must have no user, password, query or fragment; keys go into PLX_OPENAI_API_KEY',
    ),
    /** A header that isn't visible ASCII would be refused by an error that quotes it. */
    PLX_OPENAI_API_KEY: z
      .string()
      .regex(/^[\x21-\x7e]+$/, 'must be visible ASCII characters')
      .optional(),
    /** The server's name of the model; by default PLX_MODEL_ID. */
    PLX_OPENAI_MODEL: z
      .string()
      .regex(/^[\x21-\x7e]{1,200}$/, 'must be 1 to 200 visible ASCII characters')
      .optional(),
    /** What the operator vouches for; a server can't be asked. */
    PLX_MODEL_DIGEST: z
      .templateLiteral(['sha256:', z.string().regex(/^[0-9a-f]{64}$/)], {
        error: 'must be sha256: and 64 lower-case hex digits',
      })
      .optional(),
    /** The weights file that the server loaded, if it is on this machine: its digest is taken. */
    MODEL_PATH: z.string().min(1).optional(),
    /** What the server computes on and how, if that decides every token: see the guide. */
    PLX_EQUIVALENCE: z
      .string()
      .regex(/^[\w.:/+-]{1,79}$/, 'must be 1 to 79 letters, digits or any of _.:/+-')
      .optional(),
    PLX_CONTEXT_TOKENS: z
      .string()
      .regex(/^[1-9]\d{0,8}$/, 'must be a whole number of tokens')
      .transform(Number)
      .optional(),
  })
  .refine((env) => env.PLX_MODEL_DIGEST !== undefined || env.MODEL_PATH !== undefined, {
    path: ['PLX_MODEL_DIGEST'],
    error: 'set it, or MODEL_PATH to the weights file that the server loaded',
    // Also when another variable is wrong: all of them are named at once.
    when: ({ value }) => typeof value === 'object' && value !== null,
  });

/** Environment of `workers/node.ts`: what an operator sets. */
export const nodeEnv = z.discriminatedUnion('PLX_BACKEND', [llamaNodeEnv, openaiNodeEnv], {
  error: 'must be llama or openai',
});
export type NodeConfig = z.infer<typeof nodeEnv>;

/**
 * Reads a role's environment once, at its start.
 *
 * @throws ConfigError that names each wrong or missing variable, never its value.
 */
export function readConfig<Schema extends z.ZodType>(
  role: string,
  schema: Schema,
  env: NodeJS.ProcessEnv = process.env,
): z.infer<Schema> {
  const parsed = schema.safeParse(env);
  if (parsed.success) return parsed.data;
  const lines = parsed.error.issues.map((issue) => {
    const name = issue.path.join('.');
    const isMissing = env[name] === undefined && issue.code !== 'custom';
    return `  ${name}: ${isMissing ? 'is not set' : issue.message}`;
  });
  throw new ConfigError(`The ${role} can't start with this environment:\n${lines.join('\n')}`);
}
