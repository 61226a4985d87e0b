/** Options of {@link Tokenizer.encode}. */
export interface EncodeOptions {
  /**
   * Parse control tokens written in the text (`<|im_end|>`) as those tokens. Default false: they are plain text, so text from
   * a user can never forge a turn. User-defined tokens are matched either way, since models are trained with them inside text.
   */
  special?: boolean
  /** Put BOS in front. Default false; pass `tokenizer.addBos` to do what the model asks for. */
  addBos?: boolean
}

/** Options of {@link Tokenizer.decode}. */
export interface DecodeOptions {
  /** Render control and unknown tokens as their text. Default false: they are skipped. */
  special?: boolean
}

/** Text ⇄ token ids, built from a GGUF file's metadata alone. Immutable but for private caches; share one per model. */
export interface Tokenizer {
  /** Number of token ids; ids are 0 … vocabSize − 1. */
  readonly vocabSize: number
  /** `bpe` is byte-level (`tokenizer.ggml.model = gpt2`), `spm` is SentencePiece-style (`llama`). */
  readonly kind: "bpe" | "spm"
  /** Name of the pre-tokenizer as the file has it; undefined for `spm`. */
  readonly pre: string | undefined
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  readonly eotId: number | undefined
  readonly unkId: number | undefined
  readonly padId: number | undefined
  /** UTF-16 units of the longest token: a text of n units has n / longestToken tokens at least. */
  readonly longestToken: number
  /** Ids that end a generation: EOS, EOT, EOM, and tokens known by name to end a turn. */
  readonly eogIds: ReadonlySet<number>
  /** Fill-in-the-middle markers, where the vocabulary has them. */
  readonly fim: { readonly prefix?: number; readonly suffix?: number; readonly middle?: number }
  /** The model expects BOS in front of a text. */
  readonly addBos: boolean
  /** The model expects EOS at the end of a text (embedding models; not for generation). */
  readonly addEos: boolean
  /** A whole text is encoded with one space put in front, which decoding a whole text takes off again. */
  readonly addSpacePrefix: boolean
  /**
   * Ids of a text. Strings are read as UTF-16, bytes as UTF-8; lone surrogates and invalid bytes become U+FFFD. No Unicode
   * normalisation is applied.
   * @throws TokenizerError `no_byte_token` when the vocabulary has neither a token for a byte nor an unknown token.
   */
  encode(text: string | Uint8Array, options?: EncodeOptions): Int32Array
  /** The exact bytes a token stands for (a token may hold part of a UTF-8 character). Do not write into the result. */
  tokenBytes(id: number): Uint8Array
  /** A token's text on its own; `undefined` where it ends within a UTF-8 character, which its successors may complete. */
  tokenText(id: number): string | undefined
  /** The token as the vocabulary writes it (`Ġhello`, `▁hello`, `<0x0A>`). */
  piece(id: number): string
  /** The id of a piece as the vocabulary writes it. */
  idOf(piece: string): number | undefined
  /** The text of ids; bytes that are no UTF-8 become U+FFFD. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string
  /** True for control and unknown tokens: those that `decode` skips unless asked. */
  isSpecial(id: number): boolean
}

/** `tokenizer.ggml.token_type` values, as GGUF defines them. */
export const TokenType = {
  undefined: 0,
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const

/** The GGUF fields a tokenizer is made of, checked and with defaults filled in. */
export interface TokenizerSource {
  /** `gpt2` or `llama`. */
  model: string
  /** Pre-tokenizer name; `default` where the file has none. */
  pre: string
  /** [vocabSize] */
  tokens: readonly string[]
  /** [vocabSize] values of {@link TokenType}; all normal where the file has none. */
  tokenTypes: Uint8Array
  /** [vocabSize] log-probabilities, `llama` only. */
  scores?: ArrayLike<number>
  /** [n] `left right`, best first, `gpt2` only. */
  merges?: readonly string[]
  bosId?: number
  eosId?: number
  eotId?: number
  eomId?: number
  unkId?: number
  padId?: number
  fimPrefixId?: number
  fimSuffixId?: number
  fimMiddleId?: number
  /** Fill-in-the-middle padding, repository and file separators: a generation that reaches one is over. */
  fimStopIds: readonly number[]
  addBos?: boolean
  addEos?: boolean
  addSpacePrefix?: boolean
  /** `general.name`, which decides a few per-token rules that GGUF does not store. */
  modelName: string
}
