import { run } from './node-version.mjs';

run('./sim-trust-command.mjs');
