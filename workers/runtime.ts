import { DefaultLogger, Runtime } from '@temporalio/worker';
import type { Logger } from 'pino';

/**
 * Temporal's native part, for a role: its warnings go to the role's log, and signals are left to
 * the role, which stops its parts in order: by default the SDK stops workers by itself.
 */
export function installTemporalRuntime(log: Logger): void {
  Runtime.install({
    shutdownSignals: [],
    logger: new DefaultLogger('WARN', (entry) => log.warn(entry, 'temporal sdk')),
  });
}
