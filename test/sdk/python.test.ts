import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SdkScene } from '../support/sdk-scene.ts';
import { startPythonCases, type PythonCases } from '../support/python-cases.ts';

const FOLDER = join(import.meta.dirname, 'python');

describe("OpenAI's SDK in Python", function () {
  this.timeout(120_000);
  let scene: SdkScene;
  let cases: PythonCases | undefined;
  before(async () => {
    scene = await SdkScene.start();
    const { baseUrl, pingingUrl, windowUrl, model, keys } = scene;
    cases = startPythonCases(join(FOLDER, 'run.py'), {
      PLX_SCENE: JSON.stringify({ baseUrl, pingingUrl, windowUrl, model, keys }),
    });
  });
  const running = () => cases ?? assert.fail('Python was not started');
  after(async () => {
    await cases?.stop();
    await scene.stop();
  });

  for (const file of readdirSync(FOLDER)
    .filter((name) => /^test_\w+\.py$/.test(name))
    .toSorted()) {
    const module = file.replace('.py', '');
    describe(spoken(module), () => {
      for (const [, method = ''] of readFileSync(join(FOLDER, file), 'utf8').matchAll(
        /^ {4}(?:async )?def (test_\w+)\(/gm,
      ))
        it(spoken(method), () => running().passed(module, method));
    });
  }
});

/** `test_gives_an_answer`: gives an answer. */
function spoken(name: string): string {
  return name.replace('test_', '').replaceAll('_', ' ');
}
