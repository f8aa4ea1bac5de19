/** Test support: how long something takes, whatever else the machine does. */

/** Milliseconds of processor time that this process spends on `run`. */
export function cpuMs(run: () => void): number {
  const begin = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(begin);
  return (user + system) / 1000;
}
