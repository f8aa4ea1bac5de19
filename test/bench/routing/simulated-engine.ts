/**
 * The engine of a worker without its thread: scheduler, KV cache and step loop are the real ones, and after each step
 * it sleeps for the time that the step would have taken. Knows no bus.
 */
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ErrorCode } from '../../../shared/errors.ts';
import type { OutputsEvent } from '../../../gpu-worker/engine/engine-client.ts';
import type { EnginePolicy } from '../../../gpu-worker/engine/engine-options.ts';
import { Engine } from '../../../gpu-worker/engine/engine.ts';
import type { EngineInfo, EngineRequest } from '../../../gpu-worker/engine/messages.ts';
import { StepClock, type LastStep } from '../../../gpu-worker/engine/step-clock.ts';
import type { ServingEngine } from '../../../gpu-worker/serving.ts';
import type { TokenBytes } from '../../../gpu-worker/text/detokenizer.ts';
import type { SimulatedRunner } from './simulated-runner.ts';

export interface SimulatedEngineOptions {
  readonly runner: SimulatedRunner;
  readonly tokenBytes: TokenBytes;
  readonly policy: EnginePolicy;
}

export class SimulatedEngine implements ServingEngine {
  readonly info: EngineInfo;
  readonly #engine: Engine;
  readonly #clock = new StepClock();
  readonly #listeners: ((event: OutputsEvent) => void)[] = [];
  #isAwake = false;
  /** When the last step should have ended: timers that fire late do not make steps longer. Monotonic milliseconds. */
  #freeAtMs = 0;

  constructor({ runner, tokenBytes, policy }: SimulatedEngineOptions) {
    this.info = { ...runner.info, loadMs: 0 };
    this.#engine = new Engine({ runner, tokenBytes, policy, now: Date.now });
  }

  add(request: EngineRequest): void {
    this.#engine.add(request);
    if (!this.#isAwake) void this.#run();
  }

  abort(id: string, code: ErrorCode, message: string): void {
    this.#engine.abort(id, { code, message });
    if (!this.#isAwake) void this.#run();
  }

  onOutputs(listener: (event: OutputsEvent) => void): void {
    this.#listeners.push(listener);
  }

  lastStep(): LastStep {
    return this.#clock.read();
  }

  /** Until idle, as the engine's thread does; what arrives during a step is seen by the one after it. */
  async #run(): Promise<void> {
    this.#isAwake = true;
    this.#freeAtMs = performance.now();
    for (let idle = false; ;) {
      if (this.#engine.busy) {
        await this.#step();
        idle = false;
      } else if (!this.#engine.checkPrefixes(!idle)) break;
      else {
        idle = true;
        await sleep(0);
      }
    }
    this.#isAwake = false;
    const outputs = this.#engine.takeOutputs();
    if (outputs.ends.length > 0 || outputs.prefixes !== null) this.#tell({ ...outputs, step: null });
  }

  async #step(): Promise<void> {
    this.#clock.begin(Date.now());
    const outputs = this.#engine.step();
    this.#freeAtMs += outputs.step?.runMs ?? 0;
    await sleep(Math.max(0, this.#freeAtMs - performance.now()));
    this.#clock.end(Date.now());
    this.#tell(outputs);
  }

  #tell(outputs: Omit<OutputsEvent, 'type' | 'load'>): void {
    for (const listener of this.#listeners) listener({ type: 'outputs', ...outputs, load: this.#engine.load });
  }
}
