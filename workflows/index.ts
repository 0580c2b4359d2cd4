/** The only barrel: Temporal needs one entry file for the sandbox's bundle. */
export { canary } from './canary.ts';
export { inference } from './inference.ts';
