import { SdkClient } from '../support/sdk-client.ts';
import { SdkScene } from '../support/sdk-scene.ts';
import { answers } from './typescript/answers.ts';
import { errors } from './typescript/errors.ts';
import { hangingUp } from './typescript/hanging-up.ts';

describe("OpenAI's SDK in TypeScript", function () {
  this.timeout(120_000);
  const sdk: SdkClient = new SdkClient();
  before(async () => sdk.use(await SdkScene.start()));
  after(() => sdk.scene.stop());

  describe('answers', () => answers(sdk));
  describe('errors', () => errors(sdk));
  describe('hanging up', () => hangingUp(sdk));
});
