import type { Api } from './api.ts';
import { CliError, EXIT, usageError } from './errors.ts';
import type {
  ApiKeyView,
  JoinTokenView,
  ListView,
  NodeView,
  RequestSummaryView,
  ReviewView,
} from './views.ts';

/** How far back an abbreviated request id is looked for. */
const RECENT_MAX = 100;

/**
 * The whole id of a request, from itself or its beginning (`req_a3f10b77`).
 *
 * @throws CliError when none or several of the account's recent requests begin like that.
 */
export async function requestId(api: Api, text: string): Promise<string> {
  if (/^req_[0-9a-f]{64}$/.test(text)) return text;
  if (!/^req_[0-9a-f]{1,63}$/.test(text))
    throw usageError(`${JSON.stringify(text)} is not a request id: it looks like req_a3f10b77.`);
  const recent = await api.get<ListView<RequestSummaryView>>(`/v1/requests?limit=${RECENT_MAX}`);
  const found = recent.data.map(({ id }) => id).filter((id) => id.startsWith(text));
  const among = `of the ${recent.data.length} most recent requests of this account`;
  return only(found, text, among, '`prlx status` lists them; older ones need their whole id.');
}

/**
 * A node, by its name, its id or the beginning of its id. One that was removed from the pool has to
 * be asked for by its whole id.
 *
 * @throws CliError when none or several nodes are called so.
 */
export async function findNode(api: Api, text: string): Promise<NodeView> {
  if (/^nd_[0-9a-f]{64}$/.test(text)) return api.get<NodeView>(`/v1/nodes/${text}`);
  const { data } = await api.get<ListView<NodeView>>('/v1/nodes');
  const matching = data.filter(({ id, name }) =>
    isNodeId(text) ? id.startsWith(text) : name === text,
  );
  const found = only(
    matching.map(({ id }) => id),
    text,
    `of the ${data.length} nodes`,
    '`prlx nodes` lists them.',
  );
  const [node] = matching.filter(({ id }) => id === found);
  if (!node) throw new Error(`${found} is not among the nodes`);
  return node;
}

/**
 * The whole id of a node under review, by its name, its id or the beginning of its id.
 *
 * @throws CliError when none or several of those that are listed are called so.
 */
export async function reviewedNodeId(api: Api, text: string): Promise<string> {
  if (/^nd_[0-9a-f]{64}$/.test(text)) return text;
  const path = `/v1/nodes/review?limit=${RECENT_MAX}`;
  const { data } = await api.get<ListView<ReviewView>>(path);
  const found = data.filter(({ id, name }) =>
    isNodeId(text) ? id.startsWith(text) : name === text,
  );
  return only(
    found.map(({ id }) => id),
    text,
    `of the ${data.length} nodes under review`,
    '`prlx nodes review` lists them; others need their whole id.',
  );
}

/**
 * The whole id of a join token, from itself or its beginning (`jt_a3f10b77`).
 *
 * @throws CliError when none or several of those that are in use begin like that.
 */
export async function joinTokenId(api: Api, text: string): Promise<string> {
  if (/^jt_[0-9a-f]{64}$/.test(text)) return text;
  // Not quoted: it may be the token itself.
  if (!/^jt_[0-9a-f]{1,63}$/.test(text))
    throw usageError('That is not the id of a join token: it looks like jt_a3f10b77.');
  const { data } = await api.get<ListView<JoinTokenView>>(`/v1/join-tokens?limit=${RECENT_MAX}`);
  const found = data.map(({ id }) => id).filter((id) => id.startsWith(text));
  return only(found, text, `of ${data.length} join tokens`, '`prlx nodes invites` lists them.');
}

/**
 * The whole id of an API key, from itself or its beginning (`key_a3f10b77`).
 *
 * @throws CliError when none or several of the account's latest keys begin like that.
 */
export async function apiKeyId(api: Api, text: string): Promise<string> {
  if (/^key_[0-9a-f]{32}$/.test(text)) return text;
  // Not quoted: it may be the key itself.
  if (!/^key_[0-9a-f]{1,31}$/.test(text))
    throw usageError('That is not the id of an API key: it looks like key_a3f10b77.');
  const { data } = await api.get<ListView<ApiKeyView>>(`/v1/keys?limit=${RECENT_MAX}`);
  const found = data.map(({ id }) => id).filter((id) => id.startsWith(text));
  return only(found, text, `of the ${data.length} latest keys`, '`prlx keys` lists them.');
}

export function isNodeId(text: string): boolean {
  return /^nd_[0-9a-f]{1,64}$/.test(text);
}

function only(found: readonly string[], text: string, among: string, advice: string): string {
  const [id, ...others] = found;
  if (id === undefined)
    throw new CliError(EXIT.notFound, 'cli.not_found', `None ${among} is ${text}. ${advice}`);
  if (others.length > 0)
    throw usageError(`${found.length} ${among} are ${text}:\n${found.join('\n')}`);
  return id;
}
