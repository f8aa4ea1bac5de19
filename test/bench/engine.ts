/** `npm run bench:engine`: what the engine must reach, measured. Arguments and order only. */
import { Bench } from './engine/bench.ts';
import type { Figure } from './engine/measure.ts';
import { MEASURES } from './engine/measures.ts';
import { HELP, readEngineOptions, type EngineBenchOptions } from './engine/options.ts';
import { figureJson, figureTable, figureText, type Failure } from './engine/report.ts';
import { Progress } from './progress.ts';
import { thisMachine } from './report.ts';

async function main(options: EngineBenchOptions): Promise<void> {
  const date = new Date();
  const progress = new Progress({ quiet: false });
  const figures: Figure[] = [];
  const failures: Failure[] = [];
  {
    using bench = new Bench(options, progress);
    for (const [i, name] of options.only.entries()) {
      bench.begin(`${name} (${i + 1} of ${options.only.length})`);
      try {
        const measured = await MEASURES[name](bench);
        figures.push(...measured);
        // Whoever ends a long run keeps what it has said.
        for (const figure of measured) bench.show(`${figure.name} ${figureText(figure)}`);
      } catch (error) {
        // The others still have something to say.
        failures.push({ measure: name, message: error instanceof Error ? error.message : String(error) });
      }
      failures.push(...bench.takeFaults().map((message) => ({ measure: name, message })));
    }
  }
  progress.clear();
  console.log(`${figureTable(figures, failures)}\n`);
  console.log(figureJson({ bench: 'engine', date, machine: thisMachine(), parameters: options }, figures, failures));
  if (failures.length > 0) process.exitCode = 1;
}

try {
  const options = readEngineOptions(process.argv.slice(2));
  if (options === null) console.log(HELP);
  else await main(options);
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
