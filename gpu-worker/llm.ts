/** Millrace as a library: a model in this process, prompts in, outputs out. Knows no bus and no files but the model's. */
import { MillraceError } from '../shared/errors.ts';
import type { ChatMessage } from '../shared/protocol.ts';
import {
  ConfigError,
  disableOrtTelemetry,
  engineConfigOf,
  loweredLength,
  unknownModel,
  type EngineConfig,
} from './config.ts';
import { EngineClient } from './engine/engine-client.ts';
import type { EngineInfo, LoadingProgress } from './engine/messages.ts';
import type { Mode } from './engine/modes.ts';
import { Batch } from './llm/batch.ts';
import { DeltaStream } from './llm/delta-stream.ts';
import { EngineRouter, type Totals } from './llm/engine-router.ts';
import type { CompletionOutput, RequestOutput, StreamDelta } from './llm/outputs.ts';
import type { GenerationParams } from './llm/params.ts';
import { listOfPrompts, readPrompt, type PromptInput } from './llm/prompts.ts';
import { paramsOf, readRequest, readTemplateValues, type LLMRequest } from './llm/read-request.ts';
import { RequestMaker, type ReadRequest } from './llm/request-maker.ts';
import { readModelConfig } from './model/config.ts';
import { readGenerationDefaults } from './model/generation-config.ts';
import { modelFolder, modelPlace } from './model/hub.ts';
import type { DownloadProgress } from './model/hub.ts';
import { PromptEncoder } from './text/prompt.ts';

/** vLLM's engine arguments in camel case; what is left out is as for `millrace generate` (its --help has the defaults). */
export interface LoadOptions {
  /** A Hugging Face folder, or owner/name of a model on the hub; by default the embedded model. */
  readonly model?: string;
  /** Branch, tag or commit of a model on the hub; by default main. */
  readonly revision?: string;
  readonly quantization?: EngineConfig['quantization'];
  /** Weights that share a scale. */
  readonly quantizationBlockSize?: EngineConfig['quantizationBlockSize'];
  /** Without zero points. */
  readonly quantizationSymmetric?: boolean;
  /** Folder that keeps quantized weights for the next load; 'none': do not keep them. */
  readonly quantizationCache?: string;
  /** Layers to drop, those that cost least on the calibration texts. */
  readonly pruneLayers?: number;
  /** A text file, or .jsonl with a text or chat a line; by default calibration.jsonl in the model's folder. */
  readonly pruneCalibration?: string;
  /** Longest prompt + output, tokens; lowered to what the model was made for. */
  readonly maxModelLen?: number;
  /** Sequences that run at once; 0 or left out = the device's default. */
  readonly maxNumSeqs?: number;
  /** Token budget of a step; 0 or left out = the device's default. */
  readonly maxNumBatchedTokens?: number;
  /** Threads inside the model. */
  readonly threads?: number;
  /** By default a GPU where one can be used. */
  readonly device?: EngineConfig['device'];
  readonly gpu?: number;
  readonly dtype?: EngineConfig['dtype'];
  /** Number format of keys and values; by default the device's own choice. */
  readonly kvCacheDtype?: EngineConfig['kvCacheDtype'];
  /** Of a GPU's memory set aside for CUDA graphs; 0 = none. */
  readonly cudaGraphMemoryMib?: number;
  readonly mode?: Mode;
  /** Milliseconds between the tokens of a running stream, where the mode keeps such an objective. */
  readonly itlMs?: number;
  readonly enablePrefixCaching?: boolean;
  readonly speculation?: EngineConfig['policy']['speculation'];
  /** Share of the memory for weights and KV cache, above 0 to 1. */
  readonly memoryUtilization?: number;
  /** Tokens of KV cache; by default what the memory allows. */
  readonly kvCacheTokens?: number;
  readonly onProgress?: (progress: LoadProgress) => void;
}

/** download: files come from the hub, in bytes; the engine's work, as it counts it; ready: requests run. */
export interface LoadProgress {
  readonly stage: 'download' | LoadingProgress['work'] | 'ready';
  /** 0 of 0 while nothing is counted, as when rounded weights come from the cache. */
  readonly done: number;
  readonly total: number;
  /** Since the load began, milliseconds. */
  readonly elapsedMs: number;
}

export interface CallOptions {
  /** Cancels what runs; the iterator throws its reason. */
  readonly signal?: AbortSignal | undefined;
  /** For the chat template, beside the messages (vLLM's chat_template_kwargs). */
  readonly templateValues?: ReadRequest['templateValues'] | undefined;
}

/** How request number `index` of `LLM.run` ended. */
export type LLMResult =
  | ({ readonly type: 'done' } & Omit<RequestOutput, 'prompt'>)
  | { readonly type: 'error'; readonly index: number; readonly error: MillraceError };

/** While it loads, `onProgress` hears of it so often. */
const PROGRESS_MS = 250;

export class LLM implements AsyncDisposable {
  /** The engine as it runs: limits, vocabulary, KV layout. */
  readonly info: EngineInfo;
  readonly #router: EngineRouter;
  readonly #maker: RequestMaker;

  /** Throws a ConfigError that names the option, or the reason why the model cannot be opened. */
  static async load({ onProgress, ...options }: LoadOptions = {}): Promise<LLM> {
    return LLM.open(engineConfigOf(options), onProgress);
  }

  /** The same from settings that are checked already. */
  static async open(config: EngineConfig, onProgress: (progress: LoadProgress) => void = () => {}): Promise<LLM> {
    const { model, revision, hub } = config;
    if (modelPlace(model) === null) throw unknownModel('model', model);
    disableOrtTelemetry();
    const begin = performance.now();
    const report = (stage: LoadProgress['stage'], done: number, total: number) =>
      onProgress({ stage, done, total, elapsedMs: performance.now() - begin });
    const onBytes = ({ doneBytes, totalBytes }: DownloadProgress) => report('download', doneBytes, totalBytes);
    const onNotice = (message: string) => process.emitWarning(message);
    const folder = await modelFolder({ id: model, revision }, { settings: hub, onProgress: onBytes, onNotice });
    let loading: LoadingProgress = { work: 'weights', done: 0, total: 0 };
    const reportLoading = () => report(loading.work, loading.done, loading.total);
    reportLoading();
    const timer = setInterval(reportLoading, PROGRESS_MS);
    let engine: EngineClient | null = null;
    try {
      const starting = EngineClient.start({ ...config, folder }, (progress) => (loading = progress));
      // While the engine's thread reads the weights.
      const encoder = new Promise<PromptEncoder>((resolve) => {
        resolve(new PromptEncoder(folder, readModelConfig(folder).vocabSize));
      });
      // Either may fail; the engine is ended when only the other does.
      encoder.catch(() => {});
      engine = await starting;
      const lowered = loweredLength(config.maxModelLen, engine.info.maxModelLen);
      if (lowered !== null) onNotice(lowered);
      const llm = new LLM(engine, new RequestMaker(engine.info, await encoder, readGenerationDefaults(folder)));
      report('ready', 0, 0);
      return llm;
    } catch (error) {
      await engine?.shutdown();
      throw error;
    } finally {
      clearInterval(timer);
    }
  }

  private constructor(engine: EngineClient, maker: RequestMaker) {
    this.info = engine.info;
    this.#router = new EngineRouter(engine);
    this.#maker = maker;
  }

  /** Tokens computed since the load, those of unfinished requests among them. */
  get totals(): Totals {
    return this.#router.totals;
  }

  /**
   * Yields each prompt's output as it ends, with its index: one `params` for all, or one for each. Throws here, before
   * anything runs, when a prompt or parameter cannot be used; the iterator throws when a prompt does not fit the model.
   */
  generate(
    prompts: PromptInput | readonly PromptInput[],
    params: GenerationParams | readonly GenerationParams[] = {},
    { signal, templateValues = {} }: CallOptions = {},
  ): AsyncGenerator<RequestOutput, void, undefined> {
    const inputs = listOfPrompts(prompts);
    const each = paramsOf(params, inputs.length);
    const values = readTemplateValues(templateValues);
    const requests = inputs.map((input, i): ReadRequest => {
      return { prompt: readPrompt(input, `prompts[${i}]`), ...each(i), templateValues: values };
    });
    return this.#outputs(inputs, requests, signal);
  }

  /** `generate` for conversations: one list of messages, or several. */
  chat(
    conversations: readonly ChatMessage[] | readonly (readonly ChatMessage[])[],
    params: GenerationParams | readonly GenerationParams[] = {},
    options: CallOptions = {},
  ): AsyncGenerator<RequestOutput, void, undefined> {
    return this.generate(conversations, params, options);
  }

  /** One request's output while it is generated. Leaving the loop cancels it. */
  stream(
    prompt: PromptInput,
    params: GenerationParams = {},
    { signal, templateValues }: CallOptions = {},
  ): AsyncGenerator<StreamDelta, void, undefined> {
    const request = readRequest({ prompt, params, templateValues });
    return new DeltaStream().deltas(this.#router, () => this.#maker.make(request), signal);
  }

  /**
   * `generate` for requests that come one at a time, each with its own parameters, and are read only a little ahead of
   * the engine: what cannot run is a result of its own and stops no other.
   */
  run(
    source: AsyncIterable<LLMRequest> | Iterable<LLMRequest>,
    { signal }: Pick<CallOptions, 'signal'> = {},
  ): AsyncGenerator<LLMResult, void, undefined> {
    const make = (request: LLMRequest) => this.#maker.make(readRequest(request));
    return new Batch({ source, make, ...this.#batchParts(signal) }).results();
  }

  /** Why `run` would refuse this request; null when it would not. Tokenizes it, runs nothing. */
  refusal(request: LLMRequest): MillraceError | null {
    try {
      this.#maker.make(readRequest(request));
      return null;
    } catch (error) {
      if (error instanceof MillraceError) return error;
      throw error;
    }
  }

  /** Ends what runs and frees the model. */
  async dispose(): Promise<void> {
    await this.#router.shutdown();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async *#outputs(
    inputs: readonly PromptInput[],
    source: readonly ReadRequest[],
    signal: AbortSignal | undefined,
  ): AsyncGenerator<RequestOutput, void, undefined> {
    const make = (request: ReadRequest) => this.#maker.make(request);
    for await (const result of new Batch({ source, make, ...this.#batchParts(signal) }).results()) {
      if (result.type === 'error') throw located(result.error, result.index);
      const { index, outputs, usage, timings } = result;
      yield { index, prompt: inputs[index] ?? '', outputs, usage, timings };
    }
  }

  /** As many again as run at once wait at the engine: enough that a step never lacks a sequence. */
  #batchParts(signal: AbortSignal | undefined) {
    return { router: this.#router, lookAhead: 2 * this.info.maxNumSeqs, signal };
  }
}

function located({ code, message, param, cause }: MillraceError, index: number): MillraceError {
  const at = `prompts[${index}]`;
  return new MillraceError(code, `\`${at}\`: ${message}`, { param: param ?? at, cause });
}

// The package has this one entry.
export { ConfigError, MillraceError };
export type { CompletionOutput, GenerationParams, LLMRequest, PromptInput, RequestOutput, StreamDelta };
