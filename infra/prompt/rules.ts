/** What in a system prompt says nothing to a model: phrases, openers, roles without content. Knows no lines and no files. */

/** A pattern and what it becomes, `$1` as in String.replace. All are applied case by case; see shorten.ts for what stays. */
export type Rule = readonly [pattern: RegExp, replacement: string];

/** Words of praise before a role; what tells a tone (friendly, polite, professional, concise) is none. */
const PRAISE =
  'helpful|useful|honest|harmless|very|highly|extremely|incredibly|truly|skilled|experienced|knowledgeable|' +
  'intelligent|smart|clever|advanced|powerful|capable|world-class|state-of-the-art|cutting-edge|talented|amazing';

/** Whole sentences, without the mark that ends them. */
export const EMPTY_SENTENCES: readonly RegExp[] = [
  new RegExp(
    `^you are an? (?:(?:${PRAISE}|ai|large|language)(?:,? and |, | ))*` +
      '(?:ai |virtual )?(?:assistant|chatbot|bot|ai|(?:large )?language model)$',
    'i',
  ),
  /^(?:thank you(?: very much)?|thanks|good luck|let's (?:get started|begin|start))$/i,
  /^take a deep breath(?:,? and .{0,60})?$/i,
  /^(?:this|it) is (?:very |extremely |really )?important(?: (?:to|for) (?:me|us|my career|our (?:company|business)))?$/i,
  /^(?:please )?(?:read|follow) (?:(?:these|the following|all|the) )+(?:instructions|rules|guidelines)(?: very)?(?: carefully| closely)?$/i,
];

const IT_IS_IMPORTANT = 'it is (?:very |extremely |really )?(?:important|crucial|essential|vital)';
/** Before a verb that is the same as an instruction. */
const YOU_DO = 'you (?!(?:are|were|have|had|can|could|may|might|must|need|shall|should|will|would)\\b)(?=[a-z]+ )';

/** At the beginning of a sentence; the next letter becomes a capital. Applied again until none fits. */
export const OPENERS: readonly RegExp[] = [
  /^(?:please|kindly),? /i,
  /^(?:please )?(?:note|remember|be aware|keep in mind|bear in mind) that /i,
  new RegExp(`^${IT_IS_IMPORTANT} to (?:note|remember|understand) that `, 'i'),
  // What matters is not yet so: only what becomes an instruction goes without this.
  new RegExp(`^${IT_IS_IMPORTANT} that (?=you (?:should|must|shall|need to|have to) )`, 'i'),
  new RegExp(`^${IT_IS_IMPORTANT} that ${YOU_DO}`, 'i'),
  /^as (?:mentioned|stated|noted) (?:above|before|earlier|previously),? /i,
  /^as an? (?:helpful )?(?:ai|large)?(?: ?language)? ?(?:model|assistant|ai),? /i,
  /^your (?:main |primary |most important )?(?:task|job|goal|role|purpose|mission|responsibility) (?:here )?is (?:always )?to /i,
  /^you (?:should|must|shall|need to|have to|are (?:expected|required|supposed|asked) to) (?!be\b)(?=[a-z]+ )/i,
  // What will come is no instruction.
  /^you will (?!(?:be|find|get|have|hear|meet|receive|see)\b)(?=[a-z]+ )/i,
  /^(?:always )?(?:make|be) sure to /i,
  new RegExp(`^(?:always )?(?:make sure|ensure) (?:that )?${YOU_DO}`, 'i'),
  /^(?:also|additionally|furthermore|moreover|in addition),? /i,
];

export const PHRASES: readonly Rule[] = [
  [/\bin order to\b/gi, 'to'],
  [/\bso as to\b/gi, 'to'],
  [/\bdue to the fact that\b/gi, 'because'],
  [/\bin the event that\b/gi, 'if'],
  [/\bin (?:the )?case (?:that|where)\b/gi, 'if'],
  [/\bat (?:this|the present) (?:point in )?time\b/gi, 'now'],
  [/\bprior to\b/gi, 'before'],
  [/\bsubsequent to\b/gi, 'after'],
  [/\bfor the purpose of\b/gi, 'for'],
  [/\b(?:with (?:regard|respect) to|in regards? to|regarding the (?:topic|subject|matter) of)\b/gi, 'about'],
  [/\beach and every\b/gi, 'every'],
  [/\bany and all\b/gi, 'all'],
  [/\b(?:is|are) able to\b/gi, 'can'],
  [/\b(?:has|have) the ability to\b/gi, 'can'],
  [/\bmake use of\b/gi, 'use'],
  [/\bmakes use of\b/gi, 'uses'],
  [/\b(?:a|the) (?:wide|broad) (?:range|variety) of\b/gi, 'many'],
  [/^to the best of your (?:ability|abilities|knowledge),? /i, ''],
  [/,? to the best of your (?:ability|abilities|knowledge)\b/gi, ''],
  [/,? (?:at all times|whenever possible|if at all possible|as much as possible)(?=[.!]?$)/gi, ''],
];

/** Becomes `$1` and the article of the word that follows. */
export const PRAISED_ROLE = new RegExp(`^(you are )an? (?:(?:${PRAISE})(?:,? and |, | ))+(?=[a-z])`, 'i');

/** Do not tell two sentences apart. */
export const FILLERS: ReadonlySet<string> = new Set(
  'a an the please kindly always also very really truly you your should must shall will be are is make sure ensure to that and'.split(
    ' ',
  ),
);
