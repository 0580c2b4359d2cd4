const { writeFileSync } = require('node:fs');
const { reporters } = require('mocha');

/**
 * mocha's own `spec` report, and the counts as JSON in the file of the reporter option `counts`.
 * CommonJS, because mocha loads reporters with `require`.
 */
module.exports = class CountingReporter extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    runner.once('end', () => {
      const { passes, failures, pending } = this.stats;
      const counts = { passed: passes, failed: failures, skipped: pending };
      writeFileSync(options.reporterOption.counts, JSON.stringify(counts));
    });
  }
};
