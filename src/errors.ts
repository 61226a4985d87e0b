/** The errors that the engine, the server, the library and the command line share. */

/** Names of a request's fields by their keys; `null`: none. `[]` in a key stands for an index, and stands in the name too. */
export type FieldNames = Readonly<Record<string, string | null>>

/**
 * A message that names fields by their keys, so that every API can show its own names. Write it with {@link fieldMessage}: `{minTokens}`
 * stands for the name of that field, `{tools[2].parameters}` for that of the key `tools[].parameters`.
 */
export class FieldMessage {
  constructor(readonly template: string) {}

  /** The message with the given names. A key without a name stands for itself. */
  render(names: FieldNames = {}): string {
    return this.template.replace(
      /\{\{|\{(\w+)(?:\[(\d+)\])?((?:\.\w+)*)\}/g,
      (whole, field: string, index: string | undefined, rest: string) => {
        if (whole === "{{") return "{"
        if (index === undefined) return names[field + rest] ?? field + rest
        const key = `${field}[]${rest}`
        return (names[key] ?? key).replace("[]", `[${index}]`)
      },
    )
  }
}

/** Template tag of a {@link FieldMessage}. Interpolated values are literal text, whatever braces they hold. */
export const fieldMessage = (parts: TemplateStringsArray, ...values: readonly unknown[]): FieldMessage =>
  new FieldMessage(String.raw({ raw: parts }, ...values.map(escapeBraces)))

/** A plain text as a message that names no field. */
export const literalMessage = (text: string): FieldMessage => new FieldMessage(escapeBraces(text))

const escapeBraces = (value: unknown): string => String(value).replaceAll("{", "{{")

/** A request that cannot be served as asked. */
export class RequestError extends Error {
  override readonly name: string = "RequestError"
  /** The field at fault, by its name in the library. */
  readonly param: string
  /** Templates of the message and of the field's name, from which an API writes both with its own names. */
  readonly messageTemplate: string
  readonly paramTemplate: string

  /**
   * @param message A plain string names no field.
   * @param param The key of the field at fault, or a message for a part of it.
   */
  constructor(
    message: string | FieldMessage,
    param: string | FieldMessage,
    readonly code: string,
  ) {
    const text = typeof message === "string" ? literalMessage(message) : message
    const field = typeof param === "string" ? new FieldMessage(`{${param}}`) : param
    super(text.render())
    this.param = field.render()
    this.messageTemplate = text.template
    this.paramTemplate = field.template
  }
}

/** A request's text does not fit into the context. */
export class ContextOverflowError extends RequestError {
  override readonly name = "ContextOverflowError"
  /**
   * The message has the words by which clients know this error: those of OpenAI's API, which LangChain and LiteLLM look for, and those
   * of Anthropic's, which Claude Code reads the two numbers from.
   * @param nTokens Tokens of the text, or the least that it can have.
   * @param contextLength Most tokens that the context holds, together with those that are to be generated, if any.
   * @param field The key of the field with the text.
   */
  constructor(
    readonly nTokens: number,
    readonly contextLength: number,
    field: string,
  ) {
    super(
      new FieldMessage(
        `The prompt is too long: ${nTokens} tokens > ${contextLength} maximum. This model's maximum context length is ${contextLength} tokens. ` +
          `However, your request has at least ${nTokens} tokens in '{${field}}', which is too large. Please reduce its length, or start the server with a larger --ctx-size.`,
      ),
      field,
      "context_length_exceeded",
    )
  }
}

/** The server is busy or not ready. The same request can be served later. */
export class OverloadedError extends Error {
  override readonly name = "OverloadedError"
  constructor(
    message: string,
    /** `queue_full`: HTTP 429. `deadline`, and `unavailable` (the engine is starting, restarting or draining): HTTP 503. */
    readonly code: "queue_full" | "deadline" | "unavailable",
    /** When to try again, in seconds, at least 1. */
    readonly retryAfter: number,
  ) {
    super(message)
  }
}

/** The error for a request that finds the queue full. @param nQueued Requests that are waiting. */
export const queueFull = (nQueued: number, retryAfter: number): OverloadedError => {
  const message = `${nQueued} requests are waiting, which is the most that the queue holds`
  return new OverloadedError(message, "queue_full", retryAfter)
}

/** The engine itself failed; the request was valid. */
export class EngineError extends Error {
  override readonly name = "EngineError"
}
