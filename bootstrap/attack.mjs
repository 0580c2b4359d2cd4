import { run } from './node-version.mjs';

run('./attack-command.mjs');
