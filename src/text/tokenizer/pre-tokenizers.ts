import { TokenizerError } from "./errors.ts"
import { KNOWN_PRE_TOKENIZERS, PRE_TOKENIZERS, type PreTokenizerRule } from "./pre-tokenizer-table.ts"

/** Cuts a text into the pieces that byte-level BPE merges within. */
export interface PreTokenizer {
  readonly name: string
  /** A piece that is itself a token is taken whole, without merging. */
  readonly wholePieces: boolean
  /** BOS is expected where the file does not say. */
  readonly addBos: boolean
  /** Calls `emit` with each piece in order; the pieces joined are the text. */
  split(text: string, emit: (piece: string) => void): void
}

/**
 * Writes a table entry as a JavaScript pattern. The patterns come from engines where `\s` is Unicode's White_Space; JavaScript's
 * own `\s` lacks U+0085 and has U+FEFF.
 */
function compile(pattern: string): RegExp {
  return new RegExp(pattern.replaceAll("\\s", "\\p{White_Space}").replaceAll("\\S", "\\P{White_Space}"), "gv")
}

/** Cuts by one pattern: its matches are pieces, and so is whatever lies between them. */
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
    // Each pattern cuts the pieces of the one before, and sees a piece as if it were the whole text.
    const cut = (level: number, piece: string): void => {
      const regex = regexes[level]
      if (!regex) emit(piece)
      else splitBy(regex, piece, (part) => cut(level + 1, part))
    }
    cut(0, text)
  }
}

/**
 * The pre-tokenizer of a `tokenizer.ggml.pre` name.
 * @throws TokenizerError `unknown_pre_tokenizer`: guessing one would silently spoil every prompt.
 */
export function preTokenizer(name: string): PreTokenizer {
  const rule: PreTokenizerRule | undefined = PRE_TOKENIZERS.get(name)
  if (!rule) {
    throw new TokenizerError(
      "unknown_pre_tokenizer",
      `pre-tokenizer "${name}" (tokenizer.ggml.pre) is not known, so this model's text cannot be split correctly; known ones: ${KNOWN_PRE_TOKENIZERS.join(", ")}`,
    )
  }
  return {
    name,
    wholePieces: rule.wholePieces ?? false,
    addBos: rule.addBos ?? false,
    split: makeSplit(rule.patterns.map(compile)),
  }
}
