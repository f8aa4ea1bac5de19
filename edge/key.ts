/** API keys: `mr_<public id>_<secret>`. Web Crypto only, so tools outside workerd mint keys with it too. */

export interface ParsedKey {
  /** Names the key in logs and tables; not secret. */
  readonly publicId: string;
  readonly secret: string;
}

export interface MintedKey {
  /** Shown once. */
  readonly key: string;
  readonly publicId: string;
  readonly secretHash: string;
}

const FORM = /^mr_([a-z0-9]{12})_([A-Za-z0-9]{48})$/;
const LOWER = 'abcdefghijklmnopqrstuvwxyz0123456789';
const ALPHANUMERIC = `ABCDEFGHIJKLMNOPQRSTUVWXYZ${LOWER}`;

export function parseKey(text: string): ParsedKey | null {
  const [, publicId, secret] = FORM.exec(text) ?? [];
  return publicId === undefined || secret === undefined ? null : { publicId, secret };
}

export async function mintKey(pepper: string): Promise<MintedKey> {
  const publicId = randomText(LOWER, 12);
  const secret = randomText(ALPHANUMERIC, 48);
  return { key: `mr_${publicId}_${secret}`, publicId, secretHash: await hashSecret(secret, pepper) };
}

/** HMAC-SHA-256, hex. The secret has 285 random bits, so a slow hash would add nothing. */
export async function hashSecret(secret: string, pepper: string): Promise<string> {
  const encoder = new TextEncoder();
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', encoder.encode(pepper), algorithm, false, ['sign']);
  const digest = await crypto.subtle.sign('HMAC', key, encoder.encode(secret));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function randomText(alphabet: string, length: number): string {
  let text = '';
  while (text.length < length) {
    for (const byte of crypto.getRandomValues(new Uint8Array(length * 2))) {
      // Bytes past the last whole multiple would favour the first letters.
      if (byte < 256 - (256 % alphabet.length) && text.length < length) text += alphabet[byte % alphabet.length];
    }
  }
  return text;
}
