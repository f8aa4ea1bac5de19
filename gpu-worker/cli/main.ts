/** The `millrace` command: which subcommand is to run, and how its end shows. Knows no flags. */
import { readFileSync } from 'node:fs';
import { generate } from './generate.ts';
import { perplexity } from './perplexity.ts';
import { ConfigError } from './settings.ts';

const HELP = `millrace <command> [flags]

  serve       serve a model on the bus, behind the edge
  generate    run prompts from the command line or a file through a model
  perplexity  how well a model foretells texts, rounded and pruned as asked

  millrace <command> --help
  millrace --version`;

async function main([command, ...args]: readonly string[]): Promise<number | null> {
  switch (command) {
    case 'generate':
      return generate(args);
    case 'perplexity':
      return perplexity(args);
    case 'serve':
      // The worker reads the arguments of its process.
      process.argv.splice(2, 1);
      await import('../main.ts');
      return null;
    case '--help':
    case '-h':
    case 'help':
      console.log(HELP);
      return 0;
    case '--version':
      console.log(version());
      return 0;
    default:
      console.error(command === undefined ? HELP : `There is no command "${command}".\n\n${HELP}`);
      return 2;
  }
}

function version(): string {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    readonly version: string;
  };
  return `millrace ${manifest.version}`;
}

try {
  // Not exit(): what was written to a pipe may still be on its way.
  const code = await main(process.argv.slice(2));
  if (code !== null) process.exitCode = code;
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  console.error(message.split('\n    at ', 1)[0]);
  process.exitCode = error instanceof ConfigError ? 2 : 1;
}
