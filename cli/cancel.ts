import { writeJson, type Context } from './context.ts';
import { EXIT, type ExitCode } from './errors.ts';
import { prlx } from './format.ts';
import { requestId } from './ids.ts';
import type { RequestView } from './views.ts';

/** `prlx cancel <id>`: also a second time, which changes nothing. */
export async function cancel({ api, json, out }: Context, text: string): Promise<ExitCode> {
  const id = await requestId(api, text);
  const request = await api.post<RequestView>(`/v1/requests/${id}/cancel`);
  if (json) writeJson(out, request);
  else if (request.status === 'cancelled') out.write(`${id} is cancelled, ${cost(request)}.\n`);
  else out.write(`${id} is being cancelled. \`prlx status ${id} --watch\` shows its end.\n`);
  return EXIT.ok;
}

function cost({ charged_wei }: RequestView): string {
  return charged_wei === '0' ? 'and free' : `and cost ${prlx(charged_wei)} for what was streamed`;
}
