import { run } from './node-version.mjs';

run('./test-deep-command.mjs');
