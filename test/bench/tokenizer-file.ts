/** A byte-level tokenizer of Qwen2.5's size without merges, as tokenizer.json and tokenizer_config.json. Knows no weights. */
import { byteLevelAlphabet } from '../../gpu-worker/text/detokenizer.ts';

const BYTES = 256;
/** Ids of Qwen2.5's tokenizer; those from 151,646 to the end of the padded lm head have no bytes. */
const SPECIAL = { '<|endoftext|>': 151_643, '<|im_start|>': 151_644, '<|im_end|>': 151_645 } as const;
export const END_OF_TURN = SPECIAL['<|im_end|>'];

const CHAT_TEMPLATE =
  "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/**
 * Text is encoded as single bytes; the other ids are made-up words, which only answers hold. So almost every token
 * that a random model draws shows as text, as with a real one: without text a client cannot see it arrive.
 */
export function tokenizerFiles(): Readonly<Record<'tokenizer.json' | 'tokenizer_config.json', string>> {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const tokenizer = {
    ...{ version: '1.0', truncation: null, padding: null, normalizer: null, post_processor: null },
    added_tokens: Object.entries(SPECIAL).map(([content, id]) => ({ id, content, ...flags })),
    pre_tokenizer: byteLevel,
    decoder: byteLevel,
    model: {
      ...{ type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null },
      ...{ fuse_unk: false, byte_fallback: false, vocab: Object.fromEntries(vocabulary()), merges: [] },
    },
  };
  const config = {
    ...{ tokenizer_class: 'PreTrainedTokenizerFast', eos_token: '<|im_end|>', chat_template: CHAT_TEMPLATE },
  };
  return { 'tokenizer.json': JSON.stringify(tokenizer), 'tokenizer_config.json': JSON.stringify(config) };
}

function* vocabulary(): Generator<readonly [token: string, id: number]> {
  for (const [byte, char] of byteLevelAlphabet().entries()) yield [char, byte];
  // GPT-2's stand-in for a space begins a word.
  for (let id = BYTES; id < SPECIAL['<|endoftext|>']; id++) yield [`\u0120${letters(id - BYTES)}`, id];
}

/** 0 → a … 25 → z, 26 → aa, 27 → ab …: every number its own word. */
function letters(number: number): string {
  let word = '';
  for (let left = number + 1; left > 0; left = Math.floor((left - 1) / 26)) {
    word = String.fromCodePoint(0x61 + ((left - 1) % 26)) + word;
  }
  return word;
}
