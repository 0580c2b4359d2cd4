import { run } from './node-version.mjs';

run('./sim-schedule-command.mjs');
