import proto from '@temporalio/proto';
import { NODE_NAMESPACE } from './poll-messages.ts';

const { v1: service } = proto.temporal.api.workflowservice;
const { v1: enums } = proto.temporal.api.enums;

/**
 * GetSystemInfo: what an activity worker goes by. The version is nobody's: which one runs behind
 * the edge is not for nodes to know.
 */
export const SYSTEM_INFO: Uint8Array = service.GetSystemInfoResponse.encode({
  serverVersion: '1.0.0',
  capabilities: { internalErrorDifferentiation: true, activityFailureIncludeHeartbeat: true },
}).finish();

/** DescribeNamespace: that there is one. Without capabilities, nothing else is tried. */
export const NAMESPACE_INFO: Uint8Array = service.DescribeNamespaceResponse.encode({
  namespaceInfo: {
    name: NODE_NAMESPACE,
    state: enums.NamespaceState.NAMESPACE_STATE_REGISTERED,
  },
}).finish();

/** grpc.health.v1.HealthCheckResponse: SERVING. */
export const HEALTHY = Uint8Array.of(0x08, 0x01);
/** An answer that has no fields. */
export const EMPTY = new Uint8Array();
