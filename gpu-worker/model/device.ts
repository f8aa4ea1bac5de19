/** What a model may be asked to run on. Finds nothing out. */

export const DEVICES = ['auto', 'cpu', 'cuda'] as const;
export type DeviceChoice = (typeof DEVICES)[number];

/** Number format of weights and activations on a GPU; auto: as they are stored. */
export const DTYPES = ['auto', 'float16', 'bfloat16'] as const;
export type DtypeChoice = (typeof DTYPES)[number];
