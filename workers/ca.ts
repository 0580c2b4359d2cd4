import { caCommand } from './ca-command.ts';
import { ConfigError } from './config.ts';

// `npm run ca`: the CA of a network, and its rotation.
try {
  process.stdout.write(await caCommand(process.argv.slice(2), process.env));
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 2;
}
