import type { FastifyInstance } from 'fastify';
import { openReturn } from '../crypto/return.ts';
import { readRequest, type RequestRecord } from '../prisma/requests.ts';
import { CodedError, errorDefinition } from '../protocol/errors.ts';
import { isRequestId } from '../protocol/ids.ts';
import { stepNamed } from '../protocol/lifecycle.ts';
import { parseResult } from '../protocol/result.ts';
import { completion } from './completion.ts';
import { authenticate, type GatewayDependencies } from './context.ts';

/** `GET /v1/requests/{id}` and `GET /v1/models`. */
export function requestRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  const { database } = dependencies;
  app.get<{ Params: { id: string } }>('/v1/requests/:id', async (request) => {
    const accountId = await authenticate(database, request);
    const { id } = request.params;
    const record = isRequestId(id) ? await readRequest(database, id) : undefined;
    // Another account's request is as unknown as none at all.
    if (record?.accountId !== accountId) throw new CodedError('gateway.request_not_found');
    return describeRequest(record, dependencies);
  });
  app.get('/v1/models', async () => {
    const models = await database.model.findMany({ orderBy: { id: 'asc' } });
    return {
      object: 'list',
      data: models.map((model) => ({
        id: model.id,
        object: 'model',
        created: Math.floor(model.createdAt.getTime() / 1_000),
        owned_by: 'parallelix',
        digest: model.digest,
        context_tokens: model.contextTokens,
        prompt_price_wei: model.promptPriceWei.toFixed(),
        completion_price_wei: model.completionPriceWei.toFixed(),
      })),
    };
  });
}

/** What the API says of a request. The result is opened for its own account only. */
async function describeRequest(record: RequestRecord, dependencies: GatewayDependencies) {
  const { id, parameters, failureCode, timeline, proof } = record;
  const head = {
    id,
    created: Math.floor(record.acceptedAt.getTime() / 1_000),
    model: parameters.model,
  };
  return {
    id,
    object: 'request',
    status: record.status,
    workload_class: parameters.workloadClass,
    model: parameters.model,
    hardware_tier: parameters.hardwareTier,
    priority: parameters.priority,
    deadline_seconds: parameters.deadlineSeconds,
    accepted_at: record.acceptedAt.toISOString(),
    finished_at: record.finishedAt?.toISOString() ?? null,
    reserved_wei: record.reservedWei,
    charged_wei: record.chargedWei,
    error: failureCode && { code: failureCode, message: errorDefinition(failureCode).message },
    steps: timeline?.map(({ step, elapsedMs, ...rest }) => ({
      number: stepNamed(step).number,
      step,
      plane: stepNamed(step).plane,
      elapsed_ms: elapsedMs ?? null,
      ...rest,
    })),
    proof_of_execution: proof,
    result: record.sealedResult && completion(head, await openedResult(record, dependencies)),
    temporal_url: temporalUrl(id, dependencies),
  };
}

async function openedResult({ sealedResult }: RequestRecord, dependencies: GatewayDependencies) {
  const { resultBytes } = await openReturn(sealedResult, dependencies.requesterRing);
  return parseResult(resultBytes);
}

function temporalUrl(id: string, dependencies: GatewayDependencies): string | null {
  const { temporalUiUrl, temporalNamespace } = dependencies;
  return temporalUiUrl && `${temporalUiUrl}/namespaces/${temporalNamespace}/workflows/${id}`;
}
