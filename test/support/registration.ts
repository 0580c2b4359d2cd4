import { createSecretKey, randomBytes, sign } from 'node:crypto';
import { INSTANT_MODEL } from '../../bench/instant-backend.ts';
import { CHAIN_ID, signedBinding } from '../../bench/signed-binding.ts';
import { exportSpki, type NodeKeys } from '../../crypto/keys.ts';
import type { JoinPolicy } from '../../intake/admission.ts';
import { registerNode } from '../../intake/nodes.ts';
import type { Database } from '../../prisma/client.ts';
import { canonicalBytes } from '../../protocol/canonical.ts';
import { OPERATOR } from './seeded.ts';

/** What a coordinator registers nodes with. */
export function registrar(database: Database, join: JoinPolicy = 'token') {
  return { database, channelSecret: createSecretKey(randomBytes(32)), join, chainId: CHAIN_ID };
}

/** What a node with these keys says of itself, and who has signed for it. */
export async function registration(of: NodeKeys, changed: object = {}, operatorId = OPERATOR) {
  return {
    nodeId: of.nodeId,
    name: 'n1',
    binding: await signedBinding(of.nodeId, operatorId),
    tier: 2,
    workloadClasses: ['ai.inference'],
    modelId: INSTANT_MODEL.id,
    modelDigest: INSTANT_MODEL.digest,
    engine: 'instant/1',
    tokensPerSecond: 10,
    slots: 2,
    signingKey: exportSpki(of.signing.publicKey).toString('base64'),
    encryptionKey: exportSpki(of.encryption.publicKey).toString('base64'),
    issuedAtMs: Date.now(),
    ...changed,
  };
}

/** A registration as it is sent. */
export function signedBy(keys: NodeKeys, body: object) {
  const signature = sign('sha256', canonicalBytes(body), keys.signing.privateKey);
  return { registration: body, signature: signature.toString('base64url') };
}

/** Registers a node as its own keys and its operator would. */
export async function registerAs(
  at: ReturnType<typeof registrar>,
  of: NodeKeys,
  changed: object = {},
  operatorId?: string,
) {
  return registerNode(at, signedBy(of, await registration(of, changed, operatorId)));
}
