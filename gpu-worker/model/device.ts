/** What a model may be asked to run on. Finds nothing out. */

export const DEVICES = ['auto', 'cpu', 'cuda'] as const;
export type DeviceChoice = (typeof DEVICES)[number];
