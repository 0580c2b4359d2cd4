import { run } from './node-version.mjs';

run('./check-command.mjs');
