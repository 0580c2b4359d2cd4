import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, createSecretKey, type KeyObject } from 'node:crypto';
import { EnvelopeError, type EnvelopeErrorCode } from '../../crypto/errors.ts';
import { x25519KeyOf, type WrapKey, type X25519Key } from '../../crypto/keys.ts';
import { parseNodeId, parseUnitId } from '../../protocol/ids.ts';
import type { RequestParameters } from '../../protocol/receive.ts';
import poe from '../../protocol/vectors/poe.v1.json' with { type: 'json' };
import request from '../../protocol/vectors/request-envelope.json' with { type: 'json' };
import returned from '../../protocol/vectors/return-envelope.json' with { type: 'json' };

/** The RSA pairs of the vectors: making new ones takes a second. */
export const signingPrivateKey = createPrivateKey(poe.signingPrivateKeyPem);
export const signingPublicKey = createPublicKey(signingPrivateKey);
export const encryptionPrivateKey = createPrivateKey(request.nodeEncryptionPrivateKeyPem);
export const encryptionPublicKey = createPublicKey(encryptionPrivateKey);

export const context = {
  unitId: parseUnitId(returned.unitId),
  dispatch: returned.dispatch,
  nodeId: parseNodeId(returned.nodeId),
};

export const parameters: RequestParameters = {
  workloadClass: 'ai.inference',
  model: 'smollm2-135m-instruct',
  hardwareTier: 1,
  priority: 'standard',
  deadlineSeconds: 120,
  maxTokens: 64,
  stream: true,
  seed: null,
};

export const intakeKey = await fromJwk(request.intakePrivateJwk);
export const requesterKey = await fromJwk(returned.requesterPrivateJwk);
export const returnKey = await fromJwk(returned.returnPrivateJwk);
export const wrapKey: WrapKey = {
  kid: request.wrapKey.kid,
  key: secretOf(request.wrapKey.key),
};

export function secretOf(base64url: string): KeyObject {
  return createSecretKey(base64url, 'base64url');
}

/** Another character in one place of a base64url text; never one that stands for the same bytes. */
export function flipped(text: string, at: number): string {
  const bytes = Buffer.from(text, 'base64url');
  const index = at % bytes.length;
  bytes[index] = (bytes[index] ?? 0) ^ (1 << (at % 8));
  return bytes.toString('base64url');
}

/** For `assert.throws` and `assert.rejects`. */
export function failsAs(code: EnvelopeErrorCode): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof EnvelopeError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  };
}

function fromJwk(jwk: Record<string, string>): Promise<X25519Key> {
  return x25519KeyOf(createPrivateKey({ key: jwk, format: 'jwk' }));
}
