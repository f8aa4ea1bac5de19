/** Predicts how long a step takes from its shape, learning from each step that ran. Knows no model, plan or clock. */

/** The shape of a step. */
export interface StepFeatures {
  /** Input tokens of all rows. */
  readonly tokens: number;
  /** KV positions read; see `kvTokensRead`. */
  readonly kvTokens: number;
  /** Tokens drawn: the head over the whole vocabulary and the sampler run for these alone. */
  readonly draws: number;
}

/** What each unit of a shape costs at present, in milliseconds; none is negative. */
export interface StepCoefficients {
  readonly constantMs: number;
  readonly drawMs: number;
  readonly tokenMs: number;
  readonly kvTokenMs: number;
}

/** KV positions that a row of `count` tokens reads when it starts at position `start`. */
export function kvTokensRead(start: number, count: number): number {
  return count * (start + count / 2);
}

const FEATURES = 4;
/** Weight of a step against the one after it: the shape of the cost is remembered for about 500 steps. */
const FORGETTING = 0.998;
/** Share of a step's error that the speed takes over: it follows a machine that slows down in about 20 steps. */
const SPEED_GAIN = 0.1;
/** A single step moves the speed by at most this error, as a logarithm. */
const MAX_SPEED_ERROR = 0.5;
/** Steps before the speed moves and before outliers are known for what they are. */
const WARM_UP = 32;
/** Steps before there is a prediction. */
const FIRST_PREDICTION = 3;
/** A step this many times off the prediction counts as only so far off: other programs share the machine. */
const OUTLIER = 3;
/** Passes over the coefficients for each step; each starts where the last one ended. */
const SWEEPS = 4;
const ERRORS_KEPT = 256;

/**
 * milliseconds = speed × (c₀ + c₁·draws + c₂·tokens + c₃·kvTokens), all c ≥ 0.
 *
 * The shape c is the least-squares fit of relative errors under exponential forgetting (recursive least squares, kept
 * as normal equations so that the constraint c ≥ 0 can be met by coordinate descent, warm from the step before). The
 * speed follows the machine as a whole, so that a slowdown seen in decode steps alone raises what a prompt is predicted
 * to take too. Linear features do: on the CPU (1, 4, 16, 32 rows: 11, 17, 50, 94 ms; 256 tokens: 450 ms) and on an H100
 * (1 to 1,024 rows: 4.9 to 33 ms; 2,048 tokens: 61 ms) the best fit is within 20 % everywhere.
 */
export class StepCostModel {
  /** [FEATURES, FEATURES] and [FEATURES]: the normal equations. */
  readonly #normal = new Float64Array(FEATURES * FEATURES);
  readonly #target = new Float64Array(FEATURES);
  readonly #shape = new Float64Array(FEATURES);
  readonly #x = new Float64Array(FEATURES);
  /** Relative errors of the latest predictions, a ring. */
  readonly #errors = new Float64Array(ERRORS_KEPT);
  #errorCount = 0;
  #steps = 0;
  #speed = 1;

  /** Milliseconds of a step of this shape; null before there is anything to go by. */
  predict(features: StepFeatures): number | null {
    if (this.#steps < FIRST_PREDICTION) return null;
    this.#load(features);
    return this.#predictLoaded();
  }

  /** A step of this shape took `ms`. */
  observe(features: StepFeatures, ms: number): void {
    if (!Number.isFinite(ms) || ms <= 0) return;
    this.#load(features);
    let seen = ms;
    if (this.#steps >= FIRST_PREDICTION) {
      const predicted = this.#predictLoaded();
      this.#errors[this.#errorCount++ % ERRORS_KEPT] = Math.abs(predicted - ms) / ms;
      if (this.#steps >= WARM_UP && predicted > 0) {
        seen = clamp(ms, predicted / OUTLIER, predicted * OUTLIER);
        this.#speed *= Math.exp(SPEED_GAIN * clamp(Math.log(seen / predicted), -MAX_SPEED_ERROR, MAX_SPEED_ERROR));
      }
    }
    this.#steps++;
    this.#learn(seen / this.#speed);
  }

  /** Median of |predicted − measured| / measured over the last steps, each predicted before it was seen. */
  medianError(): number | null {
    if (this.#errorCount === 0) return null;
    const sorted = this.#errors.slice(0, Math.min(this.#errorCount, ERRORS_KEPT)).sort();
    return sorted[sorted.length >> 1] ?? null;
  }

  /** Null before there is a prediction. */
  coefficients(): StepCoefficients | null {
    if (this.#steps < FIRST_PREDICTION) return null;
    const [tokenMs = 0, kvTokenMs = 0, constantMs = 0, drawMs = 0] = this.#shape.map((each) => each * this.#speed);
    return { constantMs, drawMs, tokenMs, kvTokenMs };
  }

  /**
   * The order is that of the descent: what cannot be told apart yet is laid to the tokens, so that the first prompt
   * after decode steps alone is thought too long and not too short. Draws come last: while they are thought cheap,
   * drafts are tried, and the steps that verify them tell what draws cost.
   */
  #load({ tokens, draws, kvTokens }: StepFeatures): void {
    const x = this.#x;
    x[0] = tokens;
    x[1] = kvTokens;
    x[2] = 1;
    x[3] = draws;
  }

  #predictLoaded(): number {
    let sum = 0;
    for (let i = 0; i < FEATURES; i++) sum += (this.#shape[i] ?? 0) * (this.#x[i] ?? 0);
    return sum * this.#speed;
  }

  /** Dividing both sides by `ms` makes every error a relative one. */
  #learn(ms: number): void {
    const [x, normal, target] = [this.#x, this.#normal, this.#target];
    const weight = 1 / ms;
    for (let i = 0; i < FEATURES; i++) {
      const scaled = (x[i] ?? 0) * weight;
      target[i] = FORGETTING * (target[i] ?? 0) + scaled;
      for (let j = 0; j < FEATURES; j++) {
        const at = i * FEATURES + j;
        normal[at] = FORGETTING * (normal[at] ?? 0) + scaled * (x[j] ?? 0) * weight;
      }
    }
    for (let sweep = 0; sweep < SWEEPS; sweep++) this.#descend();
  }

  /** Each coefficient in turn to its best value ≥ 0 while the others stand still. */
  #descend(): void {
    const [normal, shape] = [this.#normal, this.#shape];
    for (let i = 0; i < FEATURES; i++) {
      const curvature = normal[i * FEATURES + i] ?? 0;
      if (curvature < 1e-12) continue;
      let residual = this.#target[i] ?? 0;
      for (let j = 0; j < FEATURES; j++) residual -= (normal[i * FEATURES + j] ?? 0) * (shape[j] ?? 0);
      shape[i] = Math.max(0, (shape[i] ?? 0) + residual / curvature);
    }
  }
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
