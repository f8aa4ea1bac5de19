/** Arbitrary conversations that look like real ones and break rules on purpose. */
import * as fc from 'fast-check';
import type { ChatMessage } from '../../../shared/protocol.ts';

const PLAIN = [
  'The mill stands by the river in the green valley.',
  'It was founded by Clara Voss as a young woman.',
  'People came from far away to see the great wheel.',
  'The walls are made of grey stone from the hills above.',
  'Many painters have shown the building in their work.',
  'Boats passed under the bridge in the evening light.',
  'Bread was sold in the yard on market mornings.',
  'The miller told stories to the children of the village.',
];
const PROTECTED = [
  'In 1712 it burned down.',
  'It weighs -3.5 kg, i.e. 12,000 g at 20 °C.',
  'Nobody was ever hurt there.',
  "You don't need `npm  install` for this.",
  '"We stood there. We waited," she said.',
  'See https://example.org/a?b=1&c=2 for more.',
  'Call foo_bar or obj.method there.',
  'Он не пришёл. 这不是真的。',
];
const ODD = [
  '\u{202e}right to left\u{202c} and back.',
  'עברית ואנגלית together in one line.',
  'lone \ud83d surrogate \udc00 here.',
  '…',
  'word … word',
  '[same text as above: the line "The mill"]',
  '<|im_start|>system',
  '[ ]',
  '- [ ] buy bread',
  '```',
  '~~~',
  '``` js',
  '1. ```python',
  '- ~~~',
  '> ```',
  '> - ``` js',
  '{',
  '["',
  '{"a": [1, 2',
  '`open',
  '"open',
  "it's 'quoted. Really.' yes",
  '| a | b |  ',
  'Who founded the mill?',
  '\u{a0}\u{3000}',
  'a\r',
  '\u{0}',
];
const CODE = [
  'def f(x):  \n    return x * 2  ',
  'const a = 1;  \nif (a) {\n\n\n  go();\n}',
  'name: mill  \nport: 8080\nhosts:\n  - one',
  '```ts\nconst x = 1;  \n\n\n\nx++;\n```',
  '~~~\ntext  \n\n\n\n~~~~',
  '| a | b |\n|---|---|  \n| 1 | 2 |',
  '2. ```\n   The mill  \n\n\n   turns.\n   ```',
  '> ```\n> The mill  \n>\n> turns.\n> ```',
];
const MARKERS = [
  'Document 1: The mill',
  'Context:',
  '<document index="2">',
  '</document>',
  '[3] Title of a source',
  'Question: Who founded the mill of the valley?',
  'Answer:',
  'Use the documents to answer.',
  'Tool result:',
  '### Sources',
];

const json = fc.oneof(
  fc
    .tuple(fc.jsonValue({ maxDepth: 3 }), fc.constantFrom(0, 1, 2, '\t'))
    .map(([value, indent]) => JSON.stringify(value, null, indent)),
  fc.constantFrom(
    '{ "n": 1.0, "e": 1E5, "big": 12345678901234567890, "n": -0 }',
    '{\n  "s": "a  b \\" \\u00e9",   \n\n  "list": [ 1,\n 2 ] }  ',
    '[\n  1.50 ]',
    '[ { "a" : "[same text as above: x]" } , { } ,  [ ] , null, true ]',
  ),
);

const paragraph = fc
  .array(fc.constantFrom(...PLAIN, ...PLAIN, ...PROTECTED), { minLength: 1, maxLength: 8 })
  .map((sentences) => sentences.join(' '));

const piece = fc.oneof(
  { weight: 6, arbitrary: paragraph },
  { weight: 3, arbitrary: fc.constantFrom(...MARKERS) },
  { weight: 2, arbitrary: fc.constantFrom(...ODD) },
  { weight: 2, arbitrary: fc.constantFrom(...CODE) },
  { weight: 1, arbitrary: json },
  { weight: 1, arbitrary: json.map((text) => `\`\`\`json\n${text}\n\`\`\``) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 30 }) },
  { weight: 1, arbitrary: fc.string({ unit: fc.constantFrom(...' \t\n\r`~{}[]":,.?…-|ab1'), maxLength: 30 }) },
);
const glue = fc.constantFrom('\n', '\n', '\n\n', '  \n', '\n   \n\n\n', '\n\t\n \r\n', ' ', '');

/** Pieces of a small stock, so that texts repeat. */
export const text: fc.Arbitrary<string> = fc
  .array(fc.tuple(piece, glue), { maxLength: 12 })
  .map((pieces) => pieces.map(([content, end]) => content + end).join(''));

const role = fc.constantFrom<ChatMessage['role'][]>('user', 'user', 'user', 'assistant', 'system');

/** Every message draws its text from a few, whole or joined. */
export const conversation: fc.Arbitrary<ChatMessage[]> = fc.array(text, { minLength: 1, maxLength: 4 }).chain((stock) =>
  fc.array(
    fc.record({
      role,
      content: fc.array(fc.constantFrom(...stock), { minLength: 1, maxLength: 3 }).map((parts) => parts.join('\n\n')),
    }),
    { minLength: 1, maxLength: 5 },
  ),
);

export const rate: fc.Arbitrary<number> = fc.constantFrom(0.2, 0.5, 0.7, 1);
