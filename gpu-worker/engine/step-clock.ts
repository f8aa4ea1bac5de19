/** Step count and times in shared memory, readable while the engine thread is blocked inside a step. */

export interface LastStep {
  readonly completed: number;
  /** When the last step ended, Unix milliseconds; 0 before the first. */
  readonly atMs: number;
  /** A step is under way since this time; null between steps. */
  readonly runningSinceMs: number | null;
}

const SLOTS = 3;

export class StepClock {
  /** [completed, end of the last step, begin of the running step or 0]. */
  readonly #values: BigInt64Array;

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(SLOTS * 8)) {
    this.#values = new BigInt64Array(memory);
  }

  get memory(): SharedArrayBuffer {
    return this.#values.buffer as SharedArrayBuffer;
  }

  begin(nowMs: number): void {
    Atomics.store(this.#values, 2, BigInt(nowMs));
  }

  end(nowMs: number): void {
    Atomics.add(this.#values, 0, 1n);
    Atomics.store(this.#values, 1, BigInt(nowMs));
    Atomics.store(this.#values, 2, 0n);
  }

  read(): LastStep {
    const since = Number(Atomics.load(this.#values, 2));
    return {
      completed: Number(Atomics.load(this.#values, 0)),
      atMs: Number(Atomics.load(this.#values, 1)),
      runningSinceMs: since === 0 ? null : since,
    };
  }
}
