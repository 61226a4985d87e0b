/** Options of {@link Tokenizer.encode}. */
export interface EncodeOptions {
  /**
   * Parse control tokens written in the text (`<|im_end|>`) as those tokens. Default false: they are plain text, so a user's text
   * cannot forge a turn. User-defined tokens are always matched, because models are trained with them inside text.
   */
  special?: boolean
  /** Put BOS before the text. Default false; pass `tokenizer.addBos` to follow the model. */
  addBos?: boolean
}

/** Options of {@link Tokenizer.decode}. */
export interface DecodeOptions {
  /** Render control and unknown tokens as text. Default false: they are skipped. */
  special?: boolean
}

/** Converts text to token ids and back. It is built from a GGUF file's metadata, and is immutable except for caches: share one per model. */
export interface Tokenizer {
  /** Number of token ids; ids are 0 … vocabSize − 1. */
  readonly vocabSize: number
  /** `bpe` is byte-level (`tokenizer.ggml.model = gpt2`), `spm` is SentencePiece-style (`llama`). */
  readonly kind: "bpe" | "spm"
  /** Name of the pre-tokenizer in the file; undefined for `spm`. */
  readonly pre: string | undefined
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  readonly eotId: number | undefined
  readonly unkId: number | undefined
  readonly padId: number | undefined
  /** UTF-16 units of the longest token. A text of n units has at least n / longestToken tokens. */
  readonly longestToken: number
  /** Ids that end a generation: EOS, EOT, EOM, and tokens known by name to end a turn. */
  readonly eogIds: ReadonlySet<number>
  /** Fill-in-the-middle tokens, if the vocabulary has them. */
  readonly fim: { readonly prefix?: number; readonly suffix?: number; readonly middle?: number }
  /** The model expects BOS before a text. */
  readonly addBos: boolean
  /** The model expects EOS at the end of a text (embedding models; not for generation). */
  readonly addEos: boolean
  /** Encoding a whole text adds one space before it, and decoding a whole text removes the space again. */
  readonly addSpacePrefix: boolean
  /**
   * Encodes a text. Strings are read as UTF-16, bytes as UTF-8; lone surrogates and invalid bytes become U+FFFD. No Unicode
   * normalisation is applied.
   * @throws TokenizerError `no_byte_token` when the vocabulary has neither a token for a byte nor an unknown token.
   */
  encode(text: string | Uint8Array, options?: EncodeOptions): Int32Array
  /** The exact bytes of a token, which may hold part of a UTF-8 character. Do not write into the result. */
  tokenBytes(id: number): Uint8Array
  /** The text of a token; `undefined` if it ends within a UTF-8 character, which later tokens may complete. */
  tokenText(id: number): string | undefined
  /** The spelling of a token in the vocabulary (`Ġhello`, `▁hello`, `<0x0A>`). */
  piece(id: number): string
  /** The id of the token with this spelling in the vocabulary. */
  idOf(piece: string): number | undefined
  /** Decodes ids. Bytes that are not UTF-8 become U+FFFD. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string
  /** True for control and unknown tokens, which `decode` skips by default. */
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

/** The GGUF fields of a tokenizer, checked and with defaults filled in. */
export interface TokenizerSource {
  /** `gpt2` or `llama`. */
  model: string
  /** Name of the pre-tokenizer; `default` if the file has none. */
  pre: string
  /** [vocabSize] */
  tokens: readonly string[]
  /** [vocabSize] values of {@link TokenType}; all normal if the file has none. */
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
  /** Fill-in-the-middle padding, repository and file separators. Each of them ends a generation. */
  fimStopIds: readonly number[]
  addBos?: boolean
  addEos?: boolean
  addSpacePrefix?: boolean
  /** `general.name`, from which a few rules follow that GGUF does not store. */
  modelName: string
}
