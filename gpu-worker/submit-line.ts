/** Submits wait in line, one per turn of the event loop: tokenizing a burst delays no frame, ack or cancel. Knows no NATS. */
import type { Submit, SubmitReply } from '../shared/protocol.ts';
import { engineId } from './requests.ts';

type Answer = (reply: SubmitReply) => void;

interface Waiting {
  readonly submit: Submit;
  /** Whoever asked for this attempt: doubled submits share one turn and one reply. */
  readonly answers: Answer[];
}

export class SubmitLine {
  readonly #serve: (submit: Submit) => SubmitReply;
  /** In order of arrival, by engine id. */
  readonly #line = new Map<string, Waiting>();

  constructor(serve: (submit: Submit) => SubmitReply) {
    this.#serve = serve;
  }

  get length(): number {
    return this.#line.size;
  }

  /** True when this attempt stands in line already: `answer` joins it. */
  join(submit: Submit, answer: Answer): boolean {
    const same = this.#line.get(engineId(submit));
    same?.answers.push(answer);
    return same !== undefined;
  }

  push(submit: Submit, answer: Answer): void {
    this.#line.set(engineId(submit), { submit, answers: [answer] });
    if (this.#line.size === 1) setImmediate(() => this.#serveNext());
  }

  /** Takes those that `which` picks out of the line with this reply; false when there are none. */
  dismiss(which: (submit: Submit) => boolean, reply: SubmitReply): boolean {
    const picked = [...this.#line.values()].filter(({ submit }) => which(submit));
    for (const { submit, answers } of picked) {
      this.#line.delete(engineId(submit));
      for (const answer of answers) answer(reply);
    }
    return picked.length > 0;
  }

  #serveNext(): void {
    const next = this.#line.entries().next().value;
    if (next === undefined) return;
    const [key, { submit, answers }] = next;
    const reply = this.#serve(submit);
    this.#line.delete(key);
    for (const answer of answers) answer(reply);
    if (this.#line.size > 0) setImmediate(() => this.#serveNext());
  }
}
