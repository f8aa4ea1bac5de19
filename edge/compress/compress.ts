/** The one entry point of prompt compression: messages → fewer bytes of them. Pure; knows no HTTP, no key and no tokenizer. */
import type { ChatMessage } from '../../shared/protocol.ts';
import { utf8Bytes } from './codes.ts';
import { ownWords } from './own-words.ts';
import { quoteHashOf } from './quotes.ts';
import { holdsReference, RepeatIndex } from './repeats.ts';
import { holdsGap } from './gaps.ts';
import { affordable } from './rests.ts';
import { shorten, type Shortened } from './shorten.ts';
import { savedTokens } from './saved-tokens.ts';
import { joinUnits, parseUnits, readText, type Unit } from './units.ts';
import type { Written } from './written.ts';

export interface CompressionOptions {
  /**
   * `lossless`: canonical blanks and JSON, and exact repeats as references; `lossy`: sentences of the user's context go
   * as well, and what is sent again refers to what stands above of it, with what its question needs of the rest. A
   * system prompt before any of that has the same form in both, so that the prefix cache serves both.
   */
  readonly mode: 'off' | 'lossless' | 'lossy';
  /** In lossy mode: share of the droppable context that stays at least, MIN_RATE to 1. Droppable is what nothing protects. */
  readonly rate: number;
}

export interface Compression {
  /** A message that did not change is the same object. */
  readonly messages: readonly ChatMessage[];
  /** Of content, in UTF-8. */
  readonly savedBytes: number;
  /** By kinds of text (`saved-tokens.ts`); only the worker, which has the tokenizer, knows better. */
  readonly savedTokensEstimate: number;
  /** Repeats that a reference stands for. */
  readonly references: number;
  readonly droppedSentences: number;
}

export const MIN_RATE = 0.2;

/**
 * Each message's result depends on it and those before it alone, so a conversation that grows keeps its prefix byte for
 * byte; compressing a result again with the same options changes nothing. The assistant's messages are left as the model
 * wrote them: their tokens are in its prefix cache. Throws RangeError for a rate out of range.
 */
export function compressMessages(messages: readonly ChatMessage[], options: CompressionOptions): Compression {
  if (options.mode === 'lossy' && !(options.rate >= MIN_RATE && options.rate <= 1)) {
    throw new RangeError(`rate is not from ${MIN_RATE} to 1`);
  }
  const none = { messages, savedBytes: 0, savedTokensEstimate: 0, references: 0, droppedSentences: 0 };
  if (options.mode === 'off') return none;
  const compressor = new Compressor(options);
  const compressed = messages.map((message) => compressor.next(message));
  const { savedBytes, references, droppedSentences } = compressor;
  const savedTokensEstimate = Math.round(compressor.savedTokens);
  return { messages: compressed, savedBytes, savedTokensEstimate, references, droppedSentences };
}

interface Outcome {
  /** As the message was read, and what is sent of it. */
  readonly units: readonly Unit[];
  readonly sent: readonly Written[];
  readonly references: number;
  readonly shortened: Shortened | null;
}

/** A conversation so far. All that later messages see is what an output says when it is read again. */
class Compressor {
  savedBytes = 0;
  savedTokens = 0;
  references = 0;
  droppedSentences = 0;
  readonly #options: CompressionOptions;
  readonly #repeats = new RepeatIndex();
  /** UTF-8 bytes, at least, that dropped sentences saved so far, less those told later: never less than nothing. */
  #gained = 0;
  /** Contents of user messages since the last known question, and that: most messages have their own. */
  #unread: string[] = [];
  #question: string | null = null;

  constructor(options: CompressionOptions) {
    this.#options = options;
  }

  next(message: ChatMessage): ChatMessage {
    const { role, content } = message;
    const isUser = role === 'user';
    const stays = role === 'assistant' || holdsReference(content);
    const outcome = stays ? null : this.#compress(content, isUser);
    const sent = outcome === null ? content : joinUnits(outcome.sent);
    if (outcome === null) this.#repeats.add(content);
    if (isUser) this.#unread.push(sent);
    if (outcome === null || sent === content) return message;
    const bytes = utf8Bytes(content);
    this.savedBytes += bytes - utf8Bytes(sent);
    const tokens = savedTokens({ ...outcome, droppedChars: outcome.shortened?.gainedChars ?? 0 });
    // Characters of several bytes are about as many tokens more.
    this.savedTokens += tokens * (bytes / content.length);
    this.references += outcome.references;
    this.droppedSentences += outcome.shortened?.droppedSentences ?? 0;
    return { ...message, content: sent };
  }

  /** null: it stays as it is, and no index has it yet. */
  #compress(content: string, isUser: boolean): Outcome | null {
    const read = readText(content);
    const { units } = read;
    if (units.every(({ kind }) => kind === 'blank')) return null;
    const { flags, question } = isUser ? ownWords(units) : NOTHING_OWN;
    const replaced = this.#repeats.replace(read, (i) => flags[i] === true);
    const { references } = replaced;
    const isWanted = this.#options.mode === 'lossy' && isUser && !holdsGap(content);
    const asked = isWanted ? (question ?? this.#lastQuestion()) : null;
    const shorter =
      asked === null
        ? null
        : shorten(replaced.units, read.codes, {
            question: asked,
            rate: this.#options.rate,
            allowance: this.#gained,
            isFixed: (i) => flags[replaced.origins[i] ?? i] === true || replaced.sources.has(i),
          });
    const shortened = shorter === null || isMistakable(shorter.units, replaced.named) ? null : shorter;
    if (shortened === null && references === 0) {
      this.#repeats.commit(replaced);
      return { units, sent: units, references, shortened };
    }
    this.#repeats.rollBack();
    this.#gained += shortened?.gainedChars ?? 0;
    if (shortened !== null && references === 0) {
      return { units, ...this.#withoutNewRepeats(shortened.units, read.codes), shortened };
    }
    const told = affordable(shortened?.units ?? replaced.units, this.#gained);
    this.#gained -= told.bytes;
    this.#repeats.addUnits(told.units, read.codes);
    return { units, sent: told.units, references, shortened };
  }

  /** Of the user's last message with one. */
  #lastQuestion(): string | null {
    while (this.#unread.length > 0) {
      const { question } = ownWords(parseUnits(this.#unread.pop() ?? ''));
      if (question === null) continue;
      this.#question = question;
      this.#unread = [];
    }
    return this.#question;
  }

  /** Lines that equal lines above only since both are shortened become references as well. */
  #withoutNewRepeats(units: readonly Written[], codes: Uint16Array): Pick<Outcome, 'sent' | 'references'> {
    if (this.#repeats.addIfNew(units, codes)) return { sent: units, references: 0 };
    const shortened = readText(joinUnits(units));
    const { flags } = ownWords(shortened.units);
    const replaced = this.#repeats.replaceEqual(shortened, (i) => flags[i] === true);
    this.#repeats.commit(replaced);
    return { sent: replaced.units, references: replaced.references };
  }
}

/** A line may begin and end like one that a reference names only since it is shortened: then none is. */
function isMistakable(units: readonly Written[], named: ReadonlySet<number>): boolean {
  if (named.size === 0) return false;
  return units.some(({ kind, text }) => (kind === 'cut' || kind === 'rest') && named.has(quoteHashOf(text)));
}

const NOTHING_OWN = { flags: [], question: null };
