/** `npm run bench:routing`: what routing by prefixes gains, and what it gives away. Arguments and order only. */
import { figureJson, figureTable, figureText, type Failure } from './engine/report.ts';
import type { Figure } from './engine/measure.ts';
import { Progress } from './progress.ts';
import { thisMachine } from './report.ts';
import { fleet } from './routing/fleet.ts';
import { isolation } from './routing/isolation.ts';
import { lookup } from './routing/lookup.ts';
import type { Measure } from './routing/measure.ts';
import { HELP, readRoutingOptions, type MeasureName, type RoutingOptions } from './routing/options.ts';
import { real } from './routing/real.ts';

const MEASURES: Readonly<Record<MeasureName, Measure>> = { lookup, fleet, isolation, real };

async function main(options: RoutingOptions): Promise<void> {
  const date = new Date();
  const progress = new Progress({ quiet: false });
  const [figures, tables, failures]: [Figure[], string[], Failure[]] = [[], [], []];
  for (const name of options.only) {
    const show = (text: string) => progress.show(`${name}: ${text}`);
    try {
      const report = await MEASURES[name](options, show);
      figures.push(...report.figures);
      if (report.table !== undefined) tables.push(report.table);
      // Whoever ends a long run keeps what it has said.
      for (const figure of report.figures) show(`${figure.name} ${figureText(figure)}`);
    } catch (error) {
      // The others still have something to say.
      failures.push({ measure: name, message: error instanceof Error ? error.message : String(error) });
    }
  }
  progress.clear();
  console.log(`${[...tables, figureTable(figures, failures)].join('\n\n')}\n`);
  console.log(figureJson({ bench: 'routing', date, machine: thisMachine(), parameters: options }, figures, failures));
  if (failures.length > 0) process.exitCode = 1;
}

// With an exit, on which the children end.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));
try {
  const options = readRoutingOptions(process.argv.slice(2));
  if (options === null) console.log(HELP);
  else await main(options);
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
