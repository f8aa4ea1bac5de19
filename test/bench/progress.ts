/** What runs now and how long the rest may take, on stderr: one line that changes on a terminal, lines elsewhere. */

export class Progress {
  readonly #quiet: boolean;
  readonly #begin = performance.now();
  #last = '';

  constructor(options: { readonly quiet: boolean }) {
    this.#quiet = options.quiet;
  }

  readonly show = (text: string): void => {
    if (this.#quiet || text === this.#last) return;
    this.#last = text;
    const seconds = ((performance.now() - this.#begin) / 1000).toFixed(0).padStart(4);
    const line = `${seconds} s  ${text}`;
    process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${line.slice(0, process.stderr.columns - 1)}` : `${line}\n`);
  };

  /** Takes the line off a terminal. */
  clear(): void {
    if (!this.#quiet && process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  }
}

/** Time left, from the pace of what has been done: by its unit, as late units may be cheaper than early ones. */
export class Eta {
  #left: number;
  #msPerUnit: number | null = null;

  constructor(units: number) {
    this.#left = units;
  }

  done(units: number, ms: number): void {
    this.#left -= units;
    this.#msPerUnit = ms / units;
  }

  /** At the pace of the last run. */
  get text(): string {
    if (this.#msPerUnit === null) return 'time left unknown';
    const seconds = (this.#left * this.#msPerUnit) / 1000;
    return `about ${seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`} left`;
  }
}
