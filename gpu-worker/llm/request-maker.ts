/** A read request → what the engine takes, by the same rules as a served one. Knows no engine. */
import { MillraceError } from '../../shared/errors.ts';
import type { Prompt, Submit } from '../../shared/protocol.ts';
import type { SamplingParams } from '../../shared/sampling.ts';
import { checkLength, checkTokens, type AdmissionLimits, type AdmissionLoad } from '../admission.ts';
import type { EngineInfo, EngineRequest, Speculation } from '../engine/messages.ts';
import type { GenerationDefaults } from '../model/generation-config.ts';
import { resolveSampling } from '../requests.ts';
import { camelCase, respell } from '../spelling.ts';
import type { PromptEncoder } from '../text/prompt.ts';

/** Checked in itself; not yet against the model. */
export interface ReadRequest {
  readonly prompt: Prompt;
  readonly sampling: SamplingParams;
  readonly speculation: Speculation;
  readonly templateValues: Submit['templateValues'];
}

/** Nobody else waits, and nobody is promised a first token. */
const IDLE: AdmissionLoad = { live: 0, queuedPrefillTokens: 0, prefillTokensPerSecond: null, draining: false };

export class RequestMaker {
  readonly #info: EngineInfo;
  readonly #encoder: PromptEncoder;
  readonly #defaults: GenerationDefaults;
  readonly #limits: AdmissionLimits;

  constructor(info: EngineInfo, encoder: PromptEncoder, defaults: GenerationDefaults) {
    this.#info = info;
    this.#encoder = encoder;
    this.#defaults = defaults;
    const { maxNumSeqs, maxModelLen, kv } = info;
    const unbounded = { maxWaiting: Infinity, maxQueuedPrefillTokens: Infinity, ttftMs: null };
    this.#limits = { maxNumSeqs, maxModelLen, kvTokens: kv.capacityTokens, ...unbounded };
  }

  /** Throws a MillraceError that names the field in camel case. */
  make(request: ReadRequest): Omit<EngineRequest, 'id'> {
    try {
      return this.#make(request);
    } catch (thrown) {
      if (!(thrown instanceof MillraceError)) throw thrown;
      const { code, message, param, cause } = thrown;
      throw new MillraceError(code, respell(message, camelCase), {
        param: param === undefined ? undefined : camelCase(param),
        cause,
      });
    }
  }

  #make({ prompt, sampling, speculation, templateValues }: ReadRequest): Omit<EngineRequest, 'id'> {
    const { n, maxTokens: asked } = sampling;
    const param = prompt.type === 'chat' ? 'messages' : 'prompt';
    checkLength(this.#limits, { fewestTokens: this.#encoder.fewestTokens(prompt), param });
    const promptIds = this.#encoder.encode(prompt, templateValues);
    const { length: promptTokens } = promptIds;
    const maxTokens = checkTokens(this.#limits, IDLE, { promptTokens, maxTokens: asked, n, param });
    const { vocabSize, eosIds } = this.#info;
    return {
      ...{ tenant: 'local', cacheSalt: '', promptIds, generatedIds: [], n, speculation },
      params: resolveSampling(sampling, { defaults: this.#defaults, eosIds, vocabSize }, maxTokens),
      deadlineMs: Infinity,
      priority: 0,
      reasoning: prompt.type === 'chat' ? this.#encoder.reasoning(promptIds) : null,
    };
  }
}
