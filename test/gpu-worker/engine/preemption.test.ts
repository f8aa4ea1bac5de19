import { describe, expect, test } from 'vitest';
import { chooseVictim, precedes } from '../../../gpu-worker/engine/preemption.ts';

const seq = (priority: number, arrival: number) => ({ priority, arrival });

describe('chooseVictim', () => {
  test('lowest priority first, then latest arrival', () => {
    const [a, b, c, d] = [seq(0, 1), seq(0, 2), seq(-1, 0), seq(-1, 3)];
    expect(chooseVictim([a, b, c, d], a)).toBe(d);
    expect(chooseVictim([a, b, c], a)).toBe(c);
    expect(chooseVictim([a, b], a)).toBe(b);
  });

  test('nobody of higher precedence gives way: the needy one itself does', () => {
    const [first, second, needy] = [seq(1, 9), seq(0, 1), seq(0, 2)];
    expect(chooseVictim([first, second, needy], needy)).toBe(needy);
    expect(chooseVictim([needy, second, first], needy)).toBe(needy);
  });

  test('null when all others come first and the needy one does not run', () => {
    expect(chooseVictim([seq(1, 5), seq(0, 1)], seq(0, 2))).toBeNull();
    expect(chooseVictim([], seq(0, 2))).toBeNull();
  });

  test('the victim is the last in precedence of those who may go, whatever the order of the running', () => {
    const all = [0, 1, 2].flatMap((priority) => [0, 1, 2].map((k) => seq(priority, 3 * k + priority)));
    for (const needy of all) {
      for (let turn = 0; turn < all.length; turn++) {
        const running = [...all.slice(turn), ...all.slice(0, turn)];
        const victim = chooseVictim(running, needy);
        const may = all.filter((each) => each === needy || precedes(needy, each));
        expect(may).toContain(victim);
        expect(may.filter((each) => each !== victim && victim !== null && precedes(victim, each))).toEqual([]);
      }
    }
  });
});
