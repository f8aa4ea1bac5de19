/** The temperature as the graphs take it. Pure. */

/** Colder rows are as good as greedy; logits divided by less could overflow float32. */
const LEAST_TEMPERATURE = 1e-5;

/** What logits are divided by; 0 stays, which is greedy. */
export function dividingTemperature(temperature: number): number {
  return temperature === 0 ? 0 : Math.max(temperature, LEAST_TEMPERATURE);
}
