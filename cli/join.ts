import { writeJson, type Context } from './context.ts';
import { EXIT, type ExitCode } from './errors.ts';
import { ago, short, span, table } from './format.ts';
import { joinTokenId } from './ids.ts';
import type { JoinTokenView, ListView, NewJoinTokenView } from './views.ts';

export interface InviteOptions {
  readonly uses?: number;
  readonly hours?: number;
}

/** `prlx nodes invite`: a join token, which is shown this once. */
export async function invite(
  { api, json, out, notes }: Context,
  { uses = 1, hours = 24 }: InviteOptions,
): Promise<ExitCode> {
  const made = await api.post<NewJoinTokenView>('/v1/join-tokens', {
    uses,
    expires_in_seconds: hours * 3_600,
  });
  if (json) writeJson(out, made);
  else {
    out.write(`${made.token}\n`);
    notes.write(
      `It lets in ${count(made.uses_left)} within ${hours} h, by PLX_JOIN_TOKEN, and isn't shown ` +
        `again. ${short(made.id)} is its id.\n`,
    );
  }
  return EXIT.ok;
}

/** `prlx nodes invites`: the tokens that still let somebody in, or the end of one. */
export async function invites(
  { api, json, out, notes }: Context,
  { end }: { readonly end?: string },
): Promise<ExitCode> {
  if (end !== undefined) {
    const id = await joinTokenId(api, end);
    const ended = await api.delete<object>(`/v1/join-tokens/${id}`);
    if (json) writeJson(out, ended);
    else out.write(`${id} lets nobody in any more.\n`);
    return EXIT.ok;
  }
  const list = await api.get<ListView<JoinTokenView>>('/v1/join-tokens?limit=100');
  if (json) writeJson(out, list);
  else if (list.data.length === 0) notes.write('No join token is in use.\n');
  else {
    const rows = list.data.map(({ id, uses_left: uses, created_at: at, expires_at: end }) => [
      short(id),
      count(uses),
      ago(at),
      `in ${span(Date.parse(end) - Date.now())}`,
    ]);
    const [head = '', ...lines] = table(['token', 'lets in', 'made', 'ends'], rows);
    out.write([out.style('bold', head), ...lines].map((line) => `${line}\n`).join(''));
    if (list.has_more) notes.write('There are more: GET /v1/join-tokens has them by pages.\n');
  }
  return EXIT.ok;
}

function count(uses: number): string {
  return uses === 1 ? '1 node' : `${uses} nodes`;
}
