/** The prompts that the scales of a rounded KV cache are measured on, in a model's own tokens. Runs no model. */
import { createHash } from 'node:crypto';
import type { ChatMessage } from '../../shared/protocol.ts';
import type { CalibrationPrompts } from '../model/kv-ranges.ts';
import { MillraceError } from '../../shared/errors.ts';
import { PromptEncoder } from '../text/prompt.ts';

/** Of each prompt, as a first start waits for them: about as long as a prompt of 1,200 tokens takes. */
const PROMPT_TOKENS = 96;

const turn = (...contents: readonly string[]): readonly ChatMessage[] =>
  contents.map((content, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content }));

/** Talk, prose, code, data, figures and several scripts: what makes keys and values large differs by kind. */
const CHATS: readonly (readonly ChatMessage[])[] = [
  turn(
    'What is a tide, and why are there two a day?',
    'A tide is the slow rise and fall of the sea. The Moon pulls more strongly on the near side of the Earth than on ' +
      'its middle, and more on the middle than on the far side, so the water bulges on both sides. As the Earth turns ' +
      'once a day, each coast passes both bulges.',
    'And how does the Sun come into it?',
  ),
  turn('Write a friendly two-line reply that declines an invitation for Friday, because I am travelling.'),
  turn(
    'Erkläre in drei Sätzen, wie eine Wärmepumpe ein Haus heizt.',
    'Eine Wärmepumpe entzieht der Außenluft oder dem Boden Wärme. Ein Verdichter hebt sie auf eine höhere Temperatur. ' +
      'Über Heizkörper oder den Fußboden gibt sie die Wärme an die Räume ab.',
    'Was ändert sich bei Frost?',
  ),
  turn('¿Cuáles son las diferencias entre un río y un canal? Responde con una lista de tres puntos.'),
  turn('请用三句话介绍一下长江，然后说明它为什么对中国的经济很重要。'),
  turn('電車が遅れたとき、上司にどのように連絡すればよいですか。丁寧な例文を二つください。'),
  turn('Почему небо голубое, а закат красный? Ответь просто, для ребёнка десяти лет.'),
  turn('اشرح باختصار كيف تعمل البوصلة ولماذا تشير إلى الشمال.'),
];

const TEXTS: readonly string[] = [
  [
    'def merge(left, right):',
    '    """Merge two sorted lists into one."""',
    '    merged, i, j = [], 0, 0',
    '    while i < len(left) and j < len(right):',
    '        if left[i] <= right[j]:',
    '            merged.append(left[i])',
    '            i += 1',
    '        else:',
    '            merged.append(right[j])',
    '            j += 1',
    '    return merged + left[i:] + right[j:]',
    '',
    'assert merge([1, 4], [2, 3, 9]) == [1, 2, 3, 4, 9]',
  ].join('\n'),
  '{"order": 48213, "items": [{"sku": "A-113", "count": 2, "price": 19.90}, {"sku": "B-7", "count": 1, "price": 4.25}], ' +
    '"paid": true, "note": null, "address": {"street": "12 Mill Lane", "zip": "04109"}}',
  'A train leaves at 09:40 and travels 180 km at 72 km/h; another leaves at 10:10 and needs 1 h 55 min. ' +
    '180 / 72 = 2.5, so the first arrives at 12:10; the second at 12:05. Total: (17 + 25) × 3 = 126; √2 ≈ 1.41421.',
  '<html>\n  <body class="page">\n    <h1>Opening hours</h1>\n    <ul>\n      <li>Mon–Fri: 8–18</li>\n      ' +
    '<li>Sat: 9–13</li>\n    </ul>\n  </body>\n</html>',
  'The mill stood where the stream narrowed, and in dry summers its wheel hung still for weeks. Then the miller mended ' +
    'sacks, oiled the shafts, and listened at night for rain on the slates. When it came he was up before the cock, and ' +
    'by noon the whole valley could hear the stones again, low and even, like a cart that never arrives.',
  'ok ok ok ok ok ok ok ok no no no no !!! ??? ... --- === 0000000000 1111111111 aaaaaaaaaa    \n\n\n\n\t\t\t\t|',
];

export function calibrationPrompts(folder: string, vocabSize: number): CalibrationPrompts {
  const identity = createHash('sha256')
    .update(JSON.stringify([CHATS, TEXTS, PROMPT_TOKENS]))
    .digest('hex')
    .slice(0, 16);
  return { identity, read: () => encodeAll(new PromptEncoder(folder, vocabSize)) };
}

function encodeAll(encoder: PromptEncoder): readonly Int32Array[] {
  const chats = CHATS.map((messages) => encodeChat(encoder, messages));
  const texts = TEXTS.map((text) => encoder.encode({ type: 'text', text }));
  return [...chats, ...texts].map((ids) => ids.subarray(0, PROMPT_TOKENS));
}

/** A model without a chat template reads what was said. */
function encodeChat(encoder: PromptEncoder, messages: readonly ChatMessage[]): Int32Array {
  try {
    return encoder.encode({ type: 'chat', messages: [...messages] });
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    return encoder.encode({ type: 'text', text: messages.map(({ content }) => content).join('\n') });
  }
}
