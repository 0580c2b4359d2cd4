/** The only barrel: Temporal needs one entry file for the sandbox's bundle. */
export { inference } from './inference.ts';
