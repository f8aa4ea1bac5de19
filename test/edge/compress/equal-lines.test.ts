/** Lines of a conversation that are equal, that come to be by shortening, or that come to look so. */
import { expect, test } from 'vitest';
import { compressMessages } from '../../../edge/compress/compress.ts';
import type { ChatMessage } from '../../../shared/protocol.ts';
import { expand } from './expand.ts';

const VALLEY = 'The mill stands by the river in the green valley.';
const FOUNDER = 'It was founded by Clara Voss as a young woman.';
const WALLS = 'The walls are made of grey stone from the hills above.';
const BOATS = 'Boats passed under the bridge in the evening light.';
const BREAD = 'Bread was sold in the yard on market mornings.';
const PAINTERS = 'Many painters have shown the building in their work.';
const WHEEL = 'People came from far away to see the great wheel.';
const FIRE = 'In 1712 it burned down in the night.';
/** Stays, since it holds numbers. */
const LONG = `In 1712, when ${VALLEY.slice(0, -1)} no more, Clara Voss, 80 years old, founded it again with her daughter.`;
const QUESTION = 'Who founded the mill?';

const user = (...lines: readonly string[]): ChatMessage => {
  return { role: 'user', content: `Context:\n${lines.join('\n')}\n\n${QUESTION}` };
};

/** Contents; compressed again they are the same, and each reference names one line. */
function sentOf(messages: readonly ChatMessage[], rate: number): readonly string[] {
  const { messages: once } = compressMessages(messages, { mode: 'lossy', rate });
  const { messages: again } = compressMessages(once, { mode: 'lossy', rate });
  expect(again).toEqual(once);
  expand(once, messages);
  return once.map(({ content }) => content);
}

test('a line that equals one above only since both were shortened becomes a reference', () => {
  const lines = [WHEEL, PAINTERS].map((other) => [FOUNDER, LONG, other, BOATS, BREAD, LONG].join(' '));
  const [first = '', second = ''] = sentOf(
    lines.map((line) => user(line)),
    0.2,
  );
  expect(first).toContain(`${LONG} … ${LONG}`);
  expect(second).toContain('[same text as above: the line "It was founded by Clara Voss');
});

test('a line that is sent again in the form that it was shortened to becomes a reference', () => {
  const line = [FOUNDER, VALLEY, PAINTERS, BOATS, BREAD, WALLS, WHEEL].join(' ');
  const short = sentOf([user(line)], 0.7)[0]?.split('\n')[1] ?? '';
  expect(short).toMatch(/…$/);
  const [, second = ''] = sentOf([user(line), user(short)], 0.7);
  expect(second).toContain('[same text as above: the line "It was founded by Clara Voss');
});

test('no reference names what a reference before it leaves out: it may not be told', () => {
  const left = [BREAD, PAINTERS, BOATS, WHEEL, WALLS].join(' ');
  const lines = [[FOUNDER, LONG, LONG, BOATS].join(' '), left];
  const [first = '', second = ''] = sentOf(
    [user(...lines), { role: 'system', content: `${lines.join('\n')}\n\n${left}` }],
    0.2,
  );
  expect(first).toContain(`${BOATS}\n…\n`);
  expect(second).toMatch(/^\[same text as above: .*\]\n\n/);
  expect(second.endsWith(left)).toBe(true);
});

test('a line that begins and ends like one that a reference below it names is not shortened', () => {
  const line = [FOUNDER, BOATS, BREAD, PAINTERS, FIRE].join(' ');
  const next = [VALLEY, WALLS, WHEEL].join(' ');
  const system: ChatMessage = { role: 'system', content: `${line}\n${next}` };
  const [, second = ''] = sentOf([system, user(line, '', line, next)], 0.5);
  expect(second).toContain(`${line}\n\n[same text as above: the 2 lines from "It was founded`);
});
