/** Puts lines that come in any order into the order of their places, holding back a bounded number. Knows no files. */
import { Bell } from '../llm/bell.ts';

export class LineOrder {
  readonly #write: (line: string) => Promise<void>;
  readonly #window: number;
  readonly #held = new Map<number, string>();
  readonly #bell = new Bell();
  #next = 0;

  /** At most `window` places may be open behind the first that has not come. */
  constructor(write: (line: string) => Promise<void>, window: number) {
    this.#write = write;
    this.#window = window;
  }

  /** Resolves when the line of this place could be held. */
  async room(place: number): Promise<void> {
    while (place - this.#next >= this.#window) await this.#bell.wait();
  }

  async put(place: number, line: string): Promise<void> {
    this.#held.set(place, line);
    const ready: string[] = [];
    for (let held = this.#held.get(this.#next); held !== undefined; held = this.#held.get(this.#next)) {
      ready.push(held);
      this.#held.delete(this.#next++);
    }
    this.#bell.ring();
    if (ready.length > 0) await this.#write(ready.join(''));
  }

  /** What is held back, for an end before its time. */
  async rest(): Promise<void> {
    const lines = [...this.#held].toSorted(([a], [b]) => a - b).map(([, line]) => line);
    this.#held.clear();
    if (lines.length > 0) await this.#write(lines.join(''));
  }
}
