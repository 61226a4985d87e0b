import { TokenizerError } from "./errors.ts"
import { KNOWN_PRE_TOKENIZERS, PRE_TOKENIZERS, type PreTokenizerRule } from "./pre-tokenizer-table.ts"

/** Cuts a text into pieces; byte-level BPE merges only within a piece. */
export interface PreTokenizer {
  readonly name: string
  /** A piece that is itself a token is not merged. */
  readonly wholePieces: boolean
  /** The model expects BOS unless the file states otherwise. */
  readonly addBos: boolean
  /** Calls `emit` with each piece in order. The pieces joined are the text. */
  split(text: string, emit: (piece: string) => void): void
}

/**
 * Compiles a pattern of the table. In the table `\s` means Unicode's White_Space; JavaScript's `\s` lacks U+0085 and contains U+FEFF.
 */
function compile(pattern: string): RegExp {
  return new RegExp(pattern.replaceAll("\\s", "\\p{White_Space}").replaceAll("\\S", "\\P{White_Space}"), "gv")
}

/** Cuts a text by one pattern: its matches and the text between them are the pieces. */
function splitBy(regex: RegExp, text: string, emit: (piece: string) => void): void {
  regex.lastIndex = 0
  let end = 0
  for (let match = regex.exec(text); match; match = regex.exec(text)) {
    if (match.index > end) emit(text.slice(end, match.index))
    emit(match[0])
    end = match.index + match[0].length
  }
  if (end < text.length) emit(text.slice(end))
}

function makeSplit(regexes: readonly RegExp[]): PreTokenizer["split"] {
  return (text, emit) => {
    // Each pattern cuts the pieces of the pattern before it, as if each piece were the whole text.
    const cut = (level: number, piece: string): void => {
      const regex = regexes[level]
      if (!regex) emit(piece)
      else splitBy(regex, piece, (part) => cut(level + 1, part))
    }
    cut(0, text)
  }
}

/**
 * Returns the pre-tokenizer with a name from `tokenizer.ggml.pre`.
 * @throws TokenizerError `unknown_pre_tokenizer`, since a guess would silently corrupt every prompt.
 */
export function preTokenizer(name: string): PreTokenizer {
  const rule: PreTokenizerRule | undefined = PRE_TOKENIZERS.get(name)
  if (!rule) {
    throw new TokenizerError(
      "unknown_pre_tokenizer",
      `unknown pre-tokenizer "${name}" (tokenizer.ggml.pre), without which this model's text cannot be split correctly; supported: ${KNOWN_PRE_TOKENIZERS.join(", ")}`,
    )
  }
  return {
    name,
    wholePieces: rule.wholePieces ?? false,
    addBos: rule.addBos ?? false,
    split: makeSplit(rule.patterns.map(compile)),
  }
}
