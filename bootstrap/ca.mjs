import { run } from './node-version.mjs';

run('./ca-command.mjs');
