/** Word lists: what negates, counts or measures, what speaks to the model, what says nothing. Knows no text. */
import { stemOf } from './characters.ts';

const list = (words: string) => new Set(words.split(/\s+/));

/** English, German, French, Spanish, Italian, Portuguese, Dutch, Russian, Arabic. */
export const NEGATIONS = list(
  'no not never none nobody nothing nowhere neither nor cannot without unless except hardly barely scarcely unable ' +
    'false lack lacks lacking absent instead rather only nicht kein keine keinen keinem keiner keines nie niemals nichts ' +
    'ohne weder ne pas jamais rien aucun aucune sans nunca jamás nada nadie ningún ninguna sin ni non mai niente nessuno ' +
    'nessuna senza não nem sem nenhum nenhuma niet geen nooit niets zonder не нет ни никогда без нельзя ничего لا ليس لم ' +
    'لن غير بدون',
);

/** Chinese, Japanese and Korean ones, within words. */
export const NEGATIVE_PARTS = /[不没沒無无未非勿莫别別않없못]|な[いかく]|ません/y;

export const NUMBER_WORDS = list(
  'zero two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen ' +
    'nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred hundreds thousand thousands million millions ' +
    'billion billions trillion dozen dozens half third quarter twice thrice double triple percent percentage zwei drei ' +
    'vier fünf sechs sieben acht neun zehn hundert tausend deux trois quatre cinq huit neuf dix cent mille dos tres ' +
    'cuatro cinco seis siete ocho nueve diez cien mil',
);

/** Right after a number. */
export const MEASURES = list(
  'nm µm mm cm dm m km in inch inches ft foot feet yd yards mi mile miles metre metres meter meters kilometres ' +
    'kilometers mg g kg t lb lbs oz tons tonnes grams kilograms pounds ml cl l litres liters gal ns µs us ms s sec secs ' +
    'second seconds min mins minute minutes h hr hrs hour hours d day days week weeks month months year years am pm hz ' +
    'khz mhz ghz b kb mb gb tb pb kib mib gib tib bit bits byte bytes bps kbps mbps gbps v mv kv a ma w kw mw gw wh kwh ' +
    'j kj mj n pa hpa kpa bar psi k c f °c °f ° % ‰ € $ £ ¥ usd eur gbp chf px pt rpm mph kmh km/h m/s dpi db mol cal ' +
    'kcal ppm tokens token percent degrees people times x',
);

/** A sentence that begins so, or has ADDRESS in it, speaks to the model. */
export const IMPERATIVES = list(
  'answer use respond reply return write list explain summarise summarize describe give provide do translate compare ' +
    'cite consider remember note make ensure keep avoid output think tell show find read ignore follow include let check',
);
export const ADDRESS_WORDS = list('you your yours please must should shall i my');
export const ADDRESS = new RegExp(`\\b(?:${[...ADDRESS_WORDS].join('|')})\\b`, 'i');

/** Too common to tell sentences apart. */
export const STOP_WORDS = list(
  'a an the and or but of in on at by for from to with as is are was were be been being am do does did has have had it ' +
    'its this that these those there here he she they them his her their we us our you your i me my what which who whom ' +
    'whose when where why how if then than so such can could will would may might should shall must also about into ' +
    'der die das und ist ein eine le la les et est un une des du de el los las y es que en il lo gli',
);

const SLOT_BITS = 12;
const MIXER = 0x9e3779b1;

/** Lists of words by their stems: longer words with the same stem fall together. */
export class WordNotes {
  readonly #stems = new Int32Array(1 << SLOT_BITS);
  readonly #notes = new Uint8Array(1 << SLOT_BITS);

  /** A stem in several lists has all their bits. */
  constructor(lists: readonly (readonly [note: number, words: Iterable<string>])[]) {
    for (const [note, words] of lists) {
      for (const word of words) {
        const stem = stemOf(word);
        const slot = this.#slotOf(stem);
        this.#stems[slot] = stem;
        this.#notes[slot] = (this.#notes[slot] ?? 0) | note;
      }
    }
  }

  /** 0: in no list. */
  of(stem: number): number {
    return this.#notes[this.#slotOf(stem)] ?? 0;
  }

  #slotOf(stem: number): number {
    const stems = this.#stems;
    let slot = Math.imul(stem, MIXER) >>> (32 - SLOT_BITS);
    for (let known = stems[slot]; known !== 0 && known !== stem; known = stems[slot]) {
      slot = (slot + 1) & ((1 << SLOT_BITS) - 1);
    }
    return slot;
  }
}
