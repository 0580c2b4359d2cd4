import { open, copyFile } from 'node:fs/promises';
import { GgmlType, readGgufFileInfo } from 'node-llama-cpp';

/** Bytes of a block of Q4_1: scale and offset in float16, then 32 weights of 4 bits. */
const BLOCK_BYTES = 20;
const WEIGHTS_AT = 4;
const WEIGHTS_PER_BLOCK = 32;

/**
 * Copies a Q4_1 model and takes the lowest bit of each of its quantised weights, as quantisation to
 * 3 bits would: what a node runs that saves memory and names the digest of the better weights.
 *
 * @returns how many weights there were.
 */
export async function writeCoarseModel(modelPath: string, target: string): Promise<number> {
  const info = await readGgufFileInfo(modelPath, { sourceType: 'filesystem' });
  const tensors = info.fullTensorInfo ?? [];
  await copyFile(modelPath, target);
  const file = await open(target, 'r+');
  let weights = 0;
  try {
    for (const { ggmlType, dimensions, fileOffset } of tensors) {
      if (ggmlType !== GgmlType.Q4_1) continue;
      const count = dimensions.reduce<number>((product, size) => product * Number(size), 1);
      const bytes = Buffer.alloc((count / WEIGHTS_PER_BLOCK) * BLOCK_BYTES);
      await file.read(bytes, 0, bytes.length, Number(fileOffset));
      coarsen(bytes);
      await file.write(bytes, 0, bytes.length, Number(fileOffset));
      weights += count;
    }
  } finally {
    await file.close();
  }
  if (weights === 0) throw new Error(`${modelPath} has no weights in Q4_1`);
  return weights;
}

function coarsen(blocks: Buffer): void {
  for (let block = 0; block < blocks.length; block += BLOCK_BYTES)
    for (let place = block + WEIGHTS_AT; place < block + BLOCK_BYTES; place++) {
      const byte = blocks[place] ?? 0;
      // Up and down in turn, so that no weight is biased; 15 has nothing above it.
      const isUp = place % 2 === 0;
      blocks[place] = (coarse(byte >> 4, isUp) << 4) | coarse(byte & 0xf, !isUp);
    }
}

function coarse(weight: number, isUp: boolean): number {
  if (weight % 2 === 0) return weight;
  return isUp && weight < 15 ? weight + 1 : weight - 1;
}
