type ChatTemplateErrorCode = "missing" | "syntax" | "raised" | "failed" | "timeout" | "too_large"

/**
 * A chat template produced no prompt.
 * `missing`: the model has no template, or none of that name. `syntax`: it does not parse. `raised`: it rejected the messages with
 * `raise_exception`, so the request is at fault. `failed`: it failed on these messages. `timeout`, `too_large`: it exceeded a limit.
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
