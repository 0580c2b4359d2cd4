import { DefaultLogger, Runtime } from '@temporalio/worker';

// Imported for its effect, by whoever makes workers: they come and go by the dozen in tests, and
// some of them fail on purpose. Installed without any worker it would keep the process running.
Runtime.install({
  logger: new DefaultLogger('ERROR'),
  // Whoever starts workers stops them, in their own way.
  shutdownSignals: [],
  telemetryOptions: { logging: { filter: 'OFF', forward: {} } },
});
