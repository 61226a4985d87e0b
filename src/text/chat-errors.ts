type ChatTemplateErrorCode = "missing" | "syntax" | "raised" | "failed" | "timeout" | "too_large"

/**
 * A chat template that gave no prompt.
 * `missing`: the model has none (of that name). `syntax`: it does not parse. `raised`: it refused the messages by
 * `raise_exception`, so the request is at fault. `failed`: it stumbled over the messages. `timeout`, `too_large`: it passed a bound.
 */
export class ChatTemplateError extends Error {
  override readonly name = "ChatTemplateError"
  constructor(
    readonly code: ChatTemplateErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}
