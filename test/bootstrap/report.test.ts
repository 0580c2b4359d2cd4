import assert from 'node:assert/strict';
import { Project } from './project.ts';

describe('bootstrap: report', () => {
  it('shows the progress while a step runs', async () => {
    const project = await Project.create();
    try {
      await project.write(
        'report.mjs',
        `import { createReport } from './bootstrap/report.mjs';
         const written = [];
         const { step } = createReport({ isTTY: true, write: (text) => written.push(text) });
         await step('Downloading it (45 MB)', async (progress) => {
           progress('1 of 45 MB');
           progress('23 of 45 MB');
           while (written.length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
         });
         console.log(written.map((text) => text.replaceAll('\\r\\x1b[K', '')).join('|'));`,
      );
      const { output } = await project.run(['report.mjs']);
      assert.match(
        output,
        /^▸ Downloading it \(45 MB\) …\|▸ Downloading it \(45 MB\) … \d+ s, 23 of 45 MB\|.*✓ /,
      );
    } finally {
      await project.remove();
    }
  });
});
