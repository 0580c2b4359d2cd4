import proto from '@temporalio/proto';
import type { Method, NamespaceBase, ReflectionObject, Service } from 'protobufjs';
import { COORDINATOR_QUEUE } from '../../protocol/queues.ts';
import { each, type Attack, type Scene } from './attack.ts';

const { IndexedValueType } = proto.temporal.api.enums.v1;

const { v1: service } = proto.temporal.api.workflowservice;
const { v1: operator } = proto.temporal.api.operatorservice;

/** What a worker that runs activities alone needs: design §10. */
const OF_A_WORKER: readonly string[] = [
  'GetSystemInfo',
  'DescribeNamespace',
  'PollActivityTaskQueue',
  'RespondActivityTaskCompleted',
  'RespondActivityTaskFailed',
  'RespondActivityTaskCanceled',
  'RecordActivityTaskHeartbeat',
  'ShutdownWorker',
  'RecordWorkerHeartbeat',
]
  .map((name) => `/temporal.api.workflowservice.v1.WorkflowService/${name}`)
  .concat('/grpc.health.v1.Health/Check');

const OPERATOR_SERVICE = '/temporal.api.operatorservice.v1.OperatorService/';
const namespace = 'default';

/** A call with all that it takes to do harm, were it let through. */
function harmful(name: string, method: string, message: (scene: Scene) => Uint8Array): Attack {
  return {
    name,
    group: 'methods',
    expects: ['edge.forbidden'],
    run: (scene) => scene.stranger.grpc.call(method, message(scene)),
  };
}

/** Some run of the victim's: its canary. */
const run = ({ victim }: Scene) => ({ workflowId: `canary_${victim}_1` });
const activity = (scene: Scene) => ({ namespace, ...run(scene), activityId: '1' });

/** By workflow and activity id nobody has to hold a token. */
const BY_ID: readonly Attack[] = [
  harmful('complete by id', 'RespondActivityTaskCompletedById', (scene) =>
    service.RespondActivityTaskCompletedByIdRequest.encode(activity(scene)).finish(),
  ),
  harmful('fail by id', 'RespondActivityTaskFailedById', (scene) =>
    service.RespondActivityTaskFailedByIdRequest.encode(activity(scene)).finish(),
  ),
  harmful('cancel by id', 'RespondActivityTaskCanceledById', (scene) =>
    service.RespondActivityTaskCanceledByIdRequest.encode(activity(scene)).finish(),
  ),
  harmful('heartbeat by id', 'RecordActivityTaskHeartbeatById', (scene) =>
    service.RecordActivityTaskHeartbeatByIdRequest.encode(activity(scene)).finish(),
  ),
];

const OF_CLIENTS: readonly Attack[] = [
  harmful('start a workflow', 'StartWorkflowExecution', () =>
    service.StartWorkflowExecutionRequest.encode({
      namespace,
      workflowId: 'stolen',
      workflowType: { name: 'canary' },
      taskQueue: { name: COORDINATOR_QUEUE },
      requestId: 'stolen',
    }).finish(),
  ),
  harmful('signal with start', 'SignalWithStartWorkflowExecution', () =>
    service.SignalWithStartWorkflowExecutionRequest.encode({
      namespace,
      workflowId: 'stolen',
      workflowType: { name: 'canary' },
      taskQueue: { name: COORDINATOR_QUEUE },
      signalName: 'assigned',
    }).finish(),
  ),
  harmful('read a history', 'GetWorkflowExecutionHistory', (scene) =>
    service.GetWorkflowExecutionHistoryRequest.encode({
      namespace,
      execution: run(scene),
    }).finish(),
  ),
  harmful('list workflows', 'ListWorkflowExecutions', () =>
    service.ListWorkflowExecutionsRequest.encode({ namespace, query: '' }).finish(),
  ),
  harmful('signal', 'SignalWorkflowExecution', (scene) =>
    service.SignalWorkflowExecutionRequest.encode({
      namespace,
      workflowExecution: run(scene),
      signalName: 'cancel',
    }).finish(),
  ),
  harmful('query', 'QueryWorkflow', (scene) =>
    service.QueryWorkflowRequest.encode({
      namespace,
      execution: run(scene),
      query: { queryType: '__stack_trace' },
    }).finish(),
  ),
  harmful('update', 'UpdateWorkflowExecution', (scene) =>
    service.UpdateWorkflowExecutionRequest.encode({
      namespace,
      workflowExecution: run(scene),
    }).finish(),
  ),
  harmful('terminate', 'TerminateWorkflowExecution', (scene) =>
    service.TerminateWorkflowExecutionRequest.encode({
      namespace,
      workflowExecution: run(scene),
    }).finish(),
  ),
  harmful('register a namespace', 'RegisterNamespace', () =>
    service.RegisterNamespaceRequest.encode({
      namespace: 'stolen',
      workflowExecutionRetentionPeriod: { seconds: 86_400 as unknown as Long },
    }).finish(),
  ),
  harmful('add search attributes', `${OPERATOR_SERVICE}AddSearchAttributes`, () =>
    operator.AddSearchAttributesRequest.encode({
      namespace,
      searchAttributes: { stolen: IndexedValueType.INDEXED_VALUE_TYPE_TEXT },
    }).finish(),
  ),
  harmful('delete the namespace', `${OPERATOR_SERVICE}DeleteNamespace`, () =>
    operator.DeleteNamespaceRequest.encode({ namespace }).finish(),
  ),
];

type Long = NonNullable<proto.google.protobuf.IDuration['seconds']>;

/** Paths that no descriptor has. */
const ODD_PATHS: readonly string[] = [
  '/temporal.api.workflowservice.v1.WorkflowService/NoSuchMethod',
  '/temporal.api.workflowservice.v1.WorkflowService/pollActivityTaskQueue',
  '/temporal.api.workflowservice.v1.WorkflowService/PollActivityTaskQueue/',
  '/temporal.api.workflowservice.v1.WorkflowService/GetSystemInfo/../ListNamespaces',
  '/temporal.api.workflowservice.v1.WorkflowService/',
  '/temporal.server.api.adminservice.v1.AdminService/DescribeMutableState',
  '/temporal.server.api.historyservice.v1.HistoryService/GetMutableState',
  '/temporal.server.api.matchingservice.v1.MatchingService/PollActivityTaskQueue',
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
  '/toString',
  '/__proto__',
  '/',
];

const ODD: Attack = {
  name: `${ODD_PATHS.length} paths that aren't in any description`,
  group: 'methods',
  expects: ['edge.forbidden'],
  run: ({ stranger }) => each(ODD, ODD_PATHS, (path) => stranger.grpc.call(path, new Uint8Array())),
};

/** All that Temporal serves and nodes have no business with, as its SDK describes it. */
export const METHOD_ATTACKS: readonly Attack[] = [
  ...BY_ID,
  ...OF_CLIENTS,
  ...services().map(everyOther),
  ODD,
];

/** One attack per service, so that what a new version of it adds is covered as well. */
function everyOther(described: Service): Attack {
  const path = (method: Method) => `/${described.fullName.replace(/^\./, '')}/${method.name}`;
  const isOpen = (method: Method) => OF_A_WORKER.includes(path(method));
  const methods = described.methodsArray.filter((method) => !isOpen(method));
  const attack: Attack = {
    name: `all ${methods.length} other methods of ${described.name}`,
    group: 'methods',
    expects: ['edge.forbidden'],
    run: ({ stranger }) =>
      each(attack, methods, (method) => stranger.grpc.call(path(method), inNamespace(method))),
  };
  return attack;
}

/** A request that names the namespace, if it has a field for it. */
function inNamespace(method: Method): Uint8Array {
  method.resolve();
  const type = method.resolvedRequestType;
  return type ? type.encode(type.fromObject({ namespace })).finish() : new Uint8Array();
}

function services(): readonly Service[] {
  const root = proto as unknown as NamespaceBase;
  root.resolveAll();
  const below = (object: ReflectionObject): readonly Service[] => {
    if ('methods' in object) return [object as Service];
    return ((object as Partial<NamespaceBase>).nestedArray ?? []).flatMap(below);
  };
  return below(root);
}
