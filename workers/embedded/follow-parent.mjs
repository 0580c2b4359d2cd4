import { isMainThread } from 'node:worker_threads';

// Preloaded into children. However the parent ends, even by SIGKILL, the channel closes, and then
// the child stops as if told to: no role outlives its network. Plain JavaScript, because threads
// inherit the preload but not the loader of TypeScript.
const parent = process.env.PLX_PARENT_PID;
// A role's own children inherit the preload too, with channels that are none of our business; but
// not this variable, once it is gone. A comparison with the parent's id would not do: a parent that
// was killed a moment ago has another one already.
if (isMainThread && process.channel && parent) {
  delete process.env.PLX_PARENT_PID;
  process.env.PLX_LAUNCHER_PID = parent;
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
  // The channel alone must not keep a child running that has nothing else to do.
  process.channel.unref();
}
