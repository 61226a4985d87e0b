/** Why a tokenizer could not be built or a text not encoded. */
type TokenizerErrorCode =
  | "missing_field"
  | "bad_field"
  | "unknown_model"
  | "unknown_pre_tokenizer"
  | "no_byte_token"
  | "bad_token_id"

/** Every failure of `src/text/tokenizer`; the message names the GGUF field or the token and what to do about it. */
export class TokenizerError extends Error {
  override readonly name = "TokenizerError"
  constructor(
    readonly code: TokenizerErrorCode,
    message: string,
  ) {
    super(message)
  }
}
