import { parse, tokenize } from "@huggingface/jinja"
import { ChatTemplateError } from "./chat-errors.ts"
import { type ChatMessage, contentText, normaliseMessage } from "./chat-messages.ts"
import {
  BoundedInterpreter,
  DEFAULT_LIMITS,
  type RenderLimits,
  runBounded,
  TimeLimitError,
  templateEnvironment,
} from "./jinja-bounded.ts"
import type { EncodeOptions, Tokenizer } from "./tokenizer/types.ts"

/** A conversation to render as a prompt. */
export interface ChatRequest {
  messages: readonly ChatMessage[]
  /** Tools that the model may call, in the form of the OpenAI API. */
  tools?: readonly unknown[]
  /** Add the beginning of the assistant's turn to the prompt. Default true. */
  addGenerationPrompt?: boolean
  /** Name of a template variant. Default: `tool_use` if the request has tools and the model has this variant, else the main one. */
  variant?: string
  /** More variables for the template, such as `enable_thinking`. They cannot replace the variables above. */
  extra?: Readonly<Record<string, unknown>>
  /** The time that `strftime_now` formats. Default: now. */
  now?: Date
}

interface ChatTemplateOptions {
  /** Text of the BOS token and of the EOS token; "" if the model has none. */
  bosToken?: string
  eosToken?: string
  limits?: Partial<RenderLimits>
}

type Program = ReturnType<typeof parse>

const DEFAULT_VARIANT = "default"
const REMEDY = "give one with --chat-template"

/** A model's chat template, which renders conversations as prompts. Each variant is parsed once, on first use. */
export class ChatTemplate {
  readonly #sources: ReadonlyMap<string, string>
  readonly #programs = new Map<string, Program>()
  readonly #bosToken: string
  readonly #eosToken: string
  readonly #limits: RenderLimits

  /** @param source a Jinja template, or several by name with the main one under `default` */
  constructor(source: string | ReadonlyMap<string, string>, options: ChatTemplateOptions = {}) {
    this.#sources = typeof source === "string" ? new Map([[DEFAULT_VARIANT, source]]) : source
    this.#bosToken = options.bosToken ?? ""
    this.#eosToken = options.eosToken ?? ""
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits }
  }

  /** Names of the variants. */
  get variants(): readonly string[] {
    return [...this.#sources.keys()]
  }

  /** The Jinja source of a variant. @throws ChatTemplateError `missing` */
  source(variant: string = DEFAULT_VARIANT): string {
    const source = this.#sources.get(variant)
    if (source !== undefined) return source
    const known = this.variants.length > 0 ? ` (it has: ${this.variants.join(", ")})` : ""
    throw new ChatTemplateError("missing", `the model has no chat template "${variant}"${known}; ${REMEDY}`)
  }

  /**
   * Renders a conversation within the {@link RenderLimits}. Content of null becomes "", and text parts are joined.
   * @throws ChatTemplateError of any code
   */
  render(request: ChatRequest): string {
    const tools = request.tools && request.tools.length > 0 ? request.tools : undefined
    const variant = request.variant ?? (tools && this.#sources.has("tool_use") ? "tool_use" : DEFAULT_VARIANT)
    const source = this.source(variant)
    const variables = {
      ...request.extra,
      messages: request.messages.map(normaliseMessage),
      tools: tools ?? null,
      add_generation_prompt: request.addGenerationPrompt ?? true,
      bos_token: this.#bosToken,
      eos_token: this.#eosToken,
    }
    try {
      return runBounded(() => {
        const program = this.#program(variant, source)
        const environment = templateEnvironment(variables, this.#limits, request.now ?? new Date())
        return String(new BoundedInterpreter(environment, this.#limits).run(program).value)
      }, this.#limits.timeMs)
    } catch (error) {
      throw this.#explain(error)
    }
  }

  /**
   * Renders a conversation whose last message is unfinished. The prompt ends with that message's text, so that the model continues it;
   * what the template writes after a message is left out.
   * @throws ChatTemplateError `failed` when the template leaves out the last message
   */
  renderContinuation(request: ChatRequest): string {
    const last = request.messages.at(-1)
    // Marks the end of the text, since the template may trim the text or repeat it elsewhere.
    const end = crypto.randomUUID()
    const messages = [
      ...request.messages.slice(0, -1),
      { ...last, role: last?.role ?? "", content: contentText(last?.content) + end },
    ]
    const prompt = this.render({ ...request, messages, addGenerationPrompt: false })
    const length = prompt.lastIndexOf(end)
    if (length < 0)
      throw new ChatTemplateError(
        "failed",
        "the chat template leaves out the message to be continued, so this model cannot continue it",
      )
    return prompt.slice(0, length)
  }

  /** Whether a variant contains this word. A variable that no variant names has no effect. */
  mentions(word: string): boolean {
    return [...this.#sources.values()].some((source) => new RegExp(`\\b${RegExp.escape(word)}\\b`).test(source))
  }

  #program(variant: string, source: string): Program {
    let program = this.#programs.get(variant)
    if (!program) {
      try {
        // As Jinja does by default, a line break at the very end is left out.
        program = parse(tokenize(source.replace(/\n$/, ""), { lstrip_blocks: true, trim_blocks: true }))
      } catch (error) {
        throw new ChatTemplateError("syntax", `the chat template does not parse: ${reason(error)}; ${REMEDY}`, {
          cause: error,
        })
      }
      this.#programs.set(variant, program)
    }
    return program
  }

  #explain(error: unknown): ChatTemplateError {
    if (error instanceof ChatTemplateError) return error
    const options = { cause: error }
    if (error instanceof TimeLimitError) {
      const text = `the chat template ran for more than ${this.#limits.timeMs} ms and was stopped; it looks broken (${REMEDY})`
      return new ChatTemplateError("timeout", text, options)
    }
    // The limits of the JavaScript engine: strings of 2³¹ units, and the depth of the stack.
    if (error instanceof RangeError) {
      return new ChatTemplateError(
        "too_large",
        `the chat template builds too long a text or nests too deeply: ${reason(error)}`,
        options,
      )
    }
    return new ChatTemplateError("failed", `the chat template failed on these messages: ${reason(error)}`, options)
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

const KEY = "tokenizer.chat_template"

/**
 * Reads the chat template of a GGUF file: `tokenizer.chat_template`, and the variants that `tokenizer.chat_templates` names.
 * @param get looks up a metadata key
 * @param override a template to use instead of the file's template
 * @throws ChatTemplateError `missing` when the file has no template and none is given
 */
export function chatTemplateFromMetadata(
  get: (key: string) => unknown,
  tokenizer: Pick<Tokenizer, "bosId" | "eosId" | "piece">,
  override?: string,
  limits?: Partial<RenderLimits>,
): ChatTemplate {
  const piece = (id: number | undefined) => (id === undefined ? "" : tokenizer.piece(id))
  const options = { bosToken: piece(tokenizer.bosId), eosToken: piece(tokenizer.eosId), limits }
  if (override !== undefined) return new ChatTemplate(override, options)

  const sources = new Map<string, string>()
  const add = (name: string, key: string) => {
    const source = get(key)
    if (typeof source === "string" && source !== "") sources.set(name, source)
  }
  add(DEFAULT_VARIANT, KEY)
  const names = get(`${KEY}s`)
  for (const name of Array.isArray(names) ? names : []) if (typeof name === "string") add(name, `${KEY}.${name}`)
  if (sources.size === 0) {
    throw new ChatTemplateError(
      "missing",
      `the model has no chat template (GGUF field ${KEY}), so it cannot answer conversations; ${REMEDY}`,
    )
  }
  return new ChatTemplate(sources, options)
}

/** Options that encode a rendered prompt: special tokens are parsed, and BOS is added if the model expects it and the template left it out. */
export function promptOptions(tokenizer: Tokenizer, prompt: string): EncodeOptions {
  const bos = tokenizer.bosId === undefined ? "" : tokenizer.piece(tokenizer.bosId)
  const has = bos !== "" && prompt.startsWith(bos)
  return { special: true, addBos: tokenizer.addBos && !has }
}

/** Token ids of a rendered prompt. */
export const encodePrompt = (tokenizer: Tokenizer, prompt: string): Int32Array =>
  tokenizer.encode(prompt, promptOptions(tokenizer, prompt))
