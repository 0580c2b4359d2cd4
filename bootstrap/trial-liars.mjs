import { run } from './node-version.mjs';

run('./trial-liars-command.mjs');
