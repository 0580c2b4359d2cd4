import { randomInt } from 'node:crypto';

const OPENINGS = [
  'Write a short story about',
  'Tell me something about',
  'Write a poem about',
  'What do people know of',
  'Describe in your own words',
  'Explain to a child',
] as const;

const WORDS = (
  'airport apple autumn bakery balcony bicycle bread bridge butterfly button cactus camera ' +
  'candle carpet castle cellar cherry chess circus clock cloud coffee compass copper cotton ' +
  'dance desert dinner dragon drawer eagle engine evening farmer feather ferry festival ' +
  'forest fountain fox garden giraffe glacier guitar harbour harvest honey horse island ivory ' +
  'jacket kettle kitchen ladder lantern lemon letter library lighthouse market meadow mirror ' +
  'moon mountain museum needle ocean orchard owl painter paper pepper piano pillow planet ' +
  'pocket potato puzzle railway rain river robot saddle sailor salt shadow silver snow spoon ' +
  'station summer teacher theatre thunder tiger tower tunnel umbrella valley village violin ' +
  'wagon whale window winter wool zebra'
).split(' ');

const WORDS_MIN = 3;
const WORDS_MAX = 8;

/** A prompt as somebody could ask it, another one each time: no answer can be kept ready. */
export function canaryPrompt(): string {
  const count = randomInt(WORDS_MIN, WORDS_MAX + 1);
  const words = Array.from({ length: count }, () => drawn(WORDS));
  return `${drawn(OPENINGS)} ${words.slice(0, -1).join(', ')} and ${words.at(-1)}.`;
}

function drawn<Item>(items: readonly Item[]): Item {
  const item = items[randomInt(items.length)];
  if (item === undefined) throw new RangeError('nothing to draw from');
  return item;
}
