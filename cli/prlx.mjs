#!/usr/bin/env node
import { run } from '../bootstrap/node-version.mjs';

run('../cli/start.mjs');
