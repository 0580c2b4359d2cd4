import { isMainThread } from 'node:worker_threads';

// Preloaded into children. However the parent ends, even by SIGKILL, the channel closes, and then
// the child stops as if told to: no role outlives its network. Plain JavaScript, because threads
// inherit the preload but not the loader of TypeScript.
const isChildOfNetwork = process.env['PLX_PARENT_PID'] === String(process.ppid);
// A role's own children inherit the preload too, with channels that are none of our business.
if (isMainThread && process.channel && isChildOfNetwork) {
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
  // The channel alone must not keep a child running that has nothing else to do.
  process.channel.unref();
}
