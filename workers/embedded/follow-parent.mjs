import { isMainThread } from 'node:worker_threads';

// Preloaded into children. However the parent ends, even by SIGKILL, the channel closes, and then
// the child stops as if told to: no role outlives its network. Plain JavaScript, because threads
// inherit the preload but not the loader of TypeScript.
const parent = process.env.PLX_PARENT_PID;
// A role's own children inherit the preload too, with channels that are none of our business; but
// not this variable, once it is gone. The parent's id can't tell them apart: that of a parent which
// died a moment ago is another one already.
if (isMainThread && parent) {
  delete process.env.PLX_PARENT_PID;
  process.env.PLX_LAUNCHER_PID = parent;
  const stop = () => process.kill(process.pid, 'SIGTERM');
  // The channel of a parent that died before this line has closed without an event.
  if (process.connected) process.once('disconnect', stop);
  else stop();
  // The channel alone must not keep a child running that has nothing else to do.
  process.channel?.unref();
}
