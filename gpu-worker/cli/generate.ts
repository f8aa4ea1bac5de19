/** `millrace generate`: a file of prompts through the model into a file of results. Prints only to standard error. */
import { basename, resolve } from 'node:path';
import { ERRORS, type MillraceError } from '../../shared/errors.ts';
import { unknownModel } from '../config.ts';
import { LLM, type LLMRequest, type LLMResult, type LoadProgress } from '../llm.ts';
import { modelPlace } from '../model/hub.ts';
import { echoHash, isDone, readEarlier, type EarlierResults } from './earlier-results.ts';
import { generateHelp, readGenerateConfig, type GenerateConfig } from './generate-config.ts';
import { asJsonSpells, checkInput, readItems, type InputItem, type ItemHead } from './input-lines.ts';
import { LineOrder } from './line-order.ts';
import { errorLine, OutputLines, resultLine } from './output-lines.ts';
import { loadingLine, Progress, progressLine } from './progress.ts';
import { ConfigError } from './settings.ts';
import { Tally } from './tally.ts';

/** Bad lines named before the rest are only counted. */
const SHOWN_BAD_LINES = 10;
/** Results held back behind one that takes long, for --ordered. */
const ORDER_WINDOW = 4096;
/** A terminal's Ctrl-C comes twice when npm passes it on. */
const SAME_SIGNAL_MS = 1000;

/** Resolves with the exit code. Throws a ConfigError, or whatever ended the run. */
export async function generate(args: readonly string[]): Promise<number> {
  const config = readGenerateConfig(args);
  if (config === null) {
    console.log(generateHelp());
    return 0;
  }
  const { model } = config.engine;
  if (modelPlace(model) === null) throw unknownModel('--model (MILLRACE_MODEL)', model);
  checkInput(config.input);
  const earlier = await readEarlier(config);
  const total = await countItems(config, earlier);
  if (total === 0) {
    await (await OutputLines.open(config, earlier)).close();
    console.error('Nothing to do: no request is without a result.');
    return 0;
  }
  const llm = await load(config);
  try {
    if (!config.skipBadLines) await checkFit(llm, config, earlier);
    const output = await OutputLines.open(config, earlier);
    try {
      return await new GenerateRun({ config, llm, output, earlier, total }).run();
    } finally {
      await output.close();
    }
  } finally {
    await llm.dispose();
  }
}

/** Requests still to run. Bad lines end the command here, before a model is loaded. */
async function countItems(config: GenerateConfig, { hashes, failed }: EarlierResults): Promise<number> {
  const bad = new BadLines(config);
  let [count, found, good] = [0, 0, 0];
  for await (const item of readItems(config)) {
    count++;
    if (item.type === 'request') good++;
    else if (!config.skipBadLines) bad.add(item, item.error);
    const hash = hashes.get(item.index);
    if (hash === undefined) continue;
    if (hash !== echoHash(item.echo)) {
      const message = `request ${item.index} of the output file is not request ${item.index} of the input`;
      throw new ConfigError(`--resume: ${message}; give the same input and --repeat, or another --output`);
    }
    found++;
  }
  bad.throwIfAny(good > 0);
  if (found < hashes.size) throw new ConfigError('--resume: the output file has more requests than the input');
  const kept = found - failed.size;
  const again = failed.size === 0 ? '' : `; failed by no fault of theirs, so run again: ${failed.size}`;
  if (found > 0) console.error(`Resuming: ${kept} of ${count} are done${again}`);
  return count - kept;
}

/** Prompts that the model cannot take end the command before anything runs. */
async function checkFit(llm: LLM, config: GenerateConfig, earlier: EarlierResults): Promise<void> {
  const bad = new BadLines(config);
  let good = 0;
  for await (const item of readItems({ ...config, repeat: 1 })) {
    const first = item.index * config.repeat;
    if (item.type !== 'request' || isDone(earlier, first + config.repeat - 1)) continue;
    const error = llm.refusal(item.request);
    if (error === null) good++;
    else bad.add(item, asJsonSpells(error, item.echo));
  }
  bad.throwIfAny(good > 0);
}

class BadLines {
  readonly #source: string;
  readonly #shown = new Map<number, string>();
  #count = 0;
  #lastLine = 0;

  constructor({ input }: GenerateConfig) {
    this.#source = 'file' in input ? input.file : '--prompt';
  }

  /** Repeats of a line count once. */
  add({ line }: ItemHead, error: MillraceError): void {
    if (line === this.#lastLine) return;
    this.#lastLine = line;
    if (this.#count++ < SHOWN_BAD_LINES) this.#shown.set(line, error.message);
  }

  /** `others`: there are lines that could run. */
  throwIfAny(others: boolean): void {
    if (this.#count === 0) return;
    const lines = Array.from(this.#shown, ([line, message]) => `${this.#source}:${line}: ${message}`);
    if (this.#count > lines.length) lines.push(`and ${this.#count - lines.length} more`);
    lines.push(others ? 'Nothing was run; --skip-bad-lines runs the others.' : 'Nothing was run.');
    throw new ConfigError(lines.join('\n'));
  }
}

async function load({ engine, progress: enabled }: GenerateConfig): Promise<LLM> {
  let last: LoadProgress = { stage: 'weights', done: 0, total: 0, elapsedMs: 0 };
  const name = basename(resolve(engine.model));
  const progress = new Progress(process.stderr, enabled, () => loadingLine(name, last));
  try {
    return await LLM.open(engine, (loading) => (last = loading));
  } finally {
    progress.stop();
  }
}

interface RunParts {
  readonly config: GenerateConfig;
  readonly llm: LLM;
  readonly output: OutputLines;
  readonly earlier: EarlierResults;
  /** Requests to run. */
  readonly total: number;
}

interface Running extends ItemHead {
  readonly place: number;
}

class GenerateRun {
  readonly #parts: RunParts;
  readonly #order: LineOrder | null;
  readonly #tally = new Tally();
  readonly #stop = new AbortController();
  /** By the library's index. */
  readonly #running = new Map<number, Running>();
  /** Null, or which signal ended the run. */
  #signal: 'SIGINT' | 'SIGTERM' | null = null;
  #systemFailures = 0;

  constructor(parts: RunParts) {
    this.#parts = parts;
    const write = (line: string) => parts.output.write(line);
    this.#order = parts.config.ordered ? new LineOrder(write, ORDER_WINDOW) : null;
  }

  async run(): Promise<number> {
    const { llm, config, total } = this.#parts;
    const begin = performance.now();
    const forget = this.#listen();
    const progress = new Progress(process.stderr, config.progress, (bar) => {
      const { done, failed } = this.#tally;
      const elapsedMs = performance.now() - begin;
      return progressLine({ done: done + failed, total, elapsedMs, ...llm.totals }, bar);
    });
    try {
      for await (const result of llm.run(this.#requests(), { signal: this.#stop.signal })) {
        const item = this.#running.get(result.index);
        if (item === undefined) throw new Error(`there is no request ${result.index}`);
        this.#running.delete(result.index);
        this.#tally.add(result);
        if (result.type === 'error' && ERRORS[result.error.code].blame === 'system') this.#systemFailures++;
        await this.#put(item, lineOf(item, result));
      }
    } catch (error) {
      if (this.#signal === null) throw error;
    } finally {
      // The same Ctrl-C may still come a second time: it must not end the process before all is written and said.
      if (this.#signal === null) forget();
      progress.stop();
      await this.#order?.rest();
    }
    if (this.#signal !== null)
      console.error(`Interrupted: what has ended is written${this.#resumable('runs the rest')}`);
    console.error(this.#tally.summary(performance.now() - begin));
    if (this.#systemFailures > 0) {
      console.error(`Failed by no fault of theirs: ${this.#systemFailures}${this.#resumable('runs them again')}`);
    }
    if (this.#signal !== null) return this.#signal === 'SIGINT' ? 130 : 143;
    return this.#systemFailures > 0 ? 1 : 0;
  }

  #resumable(what: string): string {
    return this.#parts.config.output === null ? '' : `; --resume ${what}`;
  }

  /** What is left of the input, read as the engine takes it; bad lines are answered on the way. */
  async *#requests(): AsyncGenerator<LLMRequest, void, undefined> {
    const { config, earlier } = this.#parts;
    let [place, sent] = [0, 0];
    for await (const item of readItems(config)) {
      if (isDone(earlier, item.index)) continue;
      const running = { ...headOf(item), place: place++ };
      await this.#order?.room(running.place);
      if (item.type === 'bad') {
        this.#tally.failed++;
        await this.#put(running, errorLine(item, item.error));
      } else {
        this.#running.set(sent++, running);
        yield item.request;
      }
    }
  }

  #put({ place }: Running, line: string): Promise<void> {
    return this.#order === null ? this.#parts.output.write(line) : this.#order.put(place, line);
  }

  /** The first signal ends the run with what is done, a later one at once. */
  #listen(): () => void {
    let firstMs = 0;
    const listeners = (['SIGINT', 'SIGTERM'] as const).map((signal) => {
      const listener = () => {
        if (this.#signal !== null && performance.now() - firstMs > SAME_SIGNAL_MS) process.exit(1);
        if (this.#signal !== null) return;
        this.#signal = signal;
        firstMs = performance.now();
        this.#stop.abort();
      };
      process.on(signal, listener);
      return () => process.off(signal, listener);
    });
    return () => listeners.forEach((off) => off());
  }
}

function lineOf(item: ItemHead, result: LLMResult): string {
  if (result.type === 'done') return resultLine(item, result);
  return errorLine(item, asJsonSpells(result.error, item.echo));
}

function headOf({ index, line, echo }: InputItem): ItemHead {
  return { index, line, echo };
}
