/** Texts and chats → token ids, and which of them a model is judged by. Runs no model. */
import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { PromptEncoder } from '../text/prompt.ts';
import { Tokenizer } from '../text/tokenizer.ts';

export interface ScoredText {
  readonly ids: Int32Array;
  /** Tokens before the first that counts, at least 1: nothing says how likely a first token is. */
  readonly given: number;
}

/** Tokens of a text that run at once. */
export interface ScoredRun {
  /** Position of the first. */
  readonly start: number;
  readonly ids: Int32Array;
  /** What the run's last tokens are to foretell, one each. */
  readonly targets: Int32Array;
}

/** `most` tokens at once; the last token foretells nothing that is known. */
export function scoredRuns({ ids, given }: ScoredText, most: number): readonly ScoredRun[] {
  const runs: ScoredRun[] = [];
  for (let start = 0; start < ids.length - 1; start += most) {
    const end = Math.min(ids.length - 1, start + most);
    const count = Math.min(end - start, Math.max(0, end - (given - 1)));
    runs.push({ start, ids: ids.subarray(start, end), targets: ids.subarray(end - count + 1, end + 1) });
  }
  return runs;
}

const LINE_FORMS =
  'give a JSON string, {"text": "…"}, {"prompt": "…"} or {"messages": [{"role": "user", "content": "…"}, …]}';
/** What a line of a text file is: as `millrace generate` takes them, and as chats for training are written. */
const lineSchema = v.union(
  [
    v.string(),
    v.looseObject({ text: v.string() }),
    v.looseObject({ prompt: v.string() }),
    v.looseObject({
      messages: v.pipe(
        v.array(v.looseObject({ role: v.picklist(['system', 'user', 'assistant']), content: v.string() })),
        v.minLength(1),
      ),
    }),
  ],
  LINE_FORMS,
);
type Line = v.InferOutput<typeof lineSchema>;

export interface ReadTextsOptions {
  /** The Hugging Face folder whose tokenizer and chat template are used. */
  readonly model: string;
  readonly vocabSize: number;
  /** Ends what the model says in a chat; null = nothing does. */
  readonly eosId: number | null;
  readonly maxTokens: number;
  /** What becomes of longer ones: the rest does not count, or is further texts. */
  readonly longTexts: 'cut' | 'split';
}

/**
 * A .jsonl file, a value a line: "text", {"text": …}, {"prompt": …} or {"messages": […]}; anything else is one text.
 * Of a chat the tokens that the model would say count, of a text all but the first. Throws with the line that cannot
 * be read.
 */
export function readTexts(path: string, options: ReadTextsOptions): readonly ScoredText[] {
  // Editors may put a byte order mark before the first line.
  const file = readFileSync(path, 'utf8').replace(/^\uFEFF/, '');
  const reader = new TextReader(options);
  if (!path.endsWith('.jsonl')) return reader.read({ text: file });
  return file.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return [];
    try {
      return reader.read(v.parse(lineSchema, JSON.parse(line)));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`${path}:${i + 1}: not a text to judge a model by: ${reason}`, { cause: error });
    }
  });
}

class TextReader {
  readonly #options: ReadTextsOptions;
  readonly #tokenizer: Tokenizer;
  readonly #prompts: PromptEncoder;
  /** What the model puts before a text (BOS), if anything. */
  readonly #begin: readonly number[];

  constructor(options: ReadTextsOptions) {
    this.#options = options;
    this.#tokenizer = new Tokenizer(options.model);
    this.#prompts = new PromptEncoder(options.model, options.vocabSize);
    const [bare = -1] = this.#tokenizer.encode('a', { begin: false });
    const begun = this.#tokenizer.encode('a', { begin: true });
    this.#begin = begun.slice(0, Math.max(0, begun.indexOf(bare)));
  }

  read(line: Line): readonly ScoredText[] {
    if (typeof line === 'string') return this.#scored(this.#tokenizer.encode(line, { begin: true }), 1);
    if ('text' in line) return this.read(String(line.text));
    if ('prompt' in line) return this.read(String(line.prompt));
    const { messages } = line;
    return messages.flatMap(({ role, content }, i) => {
      if (role !== 'assistant' || i === 0) return [];
      const prompt = this.#prompts.encode({ type: 'chat', messages: messages.slice(0, i) });
      const { eosId } = this.#options;
      const said = [...this.#tokenizer.encodePlain(content), ...(eosId === null ? [] : [eosId])];
      return this.#scored([...prompt, ...said], prompt.length);
    });
  }

  #scored(ids: readonly number[], given: number): readonly ScoredText[] {
    const { maxTokens, longTexts, vocabSize } = this.#options;
    const first = Int32Array.from(ids.slice(0, maxTokens));
    const texts = [{ ids: first, given }, ...(longTexts === 'cut' ? [] : this.#rest(ids, given))];
    for (const text of texts) {
      const beyond = text.ids.find((id) => id < 0 || id >= vocabSize);
      if (beyond !== undefined) throw new RangeError(`token ${beyond} is not among the model's, 0 to ${vocabSize - 1}`);
    }
    return texts.filter((text) => text.ids.length > text.given);
  }

  /** What comes after the first `maxTokens`, each token in one text, where it counts unless it is given. */
  #rest(ids: readonly number[], given: number): readonly ScoredText[] {
    const { maxTokens } = this.#options;
    const texts: ScoredText[] = [];
    for (let from = maxTokens; from < ids.length;) {
      const before = this.#begin.length > 0 ? this.#begin : ids.slice(from - 1, from);
      const own = ids.slice(from, from + Math.max(1, maxTokens - before.length));
      texts.push({ ids: Int32Array.from([...before, ...own]), given: before.length + Math.max(0, given - from) });
      from += own.length;
    }
    return texts;
  }
}
