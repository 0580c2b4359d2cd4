/** What a program says, and how it is called. */
interface Program<Options> {
  /** Its npm script. */
  readonly script: string;
  readonly help: string;
  /** Throws for what it doesn't take; null when help was asked for. */
  readonly readOptions: () => Options | null;
  /** @returns its exit code. */
  readonly run: (options: Options) => number | Promise<number>;
}

/** @returns the exit code: 2 for wrong options, which it names; 0 after the help. */
export async function runWithOptions<Options>(program: Program<Options>): Promise<number> {
  const say = (text: string) => void process.stdout.write(`${text}\n`);
  let options: Options | null;
  try {
    options = program.readOptions();
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    say(`See \`npm run ${program.script} -- --help\``);
    return 2;
  }
  if (options === null) {
    say(program.help);
    return 0;
  }
  return program.run(options);
}
