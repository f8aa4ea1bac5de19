/** Units of work that threads of a process take by number, in shared memory. Knows not what they are. */

/** Fields before the units' states. */
const NEXT = 0;
const DONE = 1;
const CLOSED = 2;
/** Threads at work. */
const ACTIVE = 3;
const FIELDS = 4;
const FINISHED = 1;
const FAILED = 2;
/** No unit takes so long: whoever took one and said nothing since is gone. */
const LOST_MS = 60_000;
const DRAIN_MS = 100;

export class WorkBoard {
  readonly memory: SharedArrayBuffer;
  readonly #fields: Int32Array;
  readonly #states: Int32Array;

  /** Of a number of units, or one that another thread has made. */
  constructor(units: number | SharedArrayBuffer) {
    this.memory = typeof units === 'number' ? new SharedArrayBuffer(4 * (FIELDS + units)) : units;
    this.#fields = new Int32Array(this.memory, 0, FIELDS);
    this.#states = new Int32Array(this.memory, 4 * FIELDS);
  }

  /** Units done or failed. */
  get done(): number {
    return Atomics.load(this.#fields, DONE);
  }

  /** Does units until none is left. What `run` throws marks the unit as failed and is thrown again. */
  work(run: (unit: number) => void): void {
    Atomics.add(this.#fields, ACTIVE, 1);
    try {
      while (Atomics.load(this.#fields, CLOSED) === 0) {
        const unit = Atomics.add(this.#fields, NEXT, 1);
        if (unit >= this.#states.length) return;
        this.#do(unit, run);
      }
    } finally {
      Atomics.sub(this.#fields, ACTIVE, 1);
      Atomics.notify(this.#fields, ACTIVE);
    }
  }

  /** Blocks until all taken units have ended. Returns those that somebody must do again: failed, or lost. */
  waitForOthers(everyMs: number, tick: () => void): readonly number[] {
    let [seen, quietMs] = [this.done, 0];
    while (seen < this.#states.length && quietMs < LOST_MS) {
      Atomics.wait(this.#fields, DONE, seen, everyMs);
      quietMs = this.done === seen ? quietMs + everyMs : 0;
      seen = this.done;
      tick();
    }
    return [...this.#states.keys()].filter((unit) => Atomics.load(this.#states, unit) !== FINISHED);
  }

  /** Nobody takes a unit any more; returns when nobody is at work. */
  close(): void {
    Atomics.store(this.#fields, CLOSED, 1);
    for (let left = LOST_MS; left > 0; left -= DRAIN_MS) {
      const active = Atomics.load(this.#fields, ACTIVE);
      if (active === 0) return;
      Atomics.wait(this.#fields, ACTIVE, active, DRAIN_MS);
    }
  }

  #do(unit: number, run: (unit: number) => void): void {
    try {
      run(unit);
      this.#end(unit, FINISHED);
    } catch (error) {
      this.#end(unit, FAILED);
      throw error;
    }
  }

  #end(unit: number, state: number): void {
    Atomics.store(this.#states, unit, state);
    Atomics.add(this.#fields, DONE, 1);
    Atomics.notify(this.#fields, DONE);
  }
}
