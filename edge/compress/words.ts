/** Word lists: what negates, counts or measures, what speaks to the model, what says nothing. Knows no text. */
import { hashOf } from './characters.ts';

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
export const ADDRESS = /\b(?:you|yours?|please|must|should|shall|I|my)\b/i;

/** Too common to tell sentences apart. */
export const STOP_WORDS = list(
  'a an the and or but of in on at by for from to with as is are was were be been being am do does did has have had it ' +
    'its this that these those there here he she they them his her their we us our you your i me my what which who whom ' +
    'whose when where why how if then than so such can could will would may might should shall must also about into ' +
    'der die das und ist ein eine le la les et est un une des du de el los las y es que en il lo gli',
);

const BITS = 4096;

/** Whether a word may be in a list, by its hash; a hit must be looked up. */
export class WordFilter {
  readonly #bits = new Uint8Array(BITS);

  constructor(lists: readonly ReadonlySet<string>[]) {
    for (const words of lists) for (const word of words) this.#bits[hashOf(word) & (BITS - 1)] = 1;
  }

  mayHold(hash: number): boolean {
    return this.#bits[hash & (BITS - 1)] === 1;
  }
}
