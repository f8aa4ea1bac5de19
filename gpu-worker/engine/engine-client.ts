/** The main thread's handle on the engine thread: commands in, outputs out. Knows no bus. */
import { Worker } from 'node:worker_threads';
import type { ErrorCode } from '../../shared/errors.ts';
import type { EngineOptions } from './engine-options.ts';
import type { EngineCommand, EngineEvent, EngineInfo, EngineRequest, LoadingProgress } from './messages.ts';
import { StepClock, type LastStep } from './step-clock.ts';

export type OutputsEvent = Extract<EngineEvent, { type: 'outputs' }>;

export class EngineClient {
  readonly info: EngineInfo;
  readonly #thread: Worker;
  readonly #clock: StepClock;
  readonly #outputsListeners: ((event: OutputsEvent) => void)[] = [];
  readonly #fatalListeners: ((message: string) => void)[] = [];
  #ended = false;

  /** Resolves when the model is loaded; rejects with the reason when it cannot be. `onLoading` hears how far it is. */
  static async start(
    options: EngineOptions,
    onLoading: (progress: LoadingProgress) => void = () => {},
  ): Promise<EngineClient> {
    const clock = new StepClock();
    const workerData = { options, clock: clock.memory };
    const thread = new Worker(new URL('./engine-thread.ts', import.meta.url), { workerData, name: 'engine' });
    const info = await new Promise<EngineInfo>((resolve, reject) => {
      thread.on('message', (event: EngineEvent) => {
        if (event.type === 'loading') onLoading(event);
        else if (event.type === 'ready') resolve(event.info);
        else reject(new Error(event.type === 'fatal' ? event.message : 'the engine sent outputs before it was ready'));
      });
      thread.once('error', reject);
      thread.once('exit', (code) => reject(new Error(`the engine thread ended with code ${code} while loading`)));
    });
    // By name: Node keeps listeners of its own on the thread.
    for (const event of ['message', 'error', 'exit'] as const) thread.removeAllListeners(event);
    return new EngineClient(thread, clock, info);
  }

  private constructor(thread: Worker, clock: StepClock, info: EngineInfo) {
    this.#thread = thread;
    this.#clock = clock;
    this.info = info;
    thread.on('message', (event: EngineEvent) => this.#receive(event));
    thread.on('error', (error) => this.#fatal(String(error)));
    thread.on('exit', (code) => this.#fatal(`the engine thread ended with code ${code}`));
  }

  add(request: EngineRequest): void {
    this.#send({ type: 'add', request });
  }

  abort(id: string, code: ErrorCode, message: string): void {
    this.#send({ type: 'abort', id, code, message });
  }

  onOutputs(listener: (event: OutputsEvent) => void): void {
    this.#outputsListeners.push(listener);
  }

  /** Once, when the engine can do no more; requests in it will get no further output. */
  onFatal(listener: (message: string) => void): void {
    this.#fatalListeners.push(listener);
  }

  lastStep(): LastStep {
    return this.#clock.read();
  }

  /** Frees the model between steps and waits for the thread. */
  async shutdown(): Promise<void> {
    if (this.#ended) return;
    const exited = new Promise<void>((resolve) => this.#thread.once('exit', () => resolve()));
    this.#ended = true;
    this.#send({ type: 'shutdown' });
    await exited;
  }

  /** Ends the thread wherever it is, a hung step too. */
  kill(): void {
    this.#ended = true;
    void this.#thread.terminate();
  }

  #send(command: EngineCommand): void {
    this.#thread.postMessage(command);
  }

  #receive(event: EngineEvent): void {
    if (event.type === 'outputs') for (const listener of this.#outputsListeners) listener(event);
    else if (event.type === 'fatal') this.#fatal(event.message);
  }

  #fatal(message: string): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const listener of this.#fatalListeners) listener(message);
  }
}
