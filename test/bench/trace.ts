/** One stream as its client saw it: when the request was sent, when text arrived, when it ended. Knows no transport. */
import { performance } from 'node:perf_hooks';

/** Milliseconds of one monotonic clock. */
export interface StreamTrace {
  readonly sentMs: number;
  /** One for each turn of the event loop that brought text. */
  readonly arrivalsMs: readonly number[];
  readonly endMs: number;
  /** Output tokens, with those that show no text. */
  readonly tokens: number;
}

/** Starts when it is made, so make it right before the request is sent. */
export class TraceRecorder {
  readonly #sentMs = performance.now();
  readonly #arrivalsMs: number[] = [];
  #turn = -1;

  /** Text is here. What comes within one turn waited together: it is one arrival, not several with gaps of zero. */
  arrive(): void {
    if (turns.current === this.#turn) return;
    this.#turn = turns.current;
    this.#arrivalsMs.push(performance.now());
  }

  end(tokens: number): StreamTrace {
    return { sentMs: this.#sentMs, arrivalsMs: this.#arrivalsMs, endMs: performance.now(), tokens };
  }
}

/** Numbers the turns of the event loop in which somebody asked. */
class LoopTurns {
  #number = 0;
  #asked = false;

  get current(): number {
    if (!this.#asked) {
      this.#asked = true;
      setImmediate(() => {
        this.#asked = false;
        this.#number++;
      });
    }
    return this.#number;
  }
}

const turns = new LoopTurns();
