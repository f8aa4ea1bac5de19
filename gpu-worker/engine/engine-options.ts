/** What the engine thread needs to open a model and run it. Structured-cloneable. */

export interface EngineOptions {
  /** A Hugging Face folder. */
  readonly folder: string;
  readonly quantization: 'none' | 'int8' | 'int4';
  /** Sequences that run at once. */
  readonly maxNumSeqs: number;
  /** Longest prompt + output, tokens; lowered to what the model was made for. */
  readonly maxModelLen: number;
  /** Token budget of a step. */
  readonly maxNumBatchedTokens: number;
  /** Threads inside the model. */
  readonly threads: number;
}
