import { run } from './node-version.mjs';

run('./bench-comparators-command.mjs');
