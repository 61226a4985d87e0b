import { type TokenizerSource, TokenType } from "./types.ts"

/** Names of tokens that end a turn or a document, in order of preference as the end-of-turn token. */
const END_OF_TURN_NAMES = [
  "<|eot_id|>",
  "<|im_end|>",
  "<|end|>",
  "<end_of_turn>",
  "<|endoftext|>",
  "<|end_of_text|>",
  "<EOT>",
  "_<EOT>",
  "[EOT]",
  "<｜end▁of▁sentence｜>",
  "<end_of_utterance>",
] as const

/** Further names that end a generation. */
const OTHER_END_NAMES = [
  "<|eom_id|>",
  "<|return|>",
  "<|call|>",
  "<|calls|>",
  "<|flush|>",
  "</s>",
  "[EOS]",
  "<eos>",
  "<turn|>",
  "<|tool_response>",
] as const

const FIM_NAMES = {
  prefix: [
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
    "<|prefix|>",
  ],
  suffix: [
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<｜fim▁hole｜>",
    "<SUF>",
    "▁<SUF>",
    "<|code_suffix|>",
    "<|suffix|>",
  ],
  middle: [
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<｜fim▁end｜>",
    "<MID>",
    "▁<MID>",
    "<|code_middle|>",
    "<|middle|>",
  ],
  stop: [
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
  ],
} as const

/** Names that ordinary text contains too (HTML tags, mostly): they count only where the file itself says control token. */
const AMBIGUOUS_NAMES: ReadonlySet<string> = new Set([
  "</s>",
  "<eos>",
  "[EOS]",
  "[EOT]",
  "<EOT>",
  "<PRE>",
  "<SUF>",
  "<MID>",
  "<PAD>",
  "<REPO>",
  "<reponame>",
])

/** The roles of tokens, from the file's fields and, where it leaves them out, from the tokens' names. */
interface SpecialTokens {
  eotId: number | undefined
  eogIds: Set<number>
  fim: { prefix?: number; suffix?: number; middle?: number }
}

/**
 * Finds special tokens and marks those known by name as control tokens in `source.tokenTypes`, since converters often leave
 * them as normal text. A marker that no model would ever write as text is safer treated as a marker.
 */
export function findSpecialTokens(source: TokenizerSource, idOf: ReadonlyMap<string, number>): SpecialTokens {
  const types = source.tokenTypes
  const named = (names: readonly string[]): number[] => {
    const ids = names.flatMap((name) => {
      const id = idOf.get(name)
      return id === undefined || (AMBIGUOUS_NAMES.has(name) && types[id] !== TokenType.control) ? [] : [id]
    })
    for (const id of ids) types[id] = TokenType.control
    return ids
  }

  const turnEnds = named(END_OF_TURN_NAMES)
  const eotId = source.eotId ?? turnEnds[0]
  const stops = source.fimStopIds.length > 0 ? source.fimStopIds : named(FIM_NAMES.stop)
  const eogIds = new Set([...turnEnds, ...named(OTHER_END_NAMES), ...stops])
  for (const id of [source.eosId, eotId, source.eomId]) if (id !== undefined) eogIds.add(id)

  const fim = {
    prefix: source.fimPrefixId ?? named(FIM_NAMES.prefix)[0],
    suffix: source.fimSuffixId ?? named(FIM_NAMES.suffix)[0],
    middle: source.fimMiddleId ?? named(FIM_NAMES.middle)[0],
  }

  dropFalseEnds(eogIds, idOf, types)
  return { eotId, eogIds, fim }
}

/** Formats in which a token that usually ends a turn only ends a part of one. */
function dropFalseEnds(eogIds: Set<number>, idOf: ReadonlyMap<string, number>, types: Uint8Array): void {
  const ends = (name: string) => eogIds.has(idOf.get(name) ?? -1)
  const drop = (name: string, type: number) => {
    const id = idOf.get(name)
    if (id === undefined) return
    eogIds.delete(id)
    types[id] = type
  }
  // The harmony and Solar formats close each message of a turn with <|end|>.
  const calls = ends("<|call|>") || ends("<|calls|>")
  if (calls && (ends("<|return|>") || ends("<|flush|>"))) drop("<|end|>", TokenType.userDefined)
  // Gemma 4 has </s> as a tag of HTML.
  if (ends("<|tool_response>")) drop("</s>", TokenType.normal)
}

/** White space that a special token takes with it from the text on its sides. */
export interface StripRules {
  left: ReadonlySet<number>
  right: ReadonlySet<number>
}

/** GGUF stores no strip flags, so they follow from the model's name, for the families known to have them. */
export function stripRules(
  source: TokenizerSource,
  idOf: ReadonlyMap<string, number>,
  matched: readonly number[],
): StripRules {
  const left = new Set<number>()
  const right = new Set<number>()
  const name = source.modelName.toLowerCase()
  const mask = idOf.get("<mask>")
  if (/^jina-v2-(de|es|code)$/.test(source.pre) && mask !== undefined) left.add(mask)
  if (/phi-?3/.test(name)) {
    for (const id of matched) right.add(id)
    for (const plain of ["<unk>", "<s>", "<|endoftext|>"]) right.delete(idOf.get(plain) ?? -1)
  }
  return { left, right }
}
