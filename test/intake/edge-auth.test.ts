import assert from 'node:assert/strict';
import { assertEdge } from '../../intake/edge-auth.ts';
import { CodedError } from '../../protocol/errors.ts';

const TOKEN = 'edge-token-of-this-test';

describe('intake/edge-auth', () => {
  it('lets through who presents the token of the edges', () => {
    assertEdge({ headers: { authorization: `Bearer ${TOKEN}` } }, TOKEN);
  });

  it('refuses everybody else', () => {
    const hostile: (string | undefined)[] = [
      undefined,
      '',
      TOKEN,
      'Bearer ',
      `Basic ${TOKEN}`,
      `Bearer ${TOKEN} `,
      `Bearer ${TOKEN.slice(0, -1)}`,
      `Bearer ${TOKEN}x`,
    ];
    for (const authorization of hostile)
      assert.throws(
        () => assertEdge({ headers: authorization === undefined ? {} : { authorization } }, TOKEN),
        (error) => error instanceof CodedError && error.code === 'edge.unauthenticated',
        String(authorization),
      );
  });
});
