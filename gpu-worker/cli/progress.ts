/** Shows on standard error how far a command is: one line drawn anew on a terminal, a line now and then elsewhere. Knows no command. */
import type { LoadProgress } from '../llm.ts';

export interface RunProgress {
  readonly done: number;
  readonly total: number;
  readonly outputTokens: number;
  readonly promptTokens: number;
  readonly elapsedMs: number;
}

const BAR_WIDTH = 20;

/** `bar`: for a terminal. Rates are means since the start. */
export function progressLine(
  { done, total, outputTokens, promptTokens, elapsedMs }: RunProgress,
  bar: boolean,
): string {
  const share = total === 0 ? 1 : done / total;
  const full = Math.floor(share * BAR_WIDTH);
  const perSecond = (count: number) => Math.round((count * 1000) / Math.max(1, elapsedMs));
  return [
    ...(bar ? [`[${'█'.repeat(full)}${'░'.repeat(BAR_WIDTH - full)}]`] : []),
    `${done}/${total}`,
    `${perSecond(outputTokens)} output tokens/s`,
    `${perSecond(promptTokens)} prompt tokens/s`,
    `ETA ${done === 0 ? '–' : clock((elapsedMs / done) * (total - done))}`,
  ].join('  ');
}

/** What is counted is named; once all of it is done, nothing is: the engine then builds its graph. */
export function loadingLine(name: string, { stage, done, total, elapsedMs }: LoadProgress): string {
  const parts = [`${stage === 'download' ? 'Downloading' : 'Loading'} ${name}`, `${(elapsedMs / 1000).toFixed(1)} s`];
  if (done < total) parts.push(`${Math.floor((100 * done) / total)} %`, counted(stage, done, total));
  return parts.join('  ');
}

function counted(stage: LoadProgress['stage'], done: number, total: number): string {
  if (stage === 'pruning') return `${done} of ${total} prunings measured`;
  if (stage === 'calibration') return `${done} of ${total} tokens run to scale the KV cache`;
  return `${(done / 1e6).toFixed(0)} of ${(total / 1e6).toFixed(0)} MB`;
}

/** 1:05, or 1:01:05. */
function clock(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  const two = (value: number) => String(value).padStart(2, '0');
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

const REDRAW_MS = 100;
const LINE_MS = 5_000;
const USUAL_COLUMNS = 80;

/** Shows what `render` says until it is stopped. */
export class Progress {
  readonly #stream: NodeJS.WriteStream;
  readonly #render: (bar: boolean) => string;
  readonly #timer: NodeJS.Timeout | null;

  constructor(stream: NodeJS.WriteStream, enabled: boolean, render: (bar: boolean) => string) {
    this.#stream = stream;
    this.#render = render;
    this.#timer = enabled ? setInterval(() => this.#show(), stream.isTTY ? REDRAW_MS : LINE_MS) : null;
    this.#timer?.unref();
  }

  /** The last state stays on the screen. */
  stop(): void {
    if (this.#timer === null) return;
    clearInterval(this.#timer);
    this.#show();
    if (this.#stream.isTTY) this.#stream.write('\n');
  }

  #show(): void {
    const { isTTY, columns } = this.#stream;
    const text = this.#render(isTTY);
    // A terminal that does not know its width says 0.
    this.#stream.write(isTTY ? `\r\x1b[K${text.slice(0, (columns || USUAL_COLUMNS) - 1)}` : `${text}\n`);
  }
}
