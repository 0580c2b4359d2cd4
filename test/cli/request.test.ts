import assert from 'node:assert/strict';
import { footnote } from '../../cli/request.ts';
import type { RequestView } from '../../cli/views.ts';
import { requestView } from '../support/gateway-stub.ts';

/** What the line after an answer says of its check. */
function said(sampled: boolean, outcome: string | null): string {
  const verification = { sampled, outcome, message: '' };
  const [, , check = ''] = footnote(requestView({ verification }) as RequestView, 1).split(' · ');
  return check;
}

describe('cli/request', () => {
  it('calls checked only what was compared', () => {
    for (const outcome of ['agreed', 'overruled', 'no_majority'])
      assert.equal(said(true, outcome), `randomly checked: ${outcome.replace('_', ' ')}`);
    assert.equal(said(true, 'hash_only'), 'drawn to be checked: hash only');
    assert.equal(said(true, 'pending'), 'drawn to be checked: pending');
    assert.equal(said(true, null), 'drawn to be checked');
    assert.ok(!said(false, 'not_sampled').includes('checked'));
  });
});
